//! Which client addresses may come in at all.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Networks that are let in and networks that are not. Deny wins; without any `allow` whoever is not denied may come.
///
/// An IPv4 address in IPv6 clothes is judged as the IPv4 address that it is, and so is a network of such addresses; other
/// IPv6 networks, `::/0` among them, cover no IPv4 address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressRules {
    allow: Option<Networks>,
    deny: Networks,
}

/// What the rules say of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressDecision {
    /// Whether the address may come in.
    pub allowed: bool,
    /// Why.
    pub rule: AddressRule,
}

/// The rule that decided on an address; of networks within each other the smallest is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressRule {
    /// A denied network has it.
    Denied(IpNet),
    /// An allowed network has it, and no denied one.
    Allowed(IpNet),
    /// There are allowed networks and none has it.
    NotListed,
    /// There are no allowed networks, and no denied one has it.
    NotDenied,
}

impl fmt::Display for AddressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(network) => write!(f, "address.deny {network}"),
            Self::Allowed(network) => write!(f, "address.allow {network}"),
            Self::NotListed => f.write_str("address.allow has no network with it"),
            Self::NotDenied => f.write_str("no network of address.deny has it"),
        }
    }
}

impl AddressRules {
    /// Rules of these networks, made ready to be asked fast: a decision takes two binary searches however many there are.
    pub fn new(allow: Vec<IpNet>, deny: Vec<IpNet>) -> Self {
        Self { allow: (!allow.is_empty()).then(|| Networks::new(allow)), deny: Networks::new(deny) }
    }

    /// Decides on `address`.
    pub fn decide(&self, address: IpAddr) -> AddressDecision {
        let address = address.to_canonical();
        if let Some(network) = self.deny.find(address) {
            return AddressDecision { allowed: false, rule: AddressRule::Denied(network) };
        }
        match &self.allow {
            None => AddressDecision { allowed: true, rule: AddressRule::NotDenied },
            Some(allow) => match allow.find(address) {
                Some(network) => AddressDecision { allowed: true, rule: AddressRule::Allowed(network) },
                None => AddressDecision { allowed: false, rule: AddressRule::NotListed },
            },
        }
    }

    /// Whether `address` may come in.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.decide(address).allowed
    }
}

/// Networks, and the ranges of addresses that they come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Networks {
    all: Vec<IpNet>,
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// Ranges that do not overlap, in order, each with the network that it belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ranges<A> {
    starts: Vec<A>,
    ends: Vec<A>,
    networks: Vec<u32>,
}

impl Networks {
    fn new(networks: Vec<IpNet>) -> Self {
        let mut networks: Vec<IpNet> = networks.into_iter().map(canonical).collect();
        // Outer networks come before the inner ones that begin with them.
        networks.sort_unstable_by_key(|network| (network.network(), network.prefix_len()));
        networks.dedup();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (index, network) in (0..).zip(&networks) {
            match network {
                IpNet::V4(network) => {
                    v4.push((network.network().to_bits(), network.broadcast().to_bits(), index));
                }
                IpNet::V6(network) => {
                    v6.push((network.network().to_bits(), network.broadcast().to_bits(), index));
                }
            }
        }
        let v4 = Ranges::new(&v4, |bits| bits.checked_add(1), |bits| bits - 1);
        let v6 = Ranges::new(&v6, |bits| bits.checked_add(1), |bits| bits - 1);
        Self { all: networks, v4, v6 }
    }

    fn find(&self, address: IpAddr) -> Option<IpNet> {
        let index = match address {
            IpAddr::V4(address) => self.v4.find(address.to_bits()),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        };
        self.all.get(usize::try_from(index?).ok()?).copied()
    }
}

/// A network of IPv4 addresses in IPv6 clothes as the IPv4 network that it is.
fn canonical(network: IpNet) -> IpNet {
    if let IpNet::V6(v6) = network
        && let Some(prefix) = v6.prefix_len().checked_sub(96)
        && let Some(address) = v6.network().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(address, prefix)
    {
        return IpNet::V4(v4);
    }
    network.trunc()
}

impl<A: Copy + Ord> Ranges<A> {
    /// Cuts `networks`, of which two are either apart or one within the other, into ranges that each belong to the
    /// smallest network around them. They are in order, outer before inner.
    fn new(networks: &[(A, A, u32)], next: impl Fn(A) -> Option<A>, previous: impl Fn(A) -> A) -> Self {
        let mut ranges = Self { starts: Vec::new(), ends: Vec::new(), networks: Vec::new() };
        let mut open: Vec<(A, u32)> = Vec::new();
        let mut from: Option<A> = None; // the first address of an open network that is in no range yet
        for &(start, end, network) in networks {
            from = ranges.close(&mut open, from, |last| last < start, &next);
            if let (Some(&(_, outer)), Some(from)) = (open.last(), from)
                && from < start
            {
                ranges.push(from, previous(start), outer);
            }
            open.push((end, network));
            from = Some(start);
        }
        ranges.close(&mut open, from, |_| true, &next);
        ranges
    }

