//! The keys that were fetched for an issuer, as verification sees them: the last good set, how old it is, and a bell for
//! when a token names a key that is not in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use futures_util::FutureExt;
use moka::sync::Cache;
use tokio::sync::Notify;

use super::keys::KeySet;

/// Shared by the issuer, which reads, and its fetcher, which alone writes.
pub(super) struct FetchedKeys {
    current: ArcSwapOption<DatedKeys>,
    max_age: Duration,
    /// Counts changes of the set.
    generation: AtomicU64,
    failures: AtomicU64,
    tried: AtomicBool,
    wanted: Notify,
    /// Key ids that rang the bell, and when.
    unknown: Cache<String, SystemTime>,
}

/// A set and when it was fetched.
pub(super) struct DatedKeys {
    pub(super) keys: KeySet,
    fetched: SystemTime,
}

/// How long an unknown key id is remembered before it may ring the bell again.
const UNKNOWN: Duration = Duration::from_secs(60);
/// How many unknown key ids are remembered.
const MAX_UNKNOWN: u64 = 1_000;

impl FetchedKeys {
    /// No keys yet; a set counts for `max_age` after it was fetched.
    pub(super) fn new(max_age: Duration) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            max_age,
            generation: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            tried: AtomicBool::new(false),
            wanted: Notify::new(),
            unknown: Cache::new(MAX_UNKNOWN),
        }
    }

    /// The set, unless it is too old at `now`.
    pub(super) fn at(&self, now: SystemTime) -> Option<Arc<DatedKeys>> {
        self.current.load_full().filter(|dated| dated.age(now) <= self.max_age)
    }

    /// Whether [`FetchedKeys::at`] has a set.
    pub(super) fn serve_at(&self, now: SystemTime) -> bool {
        self.current.load().as_ref().is_some_and(|dated| dated.age(now) <= self.max_age)
    }

    /// How often the set changed. Read it before the set: what was decided on an older one is then never taken for newer.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Puts a set in force. Keys that stay are the same values as before; keys that left are retired.
    pub(super) fn put(&self, keys: KeySet, fetched: SystemTime) {
        let before = self.current.load_full();
        let (keys, changed) = match &before {
            Some(before) => keys.succeeding(&before.keys),
            None => (keys, true),
        };
        let now = Arc::new(DatedKeys { keys, fetched });
        self.current.store(Some(Arc::clone(&now)));
        if let Some(before) = before {
            before.keys.retire_all_but(Some(&now.keys));
        }
        if changed {
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Takes the set out of force if it is too old at `now`; whether it was.
    pub(super) fn drop_if_old(&self, now: SystemTime) -> bool {
        let Some(dated) = self.current.load_full().filter(|dated| dated.age(now) > self.max_age) else { return false };
        self.current.store(None);
        dated.keys.retire_all_but(None);
        self.generation.fetch_add(1, Ordering::Release);
        true
    }

    /// Tells the fetcher that a token names a key that is not in the set, unless this key id did so lately.
    pub(super) fn miss(&self, key_id: Option<&str>, now: SystemTime) {
        let key_id = key_id.unwrap_or_default();
        let is_remembered = |rang: SystemTime| now.duration_since(rang).is_ok_and(|since| since < UNKNOWN);
        if !self.unknown.get(key_id).is_some_and(is_remembered) {
            self.unknown.insert(key_id.to_owned(), now);
            self.wanted.notify_one();
        }
    }

    /// Waits for a token that names a key that is not in the set.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Forgets who asked so far: the fetch that begins now answers them.
    pub(super) fn begin(&self) {
        let _ = self.wanted.notified().now_or_never();
    }

    /// Counts the outcome of one fetch.
    pub(super) fn count(&self, succeeded: bool) {
        if !succeeded {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.tried.store(true, Ordering::Release);
    }

    /// Whether there is a set, or a fetch has ended without one.
    pub(super) fn are_settled(&self) -> bool {
        self.tried.load(Ordering::Acquire) || self.has_any()
    }

    /// Whether there is a set, of whatever age.
    pub(super) fn has_any(&self) -> bool {
        self.current.load().is_some()
    }

    /// How many keys there are, and how old they are at `now`.
    pub(super) fn size_and_age(&self, now: SystemTime) -> (usize, Option<Duration>) {
        self.current.load().as_ref().map_or((0, None), |dated| (dated.keys.len(), Some(dated.age(now))))
    }

    /// Fetches that failed.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
impl FetchedKeys {
    /// Puts the set at another date, as a clock or a wait would.
    pub(super) fn date(&self, fetched: SystemTime) {
        let keys = self.current.load().as_ref().map(|dated| dated.keys.clone());
        self.current.store(keys.map(|keys| Arc::new(DatedKeys { keys, fetched })));
    }
}

impl DatedKeys {
    #[cfg(test)]
    pub(super) fn fetched_at(&self) -> SystemTime {
        self.fetched
    }

    /// Nothing where the clock was set back.
    fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.fetched).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::tests::{Signer, jwks};
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn set(signers: &[&Signer]) -> KeySet {
        KeySet::parse(&jwks(signers)).unwrap()
    }

    #[test]
    fn keys_that_stay_are_the_same_values_and_keys_that_leave_are_retired() {
        let (a, b) = (Signer::es256("a"), Signer::es256("b"));
        let keys = FetchedKeys::new(HOUR);
        keys.put(set(&[&a, &b]), at(0));
        let generation = keys.generation();
        let key = |id| {
            let set = keys.at(at(0)).unwrap();
            set.keys.fitting(super::super::Algorithm::ES256, Some(id)).next().map(Arc::clone)
        };
        let (first_a, first_b) = (key("a").unwrap(), key("b").unwrap());
        keys.put(set(&[&b, &a]), at(1));
        assert_eq!(keys.generation(), generation, "the same keys in another order are no change");
        assert!(Arc::ptr_eq(&first_a, &key("a").unwrap()));
        keys.put(set(&[&b]), at(2));
        assert!(first_a.is_retired() && !first_b.is_retired() && keys.generation() > generation);
        keys.put(set(&[&a, &b]), at(3));
        assert!(first_a.is_retired(), "a key that comes back is another value");
        assert!(!key("a").unwrap().is_retired());
        // The same id with another key: the old one has left.
        keys.put(set(&[&a, &Signer::es256("b")]), at(4));
        assert!(first_b.is_retired());
    }

    #[test]
    fn a_set_serves_for_its_age_and_is_dropped_after() {
        let keys = FetchedKeys::new(HOUR);
        keys.put(set(&[&Signer::es256("a")]), at(0));
        let key =
            keys.at(at(0)).unwrap().keys.fitting(super::super::Algorithm::ES256, None).next().map(Arc::clone).unwrap();
        assert!(keys.serve_at(at(3600)) && keys.at(at(3600)).is_some());
        assert!(!keys.drop_if_old(at(3600)) && !key.is_retired());
        assert!(!keys.serve_at(at(3601)) && keys.at(at(3601)).is_none());
        assert_eq!(keys.size_and_age(at(60)), (1, Some(Duration::from_secs(60))));
        assert!(keys.drop_if_old(at(3601)) && key.is_retired());
        assert_eq!(keys.size_and_age(at(60)), (0, None));
        assert!(!keys.drop_if_old(at(3601)));
    }

    #[test]
    fn an_unknown_key_id_rings_once_a_minute() {
        let keys = FetchedKeys::new(HOUR);
        let rang = || keys.wanted().now_or_never().is_some();
        keys.miss(Some("x"), at(0));
        assert!(rang());
        keys.miss(Some("x"), at(59));
        assert!(!rang(), "it is remembered");
        keys.miss(Some("y"), at(59));
        assert!(rang(), "another may ring");
        keys.miss(Some("x"), at(60));
        assert!(rang());
        for _ in 0..100 {
            keys.miss(None, at(60));
        }
        assert!(rang() && !rang(), "many rings while nobody listens are one");
        keys.miss(Some("z"), at(60));
        keys.begin();
        assert!(!rang(), "a fetch answers those who rang before it");
    }
}
