//! A thread that gathers what waits into batches and has them sent, until it is told to stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep_until, timeout_at};

use super::queue::{Group, Groups};
use crate::telemetry::OtlpMetrics;

/// Most records or spans of a batch.
pub(super) const BATCH: usize = 512;
/// How long the first of a batch waits for others.
const LINGER: Duration = Duration::from_millis(500);

/// When to end; `None`: not yet.
pub(super) type Stopping = watch::Receiver<Option<Instant>>;

/// What makes batches of what waits.
pub(super) trait Signal: Send + 'static {
    /// What is handed over at once.
    type Content: Send + 'static;

    /// Sends all of it. It holds its room in the queue until then.
    fn send(&mut self, groups: &[Group<Self::Content>], line: &mut Line) -> impl Future<Output = ()> + Send;
}

/// A thread of its own that runs an export.
pub(super) struct Running {
    stop: watch::Sender<Option<Instant>>,
    ended: Mutex<std_mpsc::Receiver<()>>,
}

impl Running {
    /// The end that says when to stop, for a client that is made before the thread.
    pub(super) fn stop_signal() -> (watch::Sender<Option<Instant>>, Stopping) {
        watch::channel(None)
    }

    /// Starts the thread `name`, which sends what comes out of `groups`.
    pub(super) fn start<S: Signal>(
        name: &str,
        mut signal: S,
        mut line: Line,
        mut groups: Groups<S::Content>,
        stop: watch::Sender<Option<Instant>>,
    ) -> Result<Self, String> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let (end, ended) = std_mpsc::channel();
        let run = move || {
            runtime.block_on(async move {
                while let Some(first) = next(&mut line.stop, &mut groups).await {
                    let gathered = gather(&mut line.stop, first, &mut groups).await;
                    signal.send(&gathered, &mut line).await;
                    let deadline = *line.stop.borrow();
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        break;
                    }
                }
                groups.close();
            });
            // A lookup of a name may still hang; it ends with the process.
            runtime.shutdown_background();
            drop(end);
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|error| error.to_string())?;
        Ok(Self { stop, ended: Mutex::new(ended) })
    }

    /// Has it send what waits, `within` at most; what is left then is dropped and counted.
    pub(super) fn ask_to_stop(&self, within: Duration) {
        self.stop.send_modify(|deadline| *deadline = deadline.or(Some(Instant::now() + within)));
    }

    /// Waits for the end that was asked for. Blocks: not for async code.
    pub(super) fn wait(&self) {
        let Some(deadline) = *self.stop.borrow() else { return };
        // The thread ends by dropping its end; a grace for the last counts.
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(200);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(left);
    }
}

/// What the log tells when trouble begins and when it is over.
#[derive(Clone, Copy)]
pub(super) struct Words {
    pub(super) trouble: &'static str,
    pub(super) over: &'static str,
}

/// What becomes of batches: counted, and trouble told once.
pub(super) struct Line {
    pub(super) words: Words,
    pub(super) metrics: OtlpMetrics,
    /// What the client read of the collector's answer.
    pub(super) rejected: Arc<AtomicU64>,
    pub(super) stop: Stopping,
    pub(super) is_failing: bool,
}

impl Line {
    /// Waits for a batch of `count` to be sent, while there is time.
    pub(super) async fn sent<E: std::fmt::Display>(
        &mut self,
        count: usize,
        sending: impl Future<Output = Result<(), E>>,
    ) {
        let count = count as u64;
        self.rejected.store(0, Ordering::Relaxed);
        let sent = tokio::select! {
            sent = sending => sent.map_err(|error| error.to_string()),
            () = deadline(self.stop.clone()) => Err("no time was left at the stop".to_owned()),
        };
        let rejected = self.rejected.load(Ordering::Relaxed).min(count);
        match sent {
            Ok(()) => {
                self.metrics.sent.inc_by(count - rejected);
                self.metrics.failed.inc_by(rejected);
                self.told((rejected > 0).then_some("it took batches in part"));
            }
            Err(error) => {
                self.metrics.failed.inc_by(count);
                self.told(Some(&error));
            }
        }
    }

    /// Tells when trouble begins and when it is over.
    fn told(&mut self, trouble: Option<&str>) {
        let Words { trouble: begun, over } = self.words;
        match (trouble, self.is_failing) {
            (Some(error), false) => tracing::warn!(error, "{begun}"),
            (None, true) => tracing::info!("{over}"),
            (Some(_), true) | (None, false) => {}
        }
        self.is_failing = trouble.is_some();
    }
}

/// The first group of a batch; `None` at the end.
async fn next<T>(stop: &mut Stopping, groups: &mut Groups<T>) -> Option<Group<T>> {
    if stop.borrow_and_update().is_none() {
        tokio::select! {
            group = groups.next() => return group,
            _ = stop.changed() => {}
        }
    }
    groups.next_now()
}

/// Enough for a batch, or what comes within [`LINGER`].
async fn gather<T>(stop: &mut Stopping, first: Group<T>, groups: &mut Groups<T>) -> Vec<Group<T>> {
    let until = tokio::time::Instant::now() + LINGER;
    let mut count = first.len();
    let mut gathered = vec![first];
    while count < BATCH {
        let is_stopping = stop.borrow_and_update().is_some();
        let next = tokio::select! {
            biased;
            next = timeout_at(until, groups.next()), if !is_stopping => next.ok().flatten(),
            _ = stop.changed(), if !is_stopping => groups.next_now(),
            else => groups.next_now(),
        };
        let Some(next) = next else { break };
        count += next.len();
        gathered.push(next);
    }
    gathered
}

/// Ready when the time after a stop is over.
async fn deadline(mut stop: Stopping) {
    loop {
        let deadline = *stop.borrow_and_update();
        if let Some(deadline) = deadline {
            return sleep_until(deadline.into()).await;
        }
        if stop.changed().await.is_err() {
            // Whoever could stop us is gone: there is no deadline.
            return std::future::pending().await;
        }
    }
}
