//! Which addresses the upstream may have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The rule for addresses of the upstream, asked of every one that a name resolves to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks {
    private_only: bool,
    allow: Vec<IpNet>,
}

/// Why an address may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// Unspecified, 0.0.0.0/8, multicast or broadcast, which no host has, or none but this one.
    #[error("is no address of a host")]
    NoHost,
    /// Link-local, and no network of `allow_networks` opens a part of that range.
    #[error("is link-local")]
    LinkLocal,
    /// The public internet routes it, or a gateway translates it to what the public internet routes.
    #[error("is public")]
    Public,
    /// In no network of `allow_networks`.
    #[error("is outside allow_networks")]
    Outside,
}

impl Networks {
    /// A rule that admits private addresses alone, if `private_only`, and of these only what a network of `allow` has,
    /// unless there is none. IPv4 networks are written as such: an IPv6 network has no IPv4 address.
    pub fn new(private_only: bool, allow: Vec<IpNet>) -> Self {
        Self { private_only, allow }
    }

    /// Whether `address` may be used. It may if all of these hold:
    ///
    /// 1. it is one that a host can have;
    /// 2. it is not link-local, where clouds keep their metadata service, or a network of `allow` which is itself
    ///    link-local has it;
    /// 3. it is private or link-local, if `private_only`: RFC 1918, 100.64.0.0/10 (RFC 6598), unique local (RFC 4193) or
    ///    loopback. `allow` makes no public address private;
    /// 4. a network of `allow` has it, if there is any.
    ///
    /// An IPv4 address mapped into IPv6 is judged as what it is. Addresses that a gateway translates to public ones
    /// (NAT64, 6to4, Teredo) are in none of the private ranges, and so public.
    pub fn judge(&self, address: IpAddr) -> Result<(), AddressFault> {
        let address = address.to_canonical();
        let allowing = |network: &IpNet| network.contains(&address);
        if is_no_host(address) {
            Err(AddressFault::NoHost)
        } else if is_link_local(address) {
            let opened = self.allow.iter().filter(|network| is_link_local_network(network)).any(allowing);
            if opened { Ok(()) } else { Err(AddressFault::LinkLocal) }
        } else if self.private_only && !is_private(address) {
            Err(AddressFault::Public)
        } else if !self.allow.is_empty() && !self.allow.iter().any(allowing) {
            Err(AddressFault::Outside)
        } else {
            Ok(())
        }
    }
}

fn is_no_host(address: IpAddr) -> bool {
    match address {
        // RFC 1122 §3.2.1.3: 0.0.0.0/8 is "this network"; Linux connects 0.0.0.0 to itself.
        IpAddr::V4(address) => address.octets()[0] == 0 || address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unspecified() || address.is_multicast(),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local() || is_of_amazon(address),
    }
}

/// `fd00:ec2::/32`, where EC2 keeps its metadata and time services for IPv6, is unique local by its form alone.
fn is_of_amazon(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0xfd00, 0x0ec2, ..])
}

fn is_link_local_network(network: &IpNet) -> bool {
    is_link_local(network.network()) && is_link_local(network.broadcast())
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback() || is_shared(address),
        IpAddr::V6(address) => address.is_unique_local() || address.is_loopback(),
    }
}

