//! Keeps the addresses of the upstream's endpoints current: each name is looked up again when its answer has run out, and
//! each address is judged before anybody may connect to it.

mod known;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::join_all;

use self::known::{Known, News};
use super::{Endpoint, Networks, Placed, Resolve, Resolver};

/// The endpoints, and what is known of where they are.
///
/// A name that cannot be looked up keeps its last addresses, and is tried again soon. An answer is taken as it is: what it
/// no longer has, or has and may not be used, is dropped at once.
pub struct Discovery<R = Resolver> {
    networks: Networks,
    resolver: R,
    known: Mutex<Vec<Known>>,
    found: ArcSwap<Found>,
    refused: AtomicU64,
    failures: AtomicU64,
}

/// What all endpoints come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The addresses that may be used: sorted, each once.
    pub usable: Vec<Placed>,
    /// What is wrong, an endpoint at a time, as for people.
    pub faults: Vec<String>,
}

/// How an endpoint stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointState {
    /// Host and port, as configured.
    pub name: String,
    /// Whether its addresses are to be used first.
    pub preferred: bool,
    /// How many addresses may be used.
    pub usable: usize,
    /// How many addresses may not.
    pub refused: usize,
    /// Why the last lookup failed; `None` when it succeeded.
    pub fault: Option<String>,
    /// How old the last answer is; `None` without one, as of an address that is written out.
    pub age: Option<Duration>,
}

impl<R: Resolve> Discovery<R> {
    /// A discovery of `endpoints`, each with whether it is preferred. Addresses that are written out are found from the
    /// start; the rest is not before [`Self::resolve_once`] or [`Self::run`].
    pub fn new(endpoints: Vec<(Endpoint, bool)>, networks: Networks, resolver: R) -> Self {
        let now = Instant::now();
        let known = endpoints.into_iter().map(|(endpoint, preferred)| Known::new(endpoint, preferred, &networks, now));
        let known: Vec<_> = known.collect();
        known.iter().filter(|known| !known.refused().is_empty()).for_each(|known| tell(known, News::Refused));
        Self {
            refused: AtomicU64::new(count(known.iter().map(|known| known.refused().len()).sum())),
            failures: AtomicU64::new(0),
            found: ArcSwap::from_pointee(Found::of(&known)),
            known: Mutex::new(known),
            networks,
            resolver,
        }
    }

    /// What is found now.
    pub fn current(&self) -> Arc<Found> {
        self.found.load_full()
    }

    /// Looks every name up once, all at a time. What it finds is in [`Self::current`] afterwards.
    pub async fn resolve_once(&self) {
        join_all(self.indices().map(|index| self.look(index))).await;
    }

    /// Looks names up whenever their answers have run out, for as long as the future is polled, and calls `on_change` with
    /// what is found if that is not what it was.
    pub async fn run(&self, on_change: impl Fn(&Found)) {
        join_all(self.indices().map(|index| self.follow(index, &on_change))).await;
        std::future::pending::<()>().await; // every endpoint is written out
    }

    /// Follows one endpoint on its own clock; ends only if it is an address.
    async fn follow(&self, index: usize, on_change: &impl Fn(&Found)) {
        while let Some(due) = self.due(index) {
            tokio::time::sleep_until(due.into()).await;
            if let Some(found) = self.look(index).await {
                on_change(&found);
            }
        }
    }

    fn due(&self, index: usize) -> Option<Instant> {
        self.lock().get(index)?.due()
    }

    /// Looks one endpoint up and takes the answer over. Returns what is found if that changes it.
    async fn look(&self, index: usize) -> Option<Arc<Found>> {
        let name = self.lock().get(index).filter(|known| known.due().is_some())?.endpoint().clone();
        let answer = self.resolver.lookup(name.host()).await;
        if answer.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        let answered = answer.is_ok();
        let mut endpoints = self.lock();
        let known = endpoints.get_mut(index)?;
        let news = known.learn(answer, &self.networks, Instant::now());
        if answered {
            self.refused.fetch_add(count(known.refused().len()), Ordering::Relaxed);
        }
        tell(known, news);
        let found = Found::of(&endpoints);
        if found == **self.found.load() {
            return None;
        }
        let found = Arc::new(found);
        self.found.store(found.clone()); // under the lock, so that no older view comes after it
        Some(found)
    }

    /// How many addresses of answers have been refused, each as often as an answer had it.
    pub fn refused_total(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many lookups have failed.
    pub fn failures_total(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How each endpoint stands, in the order of the configuration.
    pub fn endpoints(&self) -> Vec<EndpointState> {
        let now = Instant::now();
        self.lock().iter().map(|known| known.state(now)).collect()
    }

    /// Of all endpoints, whose number never changes.
    fn indices(&self) -> Range<usize> {
        0..self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    fn of(endpoints: &[Known]) -> Self {
        let mut usable: Vec<_> = endpoints.iter().flat_map(Known::placed).collect();
        // The preferred one of two equal addresses comes first, and is the one that stays.
        usable.sort_unstable_by_key(|placed| (placed.address, !placed.preferred));
        usable.dedup_by_key(|placed| placed.address);
        Self { usable, faults: endpoints.iter().filter_map(Known::faults).collect() }
    }
}

fn tell(known: &Known, news: News) {
    let (endpoint, usable) = (known.endpoint(), known.placed().count());
    match news {
        News::None => {}
        News::Refused => {
            tracing::warn!(
                %endpoint,
                faults = known.faults(),
                usable,
                "addresses of an upstream endpoint may not be used"
            );
        }
        News::Failed => {
            tracing::warn!(
                %endpoint,
                faults = known.faults(),
                usable,
                "an upstream endpoint cannot be looked up; its last addresses stay"
            );
        }
        News::Good => tracing::info!(%endpoint, usable, "an upstream endpoint resolves as it should again"),
    }
}

fn count(addresses: usize) -> u64 {
    u64::try_from(addresses).unwrap_or(u64::MAX)
}
