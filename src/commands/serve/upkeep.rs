//! Work beside the requests, and the word that all is at hand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, join_all};
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use crate::admin::Readiness;
use crate::credential::KeyRing;
use crate::identity::KeyFetcher;
use crate::limit::Limits;
use crate::upstream::Upstream;

/// Futures that never end by themselves, run side by side.
pub(super) struct Upkeep {
    pub(super) fetchers: Vec<KeyFetcher>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) keys: Arc<KeyRing>,
    pub(super) limits: Arc<Limits>,
    /// Whatever the configuration asks for besides. Taken once, by the service's start.
    pub(super) others: Mutex<Vec<BoxFuture<'static, ()>>>,
}

#[async_trait]
impl BackgroundService for Upkeep {
    /// Goes on while requests are drained: revocations are in force, and what was used is counted, to the last one.
    async fn start(&self, _: ShutdownWatch) {
        let fetching = join_all(self.fetchers.iter().map(KeyFetcher::run));
        let others = join_all(std::mem::take(&mut *self.others.lock().unwrap_or_else(PoisonError::into_inner)));
        // Together: where there is nothing to fetch, names are resolved all the same, and the reverse.
        let keys = self.keys.upkeep(|request| self.upstream.ask(request));
        tokio::join!(fetching, self.upstream.upkeep(), keys, self.limits.upkeep(), others);
    }
}

/// What is called when all is at hand.
pub(super) type OnReady = Box<dyn FnOnce() + Send>;

/// Says once that the proxy is ready.
pub(super) struct ReadyOnce {
    pub(super) readiness: Readiness,
    pub(super) on_ready: Mutex<Option<OnReady>>,
}

#[async_trait]
impl BackgroundService for ReadyOnce {
    async fn start(&self, _: ShutdownWatch) {
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        while !self.readiness.missing().is_empty() {
            beat.tick().await;
        }
        let on_ready = self.on_ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(on_ready) = on_ready {
            on_ready();
        }
    }
}
