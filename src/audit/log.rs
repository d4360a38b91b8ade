//! What requests see of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::chain::rfc3339;
use super::lifecycle::{Configured, Containment};
use super::options::{Change, Durability, LogRules, OnAuditFailure, Options, Tap};
use super::outage::Outages;
use super::record::Record;
use super::room::{self, Room};
use super::segment::MAX_LINE;
use super::{recovery, writer};
use crate::telemetry::AuditMetrics;

/// Where requests leave their records. Cheap to clone; the log ends when the last one is dropped.
#[derive(Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<Entry>,
    pub(super) shared: Arc<Shared>,
    durability: Durability,
    on_failure: OnAuditFailure,
}

/// A `begin` line on its way to the disk. The request may not leave before it is there.
#[must_use = "the request may not leave before this is on record"]
pub struct Ticket(Wait);

enum Wait {
    /// There is nothing to wait for.
    Over,
    /// The writer tells when the line is on disk.
    Written { done: oneshot::Receiver<()>, on_failure: OnAuditFailure, until: Instant },
}

/// That a request is on record: there is no other way to make one than [`Ticket::on_record`].
#[derive(Debug)]
pub struct OnRecord(());

#[cfg(test)]
impl OnRecord {
    /// For tests of what asks for the proof.
    pub fn for_test() -> Self {
        Self(())
    }
}

/// A request could not be recorded, and so may not go upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrecorded {
    /// No line tells of it: it is as if it had not come.
    Withdrawn,
    /// It took too long; the line may still come to be on record.
    Late,
}

/// What the writer takes: records as JSON objects.
pub(super) enum Entry {
    Record(Vec<u8>),
    /// Told once the line is on disk; dropped when it will not be.
    Begin(Vec<u8>, oneshot::Sender<()>),
    /// Told once all that came before is on disk.
    Flush(std_mpsc::Sender<()>),
    /// A line that tells of another configuration, and what that changes for the writer.
    Change(Vec<u8>, Box<Changed>),
    /// Something is missing that the writer may not know of.
    Missing,
    /// The same as `Flush`, and then the log ends.
    Stop(std_mpsc::Sender<()>),
}

/// What another configuration changes for the writer.
pub(super) struct Changed {
    pub rules: LogRules,
    #[allow(clippy::option_option)] // the same as before, or one or none
    pub tap: Option<Option<Tap>>,
}

/// What requests and the writer know of each other.
pub(super) struct Shared {
    /// The last write failed.
    pub failed: AtomicBool,
    /// Milliseconds from `start` at which the write that is under way began; 0: there is none.
    busy_since: AtomicU64,
    start: Instant,
    pub outages: Outages,
    /// For the records in the queue and with the writer.
    pub room: Room,
    pub metrics: AuditMetrics,
}

/// Records that may wait for the disk. A request waits with its record when there are more.
const QUEUE: usize = 4096;
/// Longest wait of a request for its record: a disk that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

impl Ticket {
    /// Waits until the line is on record, 5 seconds at most.
    ///
    /// # Errors
    /// When it is not, and requests must not go on without.
    pub async fn on_record(self) -> Result<OnRecord, Unrecorded> {
        match self.0 {
            Wait::Over => Ok(OnRecord(())),
            Wait::Written { done, on_failure, until } => {
                let written = timeout_at(until, done).await;
                if on_failure == OnAuditFailure::Continue {
                    return Ok(OnRecord(()));
                }
                match written {
                    Ok(Ok(())) => Ok(OnRecord(())),
                    Ok(Err(_)) => Err(Unrecorded::Withdrawn),
                    Err(_) => Err(Unrecorded::Late),
                }
            }
        }
    }
}

impl AuditLog {
    /// Finds the end of the chain in the folder, says so in a `started` line, and starts the writer. Blocks.
    ///
    /// # Errors
    /// When the folder's segments cannot be read and written, or the thread not started.
    pub fn open(options: Options, metrics: AuditMetrics) -> std::io::Result<Self> {
        let (log, entries) = Self::new(options.rules.durability, options.rules.on_failure, metrics);
        writer::start(options, entries, Arc::clone(&log.shared))?;
        Ok(log)
    }

    /// One whose writer is still to be started, and what that takes from.
    pub(super) fn new(
        durability: Durability,
        on_failure: OnAuditFailure,
        metrics: AuditMetrics,
    ) -> (Self, mpsc::Receiver<Entry>) {
        let (queue, entries) = mpsc::channel(QUEUE);
        let shared = Shared {
            failed: AtomicBool::new(false),
            busy_since: AtomicU64::new(0),
            start: Instant::now(),
            outages: Outages::default(),
            room: Room::default(),
            metrics,
        };
        (Self { queue, shared: Arc::new(shared), durability, on_failure }, entries)
    }

