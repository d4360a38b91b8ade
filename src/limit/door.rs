//! The door: cheap counts per address before anything costs.
//!
//! Counts are estimates over fixed memory (a count-min sketch), so an address may be counted for another's, never the
//! other way. What must be exact stands behind, with limits of callers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora_limits::rate::Rate;

use crate::denial::Denial;

/// How many events of one address are let by in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoorBound {
    /// Events.
    pub events: u64,
    /// The interval; one follows on the other.
    pub interval: Duration,
}

/// Counts requests and refused tokens of each address.
pub struct Door {
    requests: Option<Count>,
    refused_tokens: Option<Count>,
}

struct Count {
    rate: Arc<Rate>,
    interval: Duration,
    bound: isize,
}

impl Door {
    /// A door with these bounds; without one nothing is counted.
    pub fn new(requests: Option<DoorBound>, refused_tokens: Option<DoorBound>) -> Self {
        Self { requests: requests.map(Count::new), refused_tokens: refused_tokens.map(Count::new) }
    }

    /// A door with other bounds, at which what was counted in an interval of the same length still counts.
    #[must_use]
    pub fn succeeded_by(&self, requests: Option<DoorBound>, refused_tokens: Option<DoorBound>) -> Self {
        let succeed = |before: &Option<Count>, bound| Count::succeeding(before.as_ref(), bound);
        Self {
            requests: requests.map(|bound| succeed(&self.requests, bound)),
            refused_tokens: refused_tokens.map(|bound| succeed(&self.refused_tokens, bound)),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// [`Denial::DoorClosed`] when the address sent too many, or had too many tokens refused.
    pub fn enter(&self, address: IpAddr) -> Result<(), Denial> {
        let site = site(address);
        if self.requests.as_ref().is_some_and(|count| count.rate.observe(&site, 1) > count.bound) {
            return Err(Denial::DoorClosed("requests"));
        }
        if self.refused_tokens.as_ref().is_some_and(|count| count.rate.observe(&site, 0) >= count.bound) {
            return Err(Denial::DoorClosed("refused tokens"));
        }
        Ok(())
    }

    /// Counts a token that was refused.
    pub fn token_refused(&self, address: IpAddr) {
        if let Some(count) = &self.refused_tokens {
            count.rate.observe(&site(address), 1);
        }
    }
}

impl Count {
    fn new(bound: DoorBound) -> Self {
        Self::succeeding(None, bound)
    }

    fn succeeding(before: Option<&Self>, bound: DoorBound) -> Self {
        let DoorBound { events, interval } = bound;
        let same = before.filter(|before| before.interval == interval);
        let rate = same.map_or_else(|| Arc::new(Rate::new(interval)), |before| Arc::clone(&before.rate));
        Self { rate, interval, bound: isize::try_from(events).unwrap_or(isize::MAX) }
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

    fn bound(events: u64) -> DoorBound {
        DoorBound { events, interval: Duration::from_secs(3600) }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_floods_is_turned_away_and_others_are_not() {
        let door = Door::new(Some(bound(3)), None);
        let let_in = (0..10).filter(|_| door.enter(address("192.0.2.1")).is_ok()).count();
        assert_eq!(let_in, 3);
        assert!(door.enter(address("192.0.2.2")).is_ok());
    }

    #[test]
    fn an_address_that_guesses_tokens_is_turned_away() {
        let door = Door::new(None, Some(bound(2)));
        for text in ["192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::2"] {
            assert!(door.enter(address(text)).is_ok(), "{text}");
            door.token_refused(address(text));
        }
        assert_eq!(door.enter(address("192.0.2.1")), Err(Denial::DoorClosed("refused tokens")));
        assert_eq!(door.enter(address("::ffff:192.0.2.1")), Err(Denial::DoorClosed("refused tokens")));
        assert_eq!(door.enter(address("2001:db8::3")), Err(Denial::DoorClosed("refused tokens")));
        assert!(door.enter(address("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn another_bound_applies_to_what_was_counted() {
        let door = Door::new(Some(bound(3)), None);
        for _ in 0..3 {
            assert!(door.enter(address("192.0.2.1")).is_ok());
        }
        assert!(door.succeeded_by(Some(bound(3)), None).enter(address("192.0.2.1")).is_err());
        let wider = door.succeeded_by(Some(bound(6)), None);
        assert_eq!((0..10).filter(|_| wider.enter(address("192.0.2.1")).is_ok()).count(), 2);
        let other = DoorBound { events: 3, interval: Duration::from_secs(60) };
        assert!(wider.succeeded_by(Some(other), None).enter(address("192.0.2.1")).is_ok(), "another interval");
    }

    #[test]
    fn a_door_without_bounds_is_open() {
        let door = Door::new(None, None);
        assert!((0..100).all(|_| door.enter(address("192.0.2.1")).is_ok()));
    }
}
