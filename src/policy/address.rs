//! Which client addresses may come in at all.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks that are let in and networks that are not. Deny wins; an empty `allow` lets in whoever is not denied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressRules {
    /// When there is any, an address must be in one of these.
    pub allow: Vec<IpNet>,
    /// An address in one of these is refused.
    pub deny: Vec<IpNet>,
}

impl AddressRules {
    /// Whether `address` may come in. An IPv4 address in IPv6 clothes is judged as the IPv4 address that it is.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let listed = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !listed(&self.deny) && (self.allow.is_empty() || listed(&self.allow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> AddressRules {
        let parse = |list: &[&str]| list.iter().map(|network| network.parse().unwrap()).collect();
        AddressRules { allow: parse(allow), deny: parse(deny) }
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
}
