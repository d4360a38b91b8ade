//! What the log lacks and has not told yet.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// A time in which the log could not be written, from the first failure on. One `gap` line tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outage {
    pub since: SystemTime,
    /// When the log could be written again.
    pub until: Option<SystemTime>,
    /// Requests that were refused for it, and so have no record.
    pub refused: u64,
    /// Records that could not be kept.
    pub lost: u64,
    /// Lines that were written and then failed to reach the disk for all that is known.
    pub unsure: u64,
}

/// The outage that is to be told, if there is one. The lock is taken by what failed and by the writer, not by requests that
/// go well.
#[derive(Default)]
pub(super) struct Outages(Mutex<Option<Outage>>);

impl Outages {
    /// Notes something that is missing, or that it goes on; whether that begins an outage.
    pub(super) fn note(&self, change: impl FnOnce(&mut Outage)) -> bool {
        let mut outage = self.lock();
        let begins = outage.is_none();
        change(outage.get_or_insert_with(Outage::now));
        begins
    }

    /// Notes that the log can be written again.
    pub(super) fn end(&self) {
        if let Some(outage) = &mut *self.lock() {
            outage.until = Some(SystemTime::now());
        }
    }

    /// What is to be told.
    pub(super) fn untold(&self) -> Option<Outage> {
        *self.lock()
    }

    /// Notes what was told. What came meanwhile is still to be told.
    pub(super) fn tell(&self, told: &Outage) {
        let mut outage = self.lock();
        *outage = outage.take().and_then(|all| {
            let rest = Outage {
                refused: all.refused.saturating_sub(told.refused),
                lost: all.lost.saturating_sub(told.lost),
                unsure: all.unsure.saturating_sub(told.unsure),
                ..Outage::now()
            };
            (rest.refused + rest.lost + rest.unsure > 0).then_some(rest)
        });
    }

    fn lock(&self) -> MutexGuard<'_, Option<Outage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outage {
    fn now() -> Self {
        Self { since: SystemTime::now(), until: None, refused: 0, lost: 0, unsure: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_while_an_outage_is_told_is_told_later() {
        let outages = Outages::default();
        assert_eq!(outages.untold(), None);
        assert!(outages.note(|outage| outage.refused += 2));
        assert!(!outages.note(|outage| outage.lost += 1));
        outages.end();
        let told = outages.untold().unwrap();
        assert_eq!((told.refused, told.lost, told.until.is_some()), (2, 1, true));
        outages.note(|outage| outage.refused += 3);
        outages.tell(&told);
        let rest = outages.untold().unwrap();
        assert_eq!((rest.refused, rest.lost, rest.until), (3, 0, None));
        outages.tell(&rest);
        assert_eq!(outages.untold(), None);
    }
}