    /// Hands another configuration over, with a line that tells of it. [`AuditLog::seen_by`] is for the requests of it.
    ///
    /// # Errors
    /// When the log cannot be written, or has no room within 5 seconds: nothing is changed then.
    pub async fn change(&self, change: Change) -> Result<(), Unrecorded> {
        let Change { rules, configuration, changed, tap } = change;
        if !self.is_writable() {
            return Err(Unrecorded::Withdrawn);
        }
        let time = rfc3339(SystemTime::now());
        let line = Configured::at(&time, configuration, &changed);
        let line = serde_json::to_vec(&line).map_err(|_| Unrecorded::Withdrawn)?;
        let entry = Entry::Change(line, Box::new(Changed { rules, tap }));
        match timeout_at(Instant::now() + PATIENCE, self.queue.send(entry)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Unrecorded::Withdrawn),
        }
    }

    /// The same log for requests that these rules are for.
    #[must_use]
    pub fn seen_by(&self, rules: LogRules) -> Self {
        Self { durability: rules.durability, on_failure: rules.on_failure, ..self.clone() }
    }

    /// One that takes what is handed over and keeps nothing.
    #[cfg(test)]
    pub(crate) fn for_tests(metrics: AuditMetrics) -> Self {
        let (log, mut entries) = Self::new(Durability::Relaxed, OnAuditFailure::Refuse, metrics);
        std::thread::spawn(move || while entries.blocking_recv().is_some() {});
        log
    }

    /// Whether [`AuditLog::open`] could go on in `directory`. Nothing is made or written.
    ///
    /// # Errors
    /// When its segments cannot be read and written.
    pub fn try_open(directory: &std::path::Path) -> std::io::Result<()> {
        recovery::try_recover(directory)
    }

    /// Hands over a `begin` line, waiting for room in the queue.
    ///
    /// # Errors
    /// When the log cannot be written, and requests must not go on without.
    pub async fn begin(&self, record: &Record) -> Result<Ticket, Unrecorded> {
        let until = Instant::now() + PATIENCE;
        if !self.is_writable() {
            return match self.on_failure {
                OnAuditFailure::Refuse => Err(Unrecorded::Withdrawn),
                OnAuditFailure::Continue => {
                    self.keep_or_lose(record);
                    Ok(Ticket(Wait::Over))
                }
            };
        }
        let Some(json) = serialise(record) else { return self.without_record() };
        let units = room::units(&json);
        let (done, wait) = oneshot::channel();
        let (entry, ticket) = match self.durability {
            Durability::Relaxed => (Entry::Record(json), Wait::Over),
            Durability::Durable => {
                let ticket = Wait::Written { done: wait, on_failure: self.on_failure, until };
                (Entry::Begin(json, done), ticket)
            }
        };
        match timeout_at(until, self.hand_over(units, entry)).await {
            Ok(true) => Ok(Ticket(ticket)),
            _ => self.without_record(),
        }
    }

    /// Hands over a record, waiting for room in the queue.
    pub async fn write(&self, record: &Record) {
        if self.on_failure == OnAuditFailure::Continue && !self.is_writable() {
            return self.keep_or_lose(record);
        }
        let Some(json) = serialise(record) else { return self.lose() };
        if !self.hand_over(room::units(&json), Entry::Record(json)).await {
            self.lose();
        }
    }

    /// Hands over an entry that takes this much room, waiting for that and for a place in the queue; `false` when the log
    /// has ended.
    async fn hand_over(&self, units: u32, entry: Entry) -> bool {
        let Some(room) = self.shared.room.take(units).await else { return false };
        let sent = self.queue.send(entry).await.is_ok();
        if sent {
            room.forget(); // it is the writer's now
        }
        sent
    }

    /// Hands over the line of a containment, waiting for room.
    pub async fn write_containment(&self, line: &Containment<'_>) {
        let Ok(json) = serde_json::to_vec(line) else { return self.lose() };
        if !self.hand_over(room::units(&json), Entry::Record(json)).await {
            self.lose(); // the log has ended
        }
    }

    /// Counts a request that was refused because it could not be recorded. The count is told by a `gap` line once the log
    /// can be written again; such a refusal has no line of its own.
    pub fn refused_unrecorded(&self) {
        self.shared.metrics.refused.inc();
        if self.shared.outages.note(|outage| outage.refused += 1) {
            self.wake();
        }
    }

    /// Blocks until all that was handed over is in the log and on disk, `within` at most; whether it is. Not for async code.
    pub fn flush(&self, within: Duration) -> bool {
        self.ask(Entry::Flush, within)
    }

    /// Ends the log: what was handed over, a `stopped` line and a closing checkpoint are on disk when this returns `true`,
    /// after `within` at most. Not for async code.
    pub fn stop(&self, within: Duration) -> bool {
        self.ask(Entry::Stop, within)
    }

    /// Hands over a question, once there is room for it, and waits for its answer.
    fn ask(&self, question: impl Fn(std_mpsc::Sender<()>) -> Entry, within: Duration) -> bool {
        let until = Instant::now() + within;
        let (done, wait) = std_mpsc::channel();
        let mut entry = question(done);
        while let Err(failed) = self.queue.try_send(entry) {
            match failed {
                mpsc::error::TrySendError::Full(back) if Instant::now() < until => entry = back,
                _ => return false,
            }
            std::thread::sleep(Duration::from_millis(5)); // the queue has no waiting with a bound outside of a runtime
        }
        wait.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok()
    }

    /// Whether the last write succeeded and none hangs. While it is not so, nothing may be let through: it would go
    /// unrecorded.
    pub fn is_writable(&self) -> bool {
        !self.shared.failed.load(Ordering::Relaxed) && !self.shared.hangs()
    }

    /// Whether a request may go on: the log can be written, or the configuration does not ask that it can.
    pub fn admits(&self) -> bool {
        self.on_failure == OnAuditFailure::Continue || self.is_writable()
    }

    /// Records that wait for the writer.
    pub fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    fn without_record(&self) -> Result<Ticket, Unrecorded> {
        match self.on_failure {
            OnAuditFailure::Refuse => Err(Unrecorded::Withdrawn),
            OnAuditFailure::Continue => {
                self.lose();
                Ok(Ticket(Wait::Over))
            }
        }
    }

    /// Leaves a record for later if there is room.
    fn keep_or_lose(&self, record: &Record) {
        let keep = |json: Vec<u8>| {
            let room = self.shared.room.try_take(room::units(&json))?;
            self.queue.try_send(Entry::Record(json)).ok()?;
            room.forget();
            Some(())
        };
        if serialise(record).and_then(keep).is_none() {
            self.lose();
        }
    }

    /// Counts a record that is lost.
    fn lose(&self) {
        self.shared.metrics.lost.inc();
        if self.shared.outages.note(|outage| outage.lost += 1) {
            self.wake();
        }
    }

    /// A writer that has nothing to do does not see that something is missing.
    fn wake(&self) {
        let _ = self.queue.try_send(Entry::Missing); // a queue that is full wakes it as well
    }
}

