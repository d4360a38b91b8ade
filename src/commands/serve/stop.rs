//! The end of the process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};

use super::evidence::{self, Evidence};
use super::heritage::Heritage;
use super::service_manager;
use super::watch::Watch;
use crate::gateway::PARTING;
use crate::limit::{InFlight, Limits};
use crate::upstream::ConnectTimeouts;

/// Ends the process: after the requests under way on SIGTERM and SIGQUIT, at once on SIGINT, also when that comes later.
/// Either way requests that are cut leave their records.
///
/// On SIGUSR2 the process is succeeded by a new one, and ends as on SIGTERM once that one serves. If it does not come to that,
/// everything goes on as before.
pub(super) struct Stop {
    pub(super) heritage: Heritage,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) limits: Arc<Limits>,
    pub(super) evidence: Arc<Evidence>,
    pub(super) watch: Arc<Watch>,
    pub(super) drain: Duration,
    /// How long a connection to the upstream may take.
    pub(super) connect: ConnectTimeouts,
}

/// Time for connections that were accepted at the last moment to become requests, and for last words over HTTP/2, which a
/// connection writes by itself, to be written.
const SETTLE: Duration = Duration::from_millis(100);
/// Longest wait for the records of requests that are cut.
const CUT: Duration = Duration::from_secs(2);
/// What is left to do for a request when the bound on its connection is over.
const SLACK: Duration = Duration::from_millis(500);

#[async_trait]
impl ShutdownSignalWatch for Stop {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut terminate), Ok(mut quit), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::quit()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("signals cannot be received");
            return ShutdownSignal::FastShutdown;
        };
        let upgrade = self.heritage.handed_over(&self.limits, &self.watch);
        let drain = tokio::select! {
            () = upgrade => self.drain,
            _ = terminate.recv() => end(self.drain),
            _ = quit.recv() => end(self.drain),
            _ = interrupt.recv() => end(Duration::ZERO),
        };
        let succeeded = self.heritage.close().await;
        let (in_flight, limits, evidence) =
            (Arc::clone(&self.in_flight), Arc::clone(&self.limits), Arc::clone(&self.evidence));
        let watch = Arc::clone(&self.watch);
        let cutting = cutting(self.connect);
        tracing::info!(requests = in_flight.count(), "draining");
        let hurried = Arc::clone(&self.in_flight);
        tokio::spawn(async move {
            interrupt.recv().await;
            tracing::info!(requests_cut = hurried.count(), "interrupted");
            hurried.cut();
        });
        std::thread::spawn(move || {
            std::thread::sleep(if succeeded { PARTING.min(drain) } else { SETTLE });
            let late = in_flight.wait_for_none(drain);
            let any_cut = late > 0 || in_flight.is_cut();
            in_flight.cut();
            let unrecorded = in_flight.wait_for_none(cutting);
            if unrecorded > 0 {
                tracing::error!(requests = unrecorded, "requests did not end in time, and their ends are not recorded");
            }
            let counted = keep_counts(&limits);
            watch.keep();
            let recorded = evidence.close();
            tracing::info!(requests_cut = late, counted, recorded, "stopped");
            if any_cut {
                std::thread::sleep(SETTLE);
            }
            std::process::exit(i32::from(!recorded));
        });
        ShutdownSignal::GracefulTerminate
    }
}

/// Says that the service ends, and within which time.
fn end(drain: Duration) -> Duration {
    service_manager::stopping();
    drain
}

/// Brings the counts of limits to where they outlive the process; whether all of them are there. Not for async code.
pub(super) fn keep_counts(limits: &Limits) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.is_ok_and(|runtime| runtime.block_on(limits.flush(FLUSH)))
}

/// Longest wait for the records of requests that are cut: Pingora connects without looking up, and a call whose connection
/// hangs ends by the bound on that.
fn cutting(connect: ConnectTimeouts) -> Duration {
    CUT.max(connect.tcp.saturating_add(connect.tls).saturating_add(SLACK))
}

/// Longest that a stop takes with this `[listen] drain`: the calls that are cut, the counts, the log, the collector and the
/// store of segments are waited for after it.
pub(in crate::commands) fn longest(drain: Duration, connect: ConnectTimeouts) -> Duration {
    let after = [SETTLE, cutting(connect), FLUSH, evidence::LONGEST, SETTLE];
    after.into_iter().fold(drain, Duration::saturating_add)
}

/// Longest wait for the store of counts.
const FLUSH: Duration = Duration::from_secs(5);
