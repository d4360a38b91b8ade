//! Counts in the memory of this host.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use super::bucket::Bucket;
use super::key::BucketKey;
use super::span::Span;

/// One count that a call meets, and what the call takes of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Charge {
    /// The rule's place among the rules.
    pub rule: usize,
    pub key: BucketKey,
    pub bound: u64,
    pub amount: u64,
}

/// What became of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// The slot that it counts in.
    pub slot: u64,
    /// All that counts, the charge included.
    pub used: u64,
    /// When nothing of it will count any more, if nothing is added; in milliseconds since 1970.
    pub reset: u64,
}

/// Why nothing was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full {
    /// The charge that has to wait longest.
    pub charge: usize,
    /// Milliseconds; `None` when the charge alone is above the bound.
    pub wait: Option<u64>,
}

pub(super) type Counts = SmallVec<[Counted; 4]>;

/// Counts in the memory of this host.
///
/// One lock for all: a call's charges are checked and counted together or not at all, which takes a few hundred nanoseconds.
pub(super) struct Ledger(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    /// For callers as their tokens name them. Past [`BUCKETS`] new ones are refused: forgetting one would lift its limit.
    verified: Table,
    /// For sessions and agents, which clients name as they like. Past [`BUCKETS`] the ones that were idle longest are
    /// forgotten: a client could as well have begun a new session.
    claimed: Table,
    /// Whether what must outlive a restart has changed since it was last asked for.
    changed: bool,
    /// When a full table was last looked through.
    swept: u64,
}

/// Counts by their name, those that must outlive a restart apart so that they can be written down quickly.
#[derive(Default)]
struct Table {
    brief: HashMap<BucketKey, Bucket>,
    lasting: HashMap<BucketKey, Bucket>,
}

impl Ledger {
    pub fn new() -> Self {
        Self(Mutex::default())
    }

    /// Counts all of `charges`, or none of them.
    pub fn acquire(&self, charges: &[Charge], now: u64) -> Result<Counts, Full> {
        let mut tables = self.lock();
        let mut full: Option<Full> = None;
        for (charge, at) in charges.iter().zip(0..) {
            let wait = tables.wait(charge, now);
            let is_longer = |other: &Full| other.wait.is_some_and(|other| wait.is_none_or(|wait| wait > other));
            if wait != Some(0) && full.as_ref().is_none_or(is_longer) {
                full = Some(Full { charge: at, wait });
            }
        }
        match full {
            Some(full) => Err(full),
            None => Ok(charges.iter().map(|charge| tables.add(&charge.key, charge.amount, now)).collect()),
        }
    }

    /// Counts `charges` whatever the bounds.
    pub fn add(&self, charges: &[Charge], now: u64) -> Counts {
        let mut tables = self.lock();
        charges.iter().map(|charge| tables.add(&charge.key, charge.amount, now)).collect()
    }

    /// Counts `more` in the slot of an earlier charge if the bound lets it.
    pub fn grow(&self, key: &BucketKey, slot: u64, more: u64, bound: u64, now: u64) -> bool {
        let mut tables = self.lock();
        let fits = tables.wait(&Charge { rule: 0, key: *key, bound, amount: more }, now) == Some(0);
        if fits {
            tables.correct(key, slot, i64::try_from(more).unwrap_or(i64::MAX), now);
        }
        fits
    }

    /// Corrects what was counted in `slot`.
    pub fn correct(&self, key: &BucketKey, slot: u64, delta: i64, now: u64) {
        self.lock().correct(key, slot, delta, now);
    }

    /// What counts now, as if a charge of nothing had been counted.
    pub fn used(&self, key: &BucketKey, now: u64) -> Counted {
        match self.lock().bucket(key) {
            Some(bucket) => {
                let slot = bucket.advance(key.span, now);
                counted(bucket, key.span, slot, now)
            }
            None => Counted { slot: 0, used: 0, reset: now },
        }
    }

    /// Forgets counts that are empty.
    pub fn sweep(&self, now: u64) {
        let mut tables = self.lock();
        tables.verified.sweep(now);
        tables.claimed.sweep(now);
    }

    /// How many counts there are.
    pub fn len(&self) -> usize {
        let tables = self.lock();
        tables.verified.len() + tables.claimed.len()
    }

    /// What must outlive a restart, if it has changed since the last call.
    pub fn take_changed(&self) -> Option<Vec<(BucketKey, Bucket)>> {
        let mut tables = self.lock();
        std::mem::take(&mut tables.changed).then(|| {
            let lasting = tables.verified.lasting.iter().chain(&tables.claimed.lasting);
            lasting.filter(|(_, bucket)| bucket.used() > 0).map(|(key, bucket)| (*key, bucket.clone())).collect()
        })
    }