impl Shared {
    /// Notes that writing failed, with the lines before that are doubtful now; whether it had not failed before.
    pub(super) fn fail(&self, unsure: u64) -> bool {
        self.outages.note(|outage| (outage.until, outage.unsure) = (None, outage.unsure + unsure));
        self.metrics.write_failures.inc();
        !self.failed.swap(true, Ordering::Relaxed)
    }

    pub(super) fn set_busy(&self, busy: bool) {
        let since = if busy { self.now_ms() } else { 0 };
        self.busy_since.store(since, Ordering::Relaxed);
    }

    fn hangs(&self) -> bool {
        let since = self.busy_since.load(Ordering::Relaxed);
        since > 0 && u128::from(self.now_ms().saturating_sub(since)) > PATIENCE.as_millis()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// Longest record, so that its line is below what readers take for one.
const MAX_RECORD: usize = MAX_LINE - 256;
/// Room that most records fit.
const USUAL_RECORD: usize = 2048;

fn serialise(record: &Record) -> Option<Vec<u8>> {
    let mut json = Vec::with_capacity(USUAL_RECORD);
    // Only a time beyond the year 9999 could be the cause.
    match record.append_to(&mut json) {
        Ok(()) if json.len() <= MAX_RECORD => Some(json),
        Ok(()) => {
            let bytes = json.len();
            tracing::error!(bytes, request_id = record.request_id, "a record is longer than its readers take");
            None
        }
        Err(error) => {
            tracing::error!(%error, request_id = record.request_id, "a record cannot be written");
            None
        }
    }
}
