//! The part of the list that lies in the shared store, read again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::entry::Entry;
use super::{Part, Revocations};
use crate::store::{Store, StoreDown};

/// Time between two readings: with the reading itself well below the second within which a change is in force.
const INTERVAL: Duration = Duration::from_millis(400);
/// Members that are asked for at a time, so that a large set keeps nobody waiting.
const PAGE: usize = 1000;
/// More members than are read. Beyond it revocations belong in `issued_before`.
const MAX_MEMBERS: usize = 250_000;

/// Follows a set in the store and keeps the list as the set says.
pub struct StoreFollower {
    store: Arc<Store>,
    key: String,
    part: Arc<Part>,
    /// Told of changes.
    revocations: Arc<Revocations>,
    status: Arc<StoreStatus>,
}

/// How following goes.
#[derive(Debug)]
pub struct StoreStatus {
    started: Instant,
    /// Milliseconds from `started` to the last good reading, and one; zero while there was none.
    read: AtomicU64,
    /// Members that were not understood, at the last reading.
    unknown: AtomicU64,
    told: AtomicBool,
}

/// How old the last reading may be before nobody is let in.
#[derive(Debug, Clone)]
pub struct Freshness {
    /// How reading goes.
    pub set: Arc<StoreStatus>,
    /// The bound.
    pub most: Duration,
}

impl Freshness {
    /// Whether the last reading is too old, or there was none.
    pub fn is_lost(&self) -> bool {
        self.set.is_stale(self.most)
    }
}

impl StoreStatus {
    /// How long ago the set was last read; `None` before it was.
    pub fn age(&self) -> Option<Duration> {
        let read = Duration::from_millis(self.read.load(Ordering::Relaxed).checked_sub(1)?);
        Some(self.started.elapsed().saturating_sub(read))
    }

    /// Whether the last reading is older than `most`, or there was none.
    pub fn is_stale(&self, most: Duration) -> bool {
        self.age().is_none_or(|age| age > most)
    }

    /// Members of the set that are no revocation, and so revoke nobody.
    pub fn unknown_members(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    fn read_now(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.read.store(elapsed + 1, Ordering::Relaxed);
    }
}

impl StoreFollower {
    /// Follows the set called `key`. Its part is for [`Revocations::adopt`] to put in force.
    pub fn new(store: Arc<Store>, key: String, revocations: Arc<Revocations>) -> Self {
        let status = StoreStatus {
            started: Instant::now(),
            read: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            told: AtomicBool::new(false),
        };
        Self { store, key, part: Arc::default(), revocations, status: Arc::new(status) }
    }

    /// What the set says.
    pub fn part(&self) -> Arc<Part> {
        Arc::clone(&self.part)
    }

    /// How following goes; stays valid while [`StoreFollower::run`] has the follower.
    pub fn status(&self) -> Arc<StoreStatus> {
        Arc::clone(&self.status)
    }

    /// Follows the set for as long as the future is polled. While the store does not answer, the last reading stays in force;
    /// how old that may get is the asker's to say.
    pub async fn run(self) {
        loop {
            if let Ok(members) = self.members().await {
                self.take(&members);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Every member; one that is there throughout is not missed, and one may come twice (SSCAN).
    async fn members(&self) -> Result<Vec<String>, StoreDown> {
        let mut members: Vec<String> = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let key = &self.key;
            let page = self.store.call(|mut connection| async move {
                let mut scan = redis::cmd("SSCAN");
                scan.arg(key).arg(cursor).arg("COUNT").arg(PAGE);
                scan.query_async::<(u64, Vec<String>)>(&mut connection).await
            });
            let (next, found) = page.await?;
            members.extend(found);
            if members.len() > MAX_MEMBERS {
                self.tell(|| {
                    tracing::error!(key, "the set of revocations is too large, and an older reading is in force");
                });
                return Err(StoreDown);
            }
            if next == 0 {
                return Ok(members);
            }
            cursor = next;
        }
    }

    fn take(&self, members: &[String]) {
        let entries: Vec<Entry> = members.iter().filter_map(|member| Entry::parse_member(member)).collect();
        let unknown = members.len() - entries.len();
        self.status.unknown.store(unknown as u64, Ordering::Relaxed);
        if unknown == 0 {
            self.status.told.store(false, Ordering::Relaxed);
        } else {
            self.tell(|| {
                tracing::error!(key = self.key, unknown, "members of the set are no revocations, and revoke nobody");
            });
        }
        if self.revocations.replace_in(&self.part, entries) {
            tracing::info!(key = self.key, entries = self.part.entries(), "the revocations have changed");
        }
        self.status.read_now();
    }

    /// Once, until all is well again.
    fn tell(&self, log: impl FnOnce()) {
        if !self.status.told.swap(true, Ordering::Relaxed) {
            log();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_read_yet_is_stale_however_patient_one_is() {
        let status = StoreStatus {
            started: Instant::now(),
            read: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            told: AtomicBool::new(false),
        };
        assert!(status.is_stale(Duration::MAX));
        status.read_now();
        assert!(!status.is_stale(Duration::from_secs(60)));
        assert!(status.age().unwrap() < Duration::from_secs(60));
    }
}