    /// Everything that counts, but for requests under way: those are whose process they are in.
    pub fn all(&self) -> Vec<(BucketKey, Bucket)> {
        let tables = self.lock();
        let all =
            [&tables.verified, &tables.claimed].into_iter().flat_map(|table| table.brief.iter().chain(&table.lasting));
        let counts = all.filter(|(key, bucket)| key.span != Span::UnderWay && bucket.used() > 0);
        counts.map(|(key, bucket)| (*key, bucket.clone())).collect()
    }

    /// What was not written down after all.
    pub fn mark_changed(&self) {
        self.lock().changed = true;
    }

    /// Takes over what outlived a restart, or what another process has counted.
    pub fn restore(&self, buckets: impl IntoIterator<Item = (BucketKey, Bucket)>) {
        let mut tables = self.lock();
        for (key, bucket) in buckets {
            tables.table(&key).insert(key, bucket);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn table(&mut self, key: &BucketKey) -> &mut HashMap<BucketKey, Bucket> {
        let table = if key.per.is_claimed() { &mut self.claimed } else { &mut self.verified };
        if key.span.outlives_a_restart() { &mut table.lasting } else { &mut table.brief }
    }

    fn bucket(&mut self, key: &BucketKey) -> Option<&mut Bucket> {
        self.table(key).get_mut(key)
    }

    /// As [`Bucket::wait`]; a new bucket that there is no room for has to wait too.
    fn wait(&mut self, charge: &Charge, now: u64) -> Option<u64> {
        let span = charge.key.span;
        if let Some(bucket) = self.bucket(&charge.key) {
            bucket.advance(span, now);
            return bucket.wait(span, charge.bound, charge.amount, now);
        }
        if charge.amount > charge.bound {
            return None;
        }
        Some(if self.has_room(&charge.key, now) { 0 } else { NO_ROOM_WAIT })
    }

    fn has_room(&mut self, key: &BucketKey, now: u64) -> bool {
        let is_claimed = key.per.is_claimed();
        let len = if is_claimed { self.claimed.len() } else { self.verified.len() };
        if len < BUCKETS {
            return true;
        }
        if now.abs_diff(self.swept) < SWEEP_PAUSE {
            return false;
        }
        self.swept = now;
        if is_claimed {
            self.claimed.sweep(now);
            self.claimed.forget_idle();
            self.claimed.len() < BUCKETS
        } else {
            self.verified.sweep(now);
            self.verified.len() < BUCKETS
        }
    }

    fn add(&mut self, key: &BucketKey, amount: u64, now: u64) -> Counted {
        self.changed |= key.span.outlives_a_restart();
        // Charges were checked for room; those that are added unchecked may pass the bound by the calls under way.
        let bucket = self.table(key).entry(*key).or_default();
        let slot = bucket.advance(key.span, now);
        bucket.add(key.span, slot, amount);
        counted(bucket, key.span, slot, now)
    }

    fn correct(&mut self, key: &BucketKey, slot: u64, delta: i64, now: u64) {
        self.changed |= key.span.outlives_a_restart();
        if let Some(bucket) = self.bucket(key) {
            bucket.correct(key.span, slot, delta, now);
        } else if delta > 0 && key.span != Span::UnderWay && self.has_room(key, now) {
            self.table(key).entry(*key).or_default().correct(key.span, slot, delta, now);
        }
    }
}

impl Table {
    fn len(&self) -> usize {
        self.brief.len() + self.lasting.len()
    }

    fn sweep(&mut self, now: u64) {
        for table in [&mut self.brief, &mut self.lasting] {
            table.retain(|key, bucket| {
                bucket.advance(key.span, now);
                bucket.used() > 0
            });
        }
    }

    /// Forgets the half that was idle longest, but no count of requests under way.
    fn forget_idle(&mut self) {
        if self.len() < BUCKETS {
            return;
        }
        let last_used =
            |key: &BucketKey, bucket: &Bucket| bucket.newest().map_or(u64::MAX, |slot| key.span.end_of(slot));
        let all = self.brief.iter().chain(&self.lasting);
        let mut times: Vec<u64> = all.map(|(key, bucket)| last_used(key, bucket)).collect();
        let middle = times.len() / 2;
        let (_, &mut middle, _) = times.select_nth_unstable(middle);
        for table in [&mut self.brief, &mut self.lasting] {
            table.retain(|key, bucket| key.span == Span::UnderWay || last_used(key, bucket) > middle);
        }
    }
}

fn counted(bucket: &Bucket, span: Span, slot: u64, now: u64) -> Counted {
    let reset = bucket.newest().map_or(now, |newest| span.end_of(newest));
    Counted { slot, used: bucket.used(), reset }
}

/// Counts of each kind. One takes about 150 bytes, 600 at the most.
const BUCKETS: usize = 131_072;
/// Milliseconds between two looks through a table that is full.
const SWEEP_PAUSE: u64 = 1_000;
/// Milliseconds that a caller waits for room among the counts.
const NO_ROOM_WAIT: u64 = 1_000;

#[cfg(test)]
mod tests;
