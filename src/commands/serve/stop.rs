//! The end of the process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};

use super::evidence::Evidence;
use super::watch::Watch;
use crate::limit::{InFlight, Limits};

/// Ends the process: at once on SIGINT, after the requests under way on SIGTERM and SIGQUIT.
pub(super) struct Stop {
    pub(super) in_flight: Arc<InFlight>,
    pub(super) limits: Arc<Limits>,
    pub(super) evidence: Arc<Evidence>,
    pub(super) watch: Arc<Watch>,
    pub(super) drain: Duration,
}

/// Time for connections that were accepted at the last moment to become requests.
const SETTLE: Duration = Duration::from_millis(100);

#[async_trait]
impl ShutdownSignalWatch for Stop {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut terminate), Ok(mut quit), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::quit()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("signals cannot be received");
            return ShutdownSignal::FastShutdown;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
            _ = interrupt.recv() => return ShutdownSignal::FastShutdown,
        }
        let (in_flight, limits) = (Arc::clone(&self.in_flight), Arc::clone(&self.limits));
        let (evidence, watch, drain) = (Arc::clone(&self.evidence), Arc::clone(&self.watch), self.drain);
        tracing::info!(requests = in_flight.count(), "draining");
        std::thread::spawn(move || {
            std::thread::sleep(SETTLE);
            let left = in_flight.wait_for_none(drain);
            let counted = keep_counts(&limits);
            watch.keep();
            let recorded = evidence.close();
            tracing::info!(requests_cut = left, counted, recorded, "stopped");
            std::process::exit(i32::from(!recorded));
        });
        ShutdownSignal::GracefulTerminate
    }
}

/// Brings the counts of limits to where they outlive the process; whether all of them are there. Not for async code.
pub(super) fn keep_counts(limits: &Limits) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.is_ok_and(|runtime| runtime.block_on(limits.flush(FLUSH)))
}

/// Longest wait for the store of counts.
const FLUSH: Duration = Duration::from_secs(5);
