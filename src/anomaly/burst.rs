//! Bursts in bounded memory: refused tokens of one address, addresses of one caller.

use std::collections::HashMap;
use std::net::IpAddr;

/// Beats of the minute in which refused tokens are counted.
const MINUTE: usize = 6;
/// Beats in which a caller's addresses are counted together.
const AT_ONCE: u32 = 30;
/// Addresses of refused tokens that are followed, and callers.
const PLACES: usize = 4096;
/// Addresses of one caller that are told apart.
const MOST_ADDRESSES: usize = 32;

/// Refused tokens by address.
#[derive(Debug, Default)]
pub(super) struct RefusedTokens {
    counts: HashMap<u128, (IpAddr, [u32; MINUTE])>,
    at: usize,
}

impl RefusedTokens {
    /// Counts one.
    pub(super) fn add(&mut self, address: IpAddr) {
        let site = site(address);
        if self.counts.len() >= PLACES && !self.counts.contains_key(&site) {
            // Whoever sends from so many addresses is heard by the counts of all.
            self.counts.retain(|_, (_, counts)| counts.iter().sum::<u32>() > 2);
            if self.counts.len() >= PLACES {
                return;
            }
        }
        let (_, counts) = self.counts.entry(site).or_insert((address, [0; MINUTE]));
        if let Some(count) = counts.get_mut(self.at) {
            *count = count.saturating_add(1);
        }
    }

    /// Those with `bound` or more within a minute, with how many; a new beat begins.
    pub(super) fn beat(&mut self, bound: u32) -> Vec<(IpAddr, u32)> {
        let total = |counts: &[u32; MINUTE]| counts.iter().fold(0, |sum: u32, &count| sum.saturating_add(count));
        let found = self.counts.values().map(|(address, counts)| (*address, total(counts)));
        let found = found.filter(|(_, count)| *count >= bound).collect();
        self.at = (self.at + 1) % MINUTE;
        let at = self.at;
        self.counts.retain(|_, (_, counts)| {
            if let Some(count) = counts.get_mut(at) {
                *count = 0;
            }
            total(counts) > 0
        });
        found
    }
}

/// Addresses by caller.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    callers: HashMap<u64, Caller>,
    beat: u32,
}

#[derive(Debug)]
struct Caller {
    issuer: Box<str>,
    name: Box<str>,
    /// Addresses, and the beat at which each was seen last.
    seen: Vec<(u128, u32)>,
}

impl Addresses {
    /// Notes an address of the caller whose fingerprint is `id`.
    pub(super) fn add(&mut self, id: u64, issuer: &str, name: &str, address: IpAddr) {
        let (site, beat) = (site(address), self.beat);
        if self.callers.len() >= PLACES && !self.callers.contains_key(&id) {
            self.callers.retain(|_, caller| caller.seen.len() > 1);
            if self.callers.len() >= PLACES {
                return;
            }
        }
        let caller = self.callers.entry(id).or_insert_with(|| Caller {
            issuer: issuer.into(),
            name: name.into(),
            seen: Vec::with_capacity(1),
        });
        if let Some((_, last)) = caller.seen.iter_mut().find(|(known, _)| *known == site) {
            *last = beat;
        } else if caller.seen.len() < MOST_ADDRESSES {
            caller.seen.push((site, beat));
        }
    }

    /// Callers that came from `bound` or more, with how many; a new beat begins.
    pub(super) fn beat(&mut self, bound: usize) -> Vec<(Box<str>, Box<str>, usize)> {
        self.beat = self.beat.wrapping_add(1);
        let now = self.beat;
        let mut found = Vec::new();
        self.callers.retain(|_, caller| {
            caller.seen.retain(|(_, last)| now.wrapping_sub(*last) <= AT_ONCE);
            if caller.seen.len() >= bound {
                found.push((caller.issuer.clone(), caller.name.clone(), caller.seen.len()));
            }
            !caller.seen.is_empty()
        });
        found
    }
}

/// What counts as one address: of IPv6 the network of 64 bits, all of which one host may use.
fn site(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address) >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from(0x0a00_0000 + number))
    }

    #[test]
    fn a_burst_from_one_address_is_found_within_its_minute() {
        let mut refused = RefusedTokens::default();
        for beat in 0..12 {
            (0..9).for_each(|_| refused.add(address(1)));
            (100..200).for_each(|other| refused.add(address(other)));
            let found = refused.beat(50);
            assert_eq!(
                found.iter().any(|(found, count)| *found == address(1) && *count >= 50),
                beat >= 5,
                "{beat} {found:?}"
            );
            assert!(found.len() <= 1);
        }
        assert!((0..6).map(|_| refused.beat(1).len()).sum::<usize>() > 0);
        assert!(refused.beat(1).is_empty() && refused.counts.is_empty(), "a quiet minute is forgotten");
    }

    #[test]
    fn a_caller_at_many_places_at_once_is_found() {
        let mut addresses = Addresses::default();
        for number in 0..6 {
            addresses.add(1, "okta", "alice", address(number));
            addresses.add(2, "okta", "bob", address(7));
        }
        assert_eq!(addresses.beat(6), [("okta".into(), "alice".into(), 6)]);
        (0..40).for_each(|_| drop(addresses.beat(6)));
        assert!(addresses.callers.is_empty(), "one after the other is no burst");
    }

    #[test]
    fn neither_grows_without_bound() {
        let (mut refused, mut addresses) = (RefusedTokens::default(), Addresses::default());
        for number in 0..20_000 {
            refused.add(address(number));
            addresses.add(number.into(), "okta", "x", address(number));
            addresses.add(7, "okta", "roams", address(number));
        }
        assert!(refused.counts.len() <= PLACES && addresses.callers.len() <= PLACES);
        assert!(addresses.callers.values().all(|caller| caller.seen.len() <= MOST_ADDRESSES));
    }
}
