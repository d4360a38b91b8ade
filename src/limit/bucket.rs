//! One count: what was used, by slot.

use std::collections::VecDeque;

use super::span::Span;

/// What was used and still counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Slots and what was used in each, the oldest first; at most one more than the span reaches back.
    slots: VecDeque<(u64, u64)>,
    /// The sum of all slots; for requests under way their number, without slots.
    used: u64,
}

impl Bucket {
    pub fn from_slots(slots: VecDeque<(u64, u64)>) -> Self {
        let used = slots.iter().fold(0, |sum: u64, &(_, amount)| sum.saturating_add(amount));
        Self { slots, used }
    }

    pub fn slots(&self) -> &VecDeque<(u64, u64)> {
        &self.slots
    }

    /// What counts, as of the last [`Bucket::advance`].
    pub fn used(&self) -> u64 {
        self.used
    }

    /// The newest slot in which something was used.
    pub fn newest(&self) -> Option<u64> {
        self.slots.back().map(|&(slot, _)| slot)
    }

    /// Forgets what no longer counts, and returns the slot in which a use counts now.
    ///
    /// A clock that went back does not bring capacity: uses then count in the newest slot there is; when it went back
    /// further than the span, all that still counts moves to the new time.
    pub fn advance(&mut self, span: Span, now: u64) -> u64 {
        if span == Span::UnderWay {
            return 0;
        }
        let mut slot = span.slot(now);
        if let Some(newest) = self.newest().filter(|&newest| newest > slot) {
            if newest - slot <= span.reach().max(1) {
                slot = newest;
            } else {
                self.slots.clear();
                self.slots.push_back((slot, self.used));
            }
        }
        let oldest = slot.saturating_sub(span.reach());
        while let Some(&(first, amount)) = self.slots.front().filter(|&&(first, _)| first < oldest) {
            debug_assert!(first < oldest);
            self.used = self.used.saturating_sub(amount);
            self.slots.pop_front();
        }
        slot
    }

    /// How long until `amount` fits under `bound`, in milliseconds; 0 when it fits, `None` when it never will.
    pub fn wait(&self, span: Span, bound: u64, amount: u64, now: u64) -> Option<u64> {
        let excess = self.used.saturating_add(amount).saturating_sub(bound);
        if excess == 0 {
            return Some(0);
        }
        if amount > bound {
            return None;
        }
        let mut freed = 0_u64;
        let frees_enough = |&&(_, amount): &&(u64, u64)| {
            freed = freed.saturating_add(amount);
            freed >= excess
        };
        let freed_by = self.slots.iter().find(frees_enough).map(|&(slot, _)| span.end_of(slot));
        Some(freed_by.map_or(1_000, |end| end.saturating_sub(now)).max(1))
    }

    /// Counts `amount` in `slot`, which [`Bucket::advance`] returned.
    pub fn add(&mut self, span: Span, slot: u64, amount: u64) {
        self.used = self.used.saturating_add(amount);
        if span == Span::UnderWay || amount == 0 {
            return;
        }
        match self.slots.back_mut() {
            Some((newest, used)) if *newest == slot => *used = used.saturating_add(amount),
            _ => self.slots.push_back((slot, amount)),
        }
    }

    /// Corrects what was used in `slot`. Nothing is taken back from a slot that no longer counts, nor below zero.
    pub fn correct(&mut self, span: Span, slot: u64, delta: i64, now: u64) {
        if span == Span::UnderWay {
            self.used = self.used.saturating_add_signed(delta);
            return;
        }
        let still_counts =
            self.newest().map_or(span.end_of(slot) > now, |newest| slot >= newest.saturating_sub(span.reach()));
        let slot = self.newest().map_or(slot, |newest| slot.min(newest));
        let at = self.slots.partition_point(|&(other, _)| other < slot);
        match self.slots.get_mut(at).filter(|(other, _)| *other == slot) {
            Some((_, amount)) => {
                let corrected = amount.saturating_add_signed(delta);
                self.used = self.used.saturating_sub(*amount).saturating_add(corrected);
                *amount = corrected;
            }
            None if delta > 0 && still_counts => {
                self.slots.insert(at, (slot, delta.unsigned_abs()));
                self.used = self.used.saturating_add_signed(delta);
            }
            None => {}
        }
    }
}