    /// Ends the open networks whose last address `ends`, innermost first.
    fn close(
        &mut self,
        open: &mut Vec<(A, u32)>,
        mut from: Option<A>,
        ends: impl Fn(A) -> bool,
        next: impl Fn(A) -> Option<A>,
    ) -> Option<A> {
        while let Some(&(end, network)) = open.last()
            && ends(end)
        {
            if let Some(start) = from.filter(|&start| start <= end) {
                self.push(start, end, network);
            }
            from = next(end);
            open.pop();
        }
        from
    }

    fn push(&mut self, start: A, end: A, network: u32) {
        self.starts.push(start);
        self.ends.push(end);
        self.networks.push(network);
    }

    fn find(&self, address: A) -> Option<u32> {
        let at = self.starts.partition_point(|&start| start <= address).checked_sub(1)?;
        (address <= *self.ends.get(at)?).then(|| self.networks.get(at).copied()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> AddressRules {
        let parse = |list: &[&str]| list.iter().map(|network| network.parse().unwrap()).collect();
        AddressRules::new(parse(allow), parse(deny))
    }

    #[test]
    fn deny_wins_and_an_empty_allow_lets_the_rest_in() {
        let rules_in_force = rules(&["10.0.0.0/8", "2001:db8::/32"], &["10.66.0.0/16"]);
        for (address, expected) in [
            ("10.1.2.3", true),
            ("10.66.1.1", false),
            ("192.168.0.1", false),
            ("2001:db8::1", true),
            ("::ffff:10.1.2.3", true),
            ("::ffff:10.66.0.1", false),
        ] {
            assert_eq!(rules_in_force.allows(address.parse().unwrap()), expected, "{address}");
        }
        assert!(rules(&[], &["10.0.0.0/8"]).allows("192.168.0.1".parse().unwrap()));
    }

    #[test]
    fn the_smallest_network_is_named() {
        let rules = rules(&["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/8"], &["::ffff:10.66.0.0/112", "::/0"]);
        for (address, rule) in [
            ("10.1.2.3", "address.allow 10.1.0.0/16"),
            ("10.0.255.255", "address.allow 10.0.0.0/8"),
            ("10.2.0.0", "address.allow 10.0.0.0/8"),
            ("11.0.0.0", "address.allow 0.0.0.0/0"),
            ("255.255.255.255", "address.allow 0.0.0.0/0"),
            ("10.66.0.9", "address.deny 10.66.0.0/16"),
            ("ffff::1", "address.deny ::/0"),
        ] {
            assert_eq!(rules.decide(address.parse().unwrap()).rule.to_string(), rule, "{address}");
        }
    }

    proptest! {
        /// Against the plain reading of the rules, with networks that lie close and within each other.
        #[test]
        fn decides_as_a_walk_over_all_networks_does(
            allow in prop::collection::vec((0_u32..64, 24_u8..=32), 0..12),
            deny in prop::collection::vec((0_u32..64, 24_u8..=32), 0..12),
            v6: bool,
            low in 0_u32..64,
            top: bool,
        ) {
            let place = |low: u32| if top { u32::MAX - low } else { low };
            let network = |&(low, prefix): &(u32, u8)| -> IpNet {
                let prefix = if prefix == 24 { 0 } else { prefix };
                if v6 {
                    let bits = if top { u128::MAX - u128::from(low) } else { u128::from(low) << 32 | u128::from(low) };
                    ipnet::Ipv6Net::new(Ipv6Addr::from_bits(bits), prefix * 4).unwrap().into()
                } else {
                    Ipv4Net::new(Ipv4Addr::from_bits(place(low)), prefix).unwrap().into()
                }
            };
            let allow: Vec<IpNet> = allow.iter().map(network).collect();
            let deny: Vec<IpNet> = deny.iter().map(network).collect();
            let address: IpAddr = if v6 {
                let bits = if top { u128::MAX - u128::from(low) } else { u128::from(low) << 32 | u128::from(low) };
                Ipv6Addr::from_bits(bits).to_canonical()
            } else {
                Ipv4Addr::from_bits(place(low)).into()
            };
            let listed = |networks: &[IpNet]| networks.iter().any(|network| canonical(*network).contains(&address));
            let expected = !listed(&deny) && (allow.is_empty() || listed(&allow));
            let decision = AddressRules::new(allow, deny).decide(address);
            prop_assert_eq!(decision.allowed, expected);
            if let AddressRule::Allowed(network) | AddressRule::Denied(network) = decision.rule {
                prop_assert!(network.contains(&address));
            }
        }
    }
}
