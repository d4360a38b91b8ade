//! Counts in the store, which hosts share.
//!
//! A call's charges are checked and counted by one script in one round trip, by the store's clock. Corrections and releases
//! wait in this host's memory and are applied many at once; so what was settled counts a few hundredths of a second later,
//! and while the store is away it waits. Requests under way are leases: those of a host that died end by themselves.

mod pending;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Script;

pub(super) use self::pending::Origin;
use self::pending::{Entry, Pending};
use super::key::BucketKey;
use super::ledger::{Charge, Counted, Counts, Full};
use super::span::{Span, Unit};
use crate::store::{Store, StoreDown};

/// Counts in the store.
pub(super) struct Shared {
    store: Arc<Store>,
    /// Tells this process's leases and batches from those of others.
    instance: String,
    pending: Mutex<Pending>,
    lost: AtomicU64,
}

impl Shared {
    pub fn new(store: Arc<Store>) -> Self {
        let instance = uuid::Uuid::new_v4().simple().to_string();
        Self { store, instance, pending: Mutex::default(), lost: AtomicU64::new(0) }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Counts all of `charges`, or none of them. `now` is for tests; else the store's clock is asked.
    pub async fn acquire(
        &self,
        charges: impl IntoIterator<Item = &Charge>,
        lease: u64,
        now: Option<u64>,
    ) -> Result<Result<Counts, Full>, StoreDown> {
        let mut call = ACQUIRE.prepare_invoke();
        call.arg(now_argument(now)).arg(self.lease(lease)).arg(LEASE).arg(1);
        for charge in charges {
            self.describe(&mut call, &charge.key);
            call.arg(charge.bound).arg(charge.amount).arg(keep(charge.key.span));
        }
        let call = &call;
        let answer: Vec<i64> =
            self.store.call(|mut connection| async move { call.invoke_async(&mut connection).await }).await?;
        match answer.as_slice() {
            [1, counts @ ..] => Ok(Ok(read_counts(counts))),
            [0, charge, wait] => Ok(Err(Full {
                charge: usize::try_from(*charge - 1).unwrap_or_default(),
                wait: u64::try_from(*wait).ok(),
            })),
            _ => Err(StoreDown),
        }
    }

    /// What counts now of each key.
    pub async fn used(&self, keys: &[BucketKey]) -> Result<Counts, StoreDown> {
        let mut call = ACQUIRE.prepare_invoke();
        call.arg("").arg("").arg(LEASE).arg(0);
        for key in keys {
            self.describe(&mut call, key);
            call.arg(0).arg(0).arg(keep(key.span));
        }
        let call = &call;
        let answer: Vec<i64> =
            self.store.call(|mut connection| async move { call.invoke_async(&mut connection).await }).await?;
        Ok(read_counts(answer.get(1..).unwrap_or_default()))
    }

    /// Has what was counted in `slot` corrected.
    pub fn correct(&self, key: &BucketKey, slot: u64, origin: Origin, delta: i64, now: u64) {
        if !self.pending().correct(key, slot, origin, delta, now) {
            self.lose();
        }
    }

    /// Has the lease on `key` renewed until it is released.
    pub fn hold(&self, key: &BucketKey, lease: u64) {
        self.pending().hold(key, lease);
    }

    /// Has the lease on `key` ended.
    pub fn release(&self, key: &BucketKey, lease: u64) {
        if !self.pending().release(key, lease) {
            self.lose();
        }
    }

    /// Has every lease that is held renewed, or made anew by a store that lost it.
    pub fn renew(&self) {
        self.pending().renew();
    }

    /// How many corrections wait.
    pub fn waiting(&self) -> usize {
        self.pending().len()
    }

    /// How many corrections there was no room for.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Applies what waits; whether nothing waits any more. A batch that was sent and not confirmed is sent again as it was,
    /// and the store knows it by its number, so that nothing counts twice.
    pub async fn flush(&self, now: Option<u64>) -> bool {
        loop {
            let Some(batch) = self.pending().begin() else { return self.waiting() == 0 };
            let mut sending = Sending { shared: self, confirmed: false };
            let mut call = APPLY.prepare_invoke();
            call.key(self.store.key(&format!("limit:batch:{}", self.instance)));
            call.arg(now_argument(now)).arg(batch.number).arg(LEASE);
            for entry in &batch.entries {
                match entry {
                    Entry::Correction { key, slot, delta } => {
                        self.describe(&mut call, key);
                        call.arg(*slot).arg(*delta).arg(keep(key.span));
                    }
                    Entry::Lease { key, lease, is_held } => {
                        self.describe(&mut call, key);
                        call.arg(self.lease(*lease)).arg(u8::from(*is_held)).arg(keep(key.span));
                    }
                }
            }
            let call = &call;
            let applied: Result<i64, StoreDown> =
                self.store.call(|mut connection| async move { call.invoke_async(&mut connection).await }).await;
            sending.confirmed = applied.is_ok();
            if !sending.confirmed {
                return false;
            }
        }
    }

    fn describe(&self, call: &mut redis::ScriptInvocation<'_>, key: &BucketKey) {
        let length = match key.span {
            Span::UnderWay => -1,
            Span::Calendar(Unit::Month) | Span::Sliding(Unit::Month) => 0,
            Span::Calendar(_) | Span::Sliding(_) => i64::try_from(key.span.slot_length()).unwrap_or(i64::MAX),
        };
        call.key(self.store.key(&format!("limit:{key}"))).arg(length).arg(key.span.reach());
    }

    fn lease(&self, lease: u64) -> String {
        format!("{}:{lease}", self.instance)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self) {
        if self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!("the store was away for too long: corrections of short windows are dropped from now on");
        }
    }
}

/// A batch on its way, which ends also when nobody waits for it any more.
struct Sending<'a> {
    shared: &'a Shared,
    confirmed: bool,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.shared.pending().end(self.confirmed);
    }
}

fn read_counts(answer: &[i64]) -> Counts {
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    let (counts, _) = answer.as_chunks::<3>();
    counts
        .iter()
        .map(|&[slot, used, reset]| Counted { slot: number(slot), used: number(used), reset: number(reset) })
        .collect()
}

fn now_argument(now: Option<u64>) -> String {
    now.map_or(String::new(), |now| now.to_string())
}

/// Milliseconds that the store keeps a count without use: longer than it counts.
fn keep(span: Span) -> u64 {
    match span {
        Span::UnderWay => LEASE,
        Span::Sliding(_) | Span::Calendar(_) => (span.reach() + 2) * span.slot_length() + 60_000,
    }
}

/// Milliseconds after which the store ends a lease that nobody renews.
const LEASE: u64 = 60_000;
/// Between two renewals of all leases.
pub(super) const RENEW: Duration = Duration::from_secs(20);
/// Between two batches of corrections.
pub(super) const FLUSH: Duration = Duration::from_millis(20);

static ACQUIRE: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("time.lua"), include_str!("acquire.lua"))));
static APPLY: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("time.lua"), include_str!("apply.lua"))));

#[cfg(test)]
mod tests;
