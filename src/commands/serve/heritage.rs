//! A new process takes over from this one, and this one from the one before it.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

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
    stage: Arc<watch::Sender<Stage>>,
}

/// How far a hand-over has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is none, or it can still be called off.
    Open,
    /// The successor has the counts: it serves in a moment, or it fails.
    Committed,
    /// It serves.
    Done,
    /// This process ends, and hands over no more.
    Closed,
}

/// What is handed over, and to be taken back if it comes to nothing.
#[derive(Clone)]
struct Estate {
    limits: Arc<Limits>,
    watch: Arc<Watch>,
    stage: Arc<watch::Sender<Stage>>,
}

impl Heritage {
    /// Of a process that `successor` can succeed, or none.
    pub(super) fn new(successor: Option<Successor>, sockets: impl IntoIterator<Item = TcpListener>) -> Self {
        Self {
            successor,
            sockets: Mutex::new(sockets.into_iter().collect()),
            succeeded: Arc::default(),
            stage: Arc::new(watch::Sender::new(Stage::Open)),
        }
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

    /// Returns when another process serves in the place of this one, which SIGUSR2 asks for. May be dropped at any time;
    /// [`Heritage::close`] then says what has come of it.
    pub(super) async fn handed_over(&self, limits: &Arc<Limits>, watch: &Arc<Watch>) {
        let (Some(successor), Ok(mut upgrade)) = (&self.successor, signal(SignalKind::user_defined2())) else {
            return std::future::pending().await;
        };
        while upgrade.recv().await.is_some() {
            tracing::info!(program = %successor.program().display(), "SIGUSR2: another process is started to take over");
            let estate =
                Estate { limits: Arc::clone(limits), watch: Arc::clone(watch), stage: Arc::clone(&self.stage) };
            let (successor, sockets) = (successor.clone(), self.sockets());
            let done = tokio::task::spawn_blocking(move || estate.hand_over(&successor, &sockets)).await;
            if done.is_err() {
                tracing::error!("handing over failed within the proxy");
            }
            if self.is_done() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Hands over no more. What is about to be done is waited for; whether another process serves.
    pub(super) async fn close(&self) -> bool {
        let mut stage = self.stage.subscribe();
        while !advance(&self.stage, Stage::Open, Stage::Closed) && *stage.borrow_and_update() == Stage::Committed {
            let _ = stage.changed().await; // the sender is here
        }
        let is_done = self.is_done();
        self.succeeded.store(is_done, Ordering::Relaxed);
        // Else connections would wait for nobody; where another process has the sockets they listen on.
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = Arc::from([]);
        is_done
    }

    fn is_done(&self) -> bool {
        *self.stage.borrow() == Stage::Done
    }

    fn sockets(&self) -> Arc<[TcpListener]> {
        Arc::clone(&self.sockets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Estate {
    /// Starts a successor and hands over to it, or goes on as before. Blocks.
    fn hand_over(&self, successor: &Successor, sockets: &[TcpListener]) {
        self.watch.keep(); // the new process reads it
        match successor.hand_over(sockets, || self.commit()) {
            Ok(successor) => {
                service_manager::succeeded_by(successor.pid);
                tracing::info!(pid = successor.pid, "another process has taken over");
                self.stage.send_replace(Stage::Done);
            }
            Err(problem) => {
                self.limits.take_back();
                self.watch.wake();
                advance(&self.stage, Stage::Committed, Stage::Open);
                tracing::error!(problem, "no other process has taken over; this one goes on");
            }
        }
    }

    /// The counts; `None` when this process ends.
    fn commit(&self) -> Option<Vec<u8>> {
        advance(&self.stage, Stage::Open, Stage::Committed).then(|| {
            self.watch.rest();
            self.limits.hand_over()
        })
    }
}

/// Goes from one stage to another; whether it was at that one.
fn advance(stage: &watch::Sender<Stage>, from: Stage, to: Stage) -> bool {
    stage.send_if_modified(|stage| {
        let is_there = *stage == from;
        if is_there {
            *stage = to;
        }
        is_there
    })
}

/// Takes over from `predecessor`: its counts and containments, and then, by `open`, its connections. Where it has changed its
/// mind this process ends. Blocks.
pub(super) fn take_over(
    mut predecessor: Predecessor,
    limits: &Limits,
    watch: &Watch,
    evidence: &Evidence,
    open: oneshot::Sender<()>,
) {
    let counts = predecessor.prepared().unwrap_or_else(|error| {
        tracing::error!(%error, "the process that was to be succeeded goes on by itself");
        evidence.close();
        std::process::exit(1)
    });
    if let Err(problem) = limits.take_over(&counts) {
        tracing::error!(problem, "the counts of limits are not understood; those of the state file are in force");
    }
    if let Err(problem) = watch.go_on() {
        tracing::error!(problem, "the containments cannot be read again; those of the start are in force");
    }
    if open.send(()).is_err() || predecessor.serving().is_err() {
        tracing::warn!("the process that was to be succeeded has gone before its time");
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_stop_waits_for_what_is_about_to_be_done_and_lets_nothing_begin() {
        for (outcome, succeeded) in [(Stage::Done, true), (Stage::Open, false)] {
            let heritage = Heritage::new(None, []);
            assert!(advance(&heritage.stage, Stage::Open, Stage::Committed));
            let mut close = Box::pin(heritage.close());
            assert_eq!(close.as_mut().now_or_never(), None, "the successor has the counts");
            assert!(advance(&heritage.stage, Stage::Committed, outcome));
            assert_eq!(close.await, succeeded);
            assert_eq!(heritage.succeeded().load(Ordering::Relaxed), succeeded);
            assert!(!advance(&heritage.stage, Stage::Open, Stage::Committed), "too late for another");
        }
        let heritage = Heritage::new(None, []);
        assert!(!heritage.close().await);
        assert!(!advance(&heritage.stage, Stage::Open, Stage::Committed), "what was being started is called off");
    }
}
