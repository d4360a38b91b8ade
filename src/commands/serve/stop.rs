//! The end of the process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};

use crate::audit::AuditLog;
use crate::limit::{InFlight, Limits};
use crate::telemetry::LogExport;

/// Ends the process: at once on SIGINT, after the requests under way on SIGTERM and SIGQUIT.
pub(super) struct Stop {
    pub(super) in_flight: Arc<InFlight>,
    pub(super) limits: Arc<Limits>,
    pub(super) audit: AuditLog,
    pub(super) export: Option<Arc<LogExport>>,
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
        let (audit, export, drain) = (self.audit.clone(), self.export.clone(), self.drain);
        tracing::info!(requests = in_flight.count(), "draining");
        std::thread::spawn(move || {
            std::thread::sleep(SETTLE);
            let left = in_flight.wait_for_none(drain);
            let counted = keep_counts(&limits);
            let recorded = hand_over(&audit, export.as_deref());
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

/// Brings the last records to the log, and those that wait to the collector; whether all are in the log. Not for async code.
pub(super) fn hand_over(audit: &AuditLog, export: Option<&LogExport>) -> bool {
    let recorded = audit.flush(FLUSH);
    if let Some(export) = export {
        export.stop(EXPORT);
    }
    recorded
}

/// Longest wait for the store and for the audit log at the end.
const FLUSH: Duration = Duration::from_secs(5);
/// Longest wait for the collector at the end: what it does not get is in the audit log.
const EXPORT: Duration = Duration::from_secs(2);
