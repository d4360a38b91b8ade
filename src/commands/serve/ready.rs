//! The word that all is at hand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use super::service_manager;
use crate::admin::Admin;

/// What is called when all is at hand.
pub(super) type OnReady = Box<dyn FnOnce() + Send>;

/// Says once that the proxy is ready.
pub(super) struct ReadyOnce {
    /// Of the configuration in force, which may be another than at the start.
    pub(super) admin: Arc<ArcSwap<Admin>>,
    pub(super) on_ready: Mutex<Option<OnReady>>,
}

#[async_trait]
impl BackgroundService for ReadyOnce {
    async fn start(&self, _: ShutdownWatch) {
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        let mut told = String::new();
        loop {
            let missing = self.admin.load().readiness.missing().join(", ");
            if missing.is_empty() {
                break;
            }
            if missing != told {
                service_manager::status(&format!("not ready yet: {missing}"));
                told = missing;
            }
            beat.tick().await;
        }
        service_manager::status("serving");
        let on_ready = self.on_ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(on_ready) = on_ready {
            on_ready();
        }
    }
}
