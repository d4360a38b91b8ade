//! What waits to be applied in the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::key::BucketKey;
use super::super::span::Span;

/// What waits to be applied in the store, and the leases that are held there.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// What became of charges that the store granted, by count and slot, so that many corrections of one are one.
    granted: HashMap<(BucketKey, u64), i64>,
    /// What this host granted without the store, and what became of it. Kept apart and applied later: should the store have
    /// lost what it granted, taking back from that must not take back from this.
    ungranted: HashMap<(BucketKey, u64), i64>,
    /// Leases to renew (`true`) or to release.
    leases: HashMap<(BucketKey, u64), bool>,
    held: HashSet<(BucketKey, u64)>,
    /// The batch that was sent and not confirmed.
    unconfirmed: Option<Arc<Batch>>,
    /// It is with the store at this moment.
    is_sending: bool,
    last_number: u64,
}

/// What is sent at once, under a number that only this batch has.
#[derive(Debug)]
pub(super) struct Batch {
    pub number: u64,
    pub entries: Vec<Entry>,
}

/// Who counted the charge that a correction is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Origin {
    /// The store.
    Store,
    /// This host, while the store did not answer.
    Host,
}

#[derive(Debug)]
pub(super) enum Entry {
    Correction { key: BucketKey, slot: u64, delta: i64 },
    Lease { key: BucketKey, lease: u64, is_held: bool },
}

impl Pending {
    /// `false` when there is no room for it.
    pub fn correct(&mut self, key: &BucketKey, slot: u64, origin: Origin, delta: i64, now: u64) -> bool {
        let corrections = match origin {
            Origin::Store => &mut self.granted,
            Origin::Host => &mut self.ungranted,
        };
        if corrections.len() >= WAITING && !corrections.contains_key(&(*key, slot)) {
            corrections.retain(|(key, slot), _| key.span.end_of(*slot) > now);
            // What counts longest is kept to the last.
            let most = if key.span.outlives_a_restart() { 2 * WAITING } else { WAITING };
            if corrections.len() >= most {
                return false;
            }
        }
        let sum = corrections.entry((*key, slot)).or_default();
        *sum = sum.saturating_add(delta);
        true
    }

    pub fn hold(&mut self, key: &BucketKey, lease: u64) {
        debug_assert_eq!(key.span, Span::UnderWay);
        self.held.insert((*key, lease));
    }

    /// `false` when there is no room for it: the lease ends by itself.
    pub fn release(&mut self, key: &BucketKey, lease: u64) -> bool {
        self.held.remove(&(*key, lease));
        if self.leases.len() >= WAITING {
            return false;
        }
        self.leases.insert((*key, lease), false);
        true
    }

    /// Leases that are held are bounded by the requests under way.
    pub fn renew(&mut self) {
        for lease in &self.held {
            self.leases.entry(*lease).or_insert(true);
        }
    }

    pub fn len(&self) -> usize {
        let unconfirmed = self.unconfirmed.as_ref().map_or(0, |batch| batch.entries.len());
        self.granted.len() + self.ungranted.len() + self.leases.len() + unconfirmed
    }

    /// The next batch to send: the one that was not confirmed, else a part of what waits. `None` when there is nothing, or
    /// another batch is being sent. It stays here until [`Pending::end`] confirms it.
    pub fn begin(&mut self) -> Option<Arc<Batch>> {
        if self.is_sending {
            return None;
        }
        if self.unconfirmed.is_none() {
            self.unconfirmed = self.next_batch().map(Arc::new);
        }
        self.is_sending = self.unconfirmed.is_some();
        self.unconfirmed.clone()
    }

    /// Sending came to an end.
    pub fn end(&mut self, confirmed: bool) {
        self.is_sending = false;
        if confirmed {
            self.unconfirmed = None;
        }
    }

    fn next_batch(&mut self) -> Option<Batch> {
        let leases: Vec<_> = self.leases.keys().take(BATCH).copied().collect();
        let mut entries = Vec::with_capacity(leases.len());
        for (key, lease) in leases {
            let is_held = self.leases.remove(&(key, lease)).unwrap_or_default();
            entries.push(Entry::Lease { key, lease, is_held });
        }
        for corrections in [&mut self.granted, &mut self.ungranted] {
            let next: Vec<_> = corrections.keys().take(BATCH.saturating_sub(entries.len())).copied().collect();
            for (key, slot) in next {
                let delta = corrections.remove(&(key, slot)).unwrap_or_default();
                entries.push(Entry::Correction { key, slot, delta });
            }
        }
        if entries.is_empty() {
            return None;
        }
        self.last_number += 1;
        Some(Batch { number: self.last_number, entries })
    }
}

/// Corrections that may wait for the store; twice as many when they count for an hour or longer.
const WAITING: usize = 65_536;
/// Entries of one batch: the store is busy with it for about a millisecond.
const BATCH: usize = 256;

#[cfg(test)]
impl Pending {
    /// As if the confirmation of `batch` had not come.
    pub fn unconfirm(&mut self, batch: Arc<Batch>) {
        self.unconfirmed = Some(batch);
    }
}
