//! Which callers have used which model families: a fingerprint and a bit for each, for as many as there is room for.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::claude::Family;

/// Families that callers have used.
#[derive(Debug, Default)]
pub(super) struct Callers {
    seen: HashMap<u64, Seen>,
    /// Beats or more of days for which it was watched, in seconds.
    pub watched: f64,
    day: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    families: u8,
    day: u32,
}

/// What outlives a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct CallersState {
    watched: f64,
    seen: Vec<(u64, u8, u32)>,
}

/// Callers that are remembered; the one that was away longest goes first.
const PLACES: usize = 65_536;

impl Callers {
    /// Notes a use; whether it is the caller's first of this family.
    pub(super) fn is_first(&mut self, id: u64, family: Family) -> bool {
        if self.seen.len() >= PLACES && !self.seen.contains_key(&id) {
            self.make_room();
        }
        let day = self.day;
        let seen = self.seen.entry(id).or_insert(Seen { families: 0, day });
        seen.day = day;
        let bit = 1 << place(family);
        let first = seen.families & bit == 0;
        seen.families |= bit;
        first
    }

    /// A beat of so many seconds, on this day since 1970.
    pub(super) fn beat(&mut self, seconds: f64, day: u32) {
        self.watched += seconds;
        self.day = day;
    }

    pub(super) fn state(&self) -> CallersState {
        let mut seen: Vec<_> = self.seen.iter().map(|(&id, seen)| (id, seen.families, seen.day)).collect();
        seen.sort_unstable();
        CallersState { watched: self.watched.round(), seen }
    }

    /// `None` when it is not a state that this can have.
    pub(super) fn restore(state: CallersState) -> Option<Self> {
        let sound = state.seen.len() <= PLACES && (0.0..1e12).contains(&state.watched);
        let seen = state.seen.into_iter().map(|(id, families, day)| (id, Seen { families, day })).collect();
        sound.then_some(Self { seen, watched: state.watched, day: 0 })
    }

    fn make_room(&mut self) {
        let mut days: Vec<u32> = self.seen.values().map(|seen| seen.day).collect();
        days.sort_unstable();
        let bound = days.get(days.len() / 4).copied().unwrap_or_default();
        // All of the days before, and as many of that day as make a quarter.
        let mut of_day = self.seen.len() / 4 - days.partition_point(|&day| day < bound);
        self.seen.retain(|_, seen| {
            let goes = seen.day < bound || seen.day == bound && of_day > 0;
            of_day -= usize::from(goes && seen.day == bound);
            !goes
        });
    }
}

/// The family's number in the state: it must not change.
fn place(family: Family) -> u8 {
    match family {
        Family::Haiku => 0,
        Family::Sonnet => 1,
        Family::Opus => 2,
        Family::Fable => 3,
        Family::Mythos => 4,
        Family::Other => 5,
    }
}

/// A number for a caller or a team. FNV-1a: it is to be the same after every restart, and callers do not choose their names.
pub(super) fn fingerprint(issuer: &str, name: &str) -> u64 {
    let bytes = issuer.bytes().chain([0]).chain(name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_first_once() {
        let mut callers = Callers::default();
        let (alice, bob) = (fingerprint("okta", "alice"), fingerprint("okta", "bob"));
        assert!(callers.is_first(alice, Family::Haiku) && callers.is_first(alice, Family::Opus));
        assert!(!callers.is_first(alice, Family::Haiku) && callers.is_first(bob, Family::Haiku));
        let mut again = Callers::restore(callers.state()).unwrap();
        assert!(!again.is_first(alice, Family::Opus) && again.is_first(alice, Family::Sonnet));
        assert_ne!(fingerprint("a", "bc"), fingerprint("ab", "c"));
    }

    #[test]
    fn those_who_are_away_longest_are_forgotten_first() {
        let mut callers = Callers::default();
        for id in 0..u64::try_from(PLACES).unwrap() + 10 {
            callers.beat(10.0, u32::try_from(id / 1000).unwrap());
            callers.is_first(id, Family::Haiku);
        }
        assert!(callers.seen.len() <= PLACES);
        // A quarter of the places, made free once: 16 days whole, and 384 of the next.
        let is_there = |id: u64| callers.seen.contains_key(&id);
        assert!((0..16_000).all(|id| !is_there(id)) && (17_000..65_546).all(is_there));
        assert_eq!((16_000..17_000).filter(|&id| is_there(id)).count(), 616);
    }
}
