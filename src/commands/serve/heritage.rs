//! A new process takes over from this one, and this one from the one before it.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::evidence::Evidence;
use super::service_manager;
use super::watch::Watch;
use crate::handover::{Predecessor, Successor};
use crate::limit::Limits;

/// The command line's flag of a process that takes over.
const FLAG: &str = "--successor";

/// What a successor gets, and how it is started.
pub(super) struct Heritage {
    successor: Option<Successor>,
    sockets: Mutex<Arc<[TcpListener]>>,
    succeeded: Arc<AtomicBool>,
}

impl Heritage {
    /// Of a process that `successor` can succeed, or none.
    pub(super) fn new(successor: Option<Successor>, sockets: impl IntoIterator<Item = TcpListener>) -> Self {
        Self { successor, sockets: Mutex::new(sockets.into_iter().collect()), succeeded: Arc::default() }
    }

    /// Whether another process has taken over.
    pub(super) fn succeeded(&self) -> &Arc<AtomicBool> {
        &self.succeeded
    }

    /// How this process would be succeeded; `None`, and a warning, when that is not known.
    pub(super) fn successor() -> Option<Successor> {
        // SIGUSR2 would end the process until it is followed.
        crate::telemetry::expect_signal(SignalKind::user_defined2(), "SIGUSR2");
        let successor = Successor::of_this_process(FLAG);
        successor.inspect_err(|error| tracing::warn!(%error, "no other binary can take over from this process")).ok()
    }

    /// Returns when another process serves in the place of this one, which SIGUSR2 asks for. May be dropped at any time: a
    /// process that is being started then finds nobody to take over from, and ends.
    pub(super) async fn handed_over(&self, limits: &Arc<Limits>, watch: &Arc<Watch>) {
        let (Some(successor), Ok(mut upgrade)) = (&self.successor, signal(SignalKind::user_defined2())) else {
            return std::future::pending().await;
        };
        while upgrade.recv().await.is_some() {
            tracing::info!(program = %successor.program().display(), "SIGUSR2: another process is started to take over");
            let (successor, sockets, counts) = (successor.clone(), self.sockets(), Arc::clone(limits));
            let kept = Arc::clone(watch);
            let handed_over = tokio::task::spawn_blocking(move || {
                kept.keep(); // the new process reads it
                successor.hand_over(&sockets, || counts.hand_over())
            })
            .await;
            match handed_over.unwrap_or_else(|_| Err("handing over failed within the proxy".to_owned())) {
                Ok(successor) => {
                    watch.hand_over();
                    self.succeeded.store(true, Ordering::Relaxed);
                    service_manager::succeeded_by(successor.pid);
                    tracing::info!(pid = successor.pid, "another process has taken over");
                    return;
                }
                Err(problem) => {
                    limits.take_back();
                    tracing::error!(problem, "no other process has taken over; this one goes on");
                }
            }
        }
        std::future::pending::<()>().await;
    }

    /// Closes the sockets of this process. Where another one has them they listen on.
    pub(super) fn give_up(&self) {
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = Arc::from([]);
    }

    fn sockets(&self) -> Arc<[TcpListener]> {
        Arc::clone(&self.sockets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes over from `predecessor`: its counts, and then, by `open`, its connections. Where it has changed its mind this process
/// ends. Blocks.
pub(super) fn take_over(mut predecessor: Predecessor, limits: &Limits, evidence: &Evidence, open: oneshot::Sender<()>) {
    let counts = predecessor.prepared().unwrap_or_else(|error| {
        tracing::error!(%error, "the process that was to be succeeded goes on by itself");
        evidence.close();
        std::process::exit(1)
    });
    if let Err(problem) = limits.take_over(&counts) {
        tracing::error!(problem, "the counts of limits are not understood; those of the state file are in force");
    }
    if open.send(()).is_err() || predecessor.serving().is_err() {
        tracing::warn!("the process that was to be succeeded has gone before its time");
    }
}