/// RFC 6598.
fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && second & 0b1100_0000 == 64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|network| network.parse().unwrap()).collect()
    }

    fn judge(private_only: bool, allow: &[&str], address: &str) -> Result<(), AddressFault> {
        Networks::new(private_only, networks(allow)).judge(address.parse().unwrap())
    }

    const PRIVATE: [&str; 7] =
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "::1/128"];
    const LINK_LOCAL: [&str; 3] = ["169.254.0.0/16", "fe80::/10", "fd00:ec2::/32"];
    const NO_HOST: [&str; 5] = ["0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128", "ff00::/8"];

    #[test]
    fn private_means_not_routed_in_public() {
        for private in [
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.9",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(judge(true, &[], private), Ok(()), "{private}");
        }
        for public in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.2.1", "2606:4700::1", "::ffff:8.8.8.8"] {
            assert_eq!(judge(true, &[], public), Err(AddressFault::Public), "{public}");
            assert_eq!(judge(false, &[], public), Ok(()), "{public}");
        }
    }

    #[test]
    fn what_a_gateway_translates_is_public() {
        for translated in [
            "64:ff9b::10.0.0.1",       // NAT64, RFC 6052
            "64:ff9b:1::10.0.0.1",     // NAT64 of a network's own, RFC 8215
            "2002:a00:1::1",           // 6to4 of 10.0.0.1, RFC 3056
            "2001:0:a00:1::f5ff:fffe", // Teredo, RFC 4380
            "::10.0.0.1",              // IPv4-compatible, RFC 4291 §2.5.5.1
        ] {
            assert_eq!(judge(true, &[], translated), Err(AddressFault::Public), "{translated}");
        }
    }

    #[test]
    fn what_no_host_has_is_never_used() {
        let everything = ["0.0.0.0/0", "::/0"];
        for nobody in ["0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "::ffff:0.0.0.0"] {
            for (private_only, allow) in [(true, &[][..]), (false, &[]), (false, &everything)] {
                assert_eq!(judge(private_only, allow, nobody), Err(AddressFault::NoHost), "{nobody}");
            }
        }
    }

    #[test]
    fn link_local_takes_a_network_of_its_own() {
        for (metadata, own) in [
            ("169.254.169.254", "169.254.169.254/32"),
            ("fe80::1", "fe80::/64"),
            ("fd00:ec2::254", "fd00:ec2::254/128"),
        ] {
            for private_only in [true, false] {
                for allow in [&[][..], &["0.0.0.0/0", "::/0"], &["169.0.0.0/8", "fe00::/7"], &["10.0.0.0/8"]] {
                    assert_eq!(judge(private_only, allow, metadata), Err(AddressFault::LinkLocal), "{allow:?}");
                }
                assert_eq!(judge(private_only, &[own], metadata), Ok(()), "{own}");
            }
            assert_eq!(judge(true, &[own], "10.0.0.1"), Err(AddressFault::Outside));
        }
        assert_eq!(judge(true, &["169.254.1.0/24"], "169.254.169.254"), Err(AddressFault::LinkLocal));
        assert_eq!(judge(true, &[], "::ffff:169.254.169.254"), Err(AddressFault::LinkLocal));
    }

    #[test]
    fn allowed_networks_narrow_and_never_widen() {
        let allow = ["10.1.0.0/16", "8.8.8.0/24"];
        assert_eq!(judge(true, &allow, "10.1.2.3"), Ok(()));
        assert_eq!(judge(true, &allow, "::ffff:10.1.2.3"), Ok(()));
        assert_eq!(judge(true, &allow, "10.2.0.1"), Err(AddressFault::Outside));
        assert_eq!(judge(true, &allow, "127.0.0.1"), Err(AddressFault::Outside));
        assert_eq!(judge(true, &allow, "8.8.8.8"), Err(AddressFault::Public));
        assert_eq!(judge(false, &allow, "8.8.8.8"), Ok(()));
        assert_eq!(judge(false, &allow, "9.9.9.9"), Err(AddressFault::Outside));
    }

    /// Addresses of all kinds, with the listed networks and their edges more often than chance has them.
    fn addresses() -> impl Strategy<Value = IpAddr> {
        let listed: Vec<IpNet> = networks(&[&PRIVATE[..], &LINK_LOCAL, &NO_HOST].concat());
        let near = (prop::sample::select(listed), any::<u128>(), -2_i8..=2).prop_map(|(network, random, step)| {
            let step = i128::from(step).cast_unsigned();
            match network {
                IpNet::V4(network) => {
                    let within =
                        u128::from(network.network().to_bits()) + (random & u128::from(network.hostmask().to_bits()));
                    let edge = u128::from(network.broadcast().to_bits());
                    let bits = if random % 2 == 0 { within } else { edge.wrapping_add(step) };
                    IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits & 0xffff_ffff).unwrap()))
                }
                IpNet::V6(network) => {
                    let within = network.network().to_bits() | (random & network.hostmask().to_bits());
                    let edge = network.broadcast().to_bits();
                    IpAddr::V6(Ipv6Addr::from_bits(if random % 2 == 0 { within } else { edge.wrapping_add(step) }))
                }
            }
        });
        let mapped = any::<Ipv4Addr>().prop_map(|address| IpAddr::V6(address.to_ipv6_mapped()));
        prop_oneof![any::<IpAddr>(), near, mapped]
    }

    proptest! {
        #[test]
        fn any_address_is_judged_as_the_lists_say(
            address in addresses(),
            private_only: bool,
            allowed in prop::collection::vec((any::<Ipv4Addr>(), 0_u8..=32), 0..3),
        ) {
            let network = |(address, length): (Ipv4Addr, u8)| IpNet::new(address.into(), length).unwrap().trunc();
            let allow: Vec<_> = allowed.into_iter().map(network).collect();
            let plain = address.to_canonical();
            let listed = |list: &[&str]| networks(list).iter().any(|network| network.contains(&plain));
            let within = |network: &IpNet| networks(&LINK_LOCAL).iter().any(|outer| outer.contains(network));
            let has = |network: &IpNet| network.contains(&plain);
            let expected = if listed(&NO_HOST) {
                Err(AddressFault::NoHost)
            } else if listed(&LINK_LOCAL) {
                let opened = allow.iter().any(|network| within(network) && has(network));
                if opened { Ok(()) } else { Err(AddressFault::LinkLocal) }
            } else if private_only && !listed(&PRIVATE) {
                Err(AddressFault::Public)
            } else if allow.is_empty() || allow.iter().any(has) {
                Ok(())
            } else {
                Err(AddressFault::Outside)
            };
            prop_assert_eq!(Networks::new(private_only, allow).judge(address), expected);
        }
    }
}
