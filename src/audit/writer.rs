//! Writes records to a file, in order, on a thread of its own.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::record::Record;

/// Where requests leave their records. Cheap to clone; the log ends when the last one is dropped.
#[derive(Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<Entry>,
    /// The last write failed.
    failed: Arc<AtomicBool>,
}

/// A `begin` line on its way to the disk. The request may not leave before it is there.
#[must_use = "the request may not leave before this is on record"]
pub struct Ticket(oneshot::Receiver<()>);

/// That a request is on record: there is no other way to make one than [`Ticket::on_record`].
#[derive(Debug)]
pub struct OnRecord(());

/// A request could not be recorded, and so may not go upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unrecorded;

impl Ticket {
    /// Waits until the line is on record.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn on_record(self) -> Result<OnRecord, Unrecorded> {
        self.0.await.map(OnRecord).map_err(|_| Unrecorded)
    }
}

enum Entry {
    Record(Box<Record>),
    Begin(Box<Record>, oneshot::Sender<()>),
    /// Answered once all that came before is in the file.
    Flush(std_mpsc::Sender<()>),
}

/// Takes every written group of whole lines. It is called on the writer's thread, and must not block.
pub type Tap = Box<dyn FnMut(&[u8]) + Send>;

/// The file's name.
const FILE: &str = "audit.jsonl";
/// Records that may wait for the disk. A request waits with its record when there are more.
const QUEUE: usize = 4096;

impl AuditLog {
    /// Opens `audit.jsonl` in `directory` for appending and starts the writer, which offers what it has written to `tap`.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not started.
    pub fn open(directory: &Path, tap: Option<Tap>) -> std::io::Result<Self> {
        let path = directory.join(FILE);
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let (queue, entries) = mpsc::channel(QUEUE);
        let failed = Arc::<AtomicBool>::default();
        let log = Self { queue, failed: Arc::clone(&failed) };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write_all(file, &path, entries, &failed, tap))?;
        Ok(log)
    }

    /// Whether [`AuditLog::open`] could append to the file that is there, if one is. Nothing is made or written.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn try_open(directory: &Path) -> std::io::Result<()> {
        match OpenOptions::new().append(true).open(directory.join(FILE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Hands over a `begin` line, waiting for room in the queue.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn begin(&self, record: Record) -> Result<Ticket, Unrecorded> {
        let (done, ticket) = oneshot::channel();
        match self.queue.send(Entry::Begin(Box::new(record), done)).await {
            Ok(()) => Ok(Ticket(ticket)),
            Err(_) => Err(Unrecorded),
        }
    }

    /// Hands over a record, waiting for room in the queue.
    pub async fn write(&self, record: Record) {
        if self.queue.send(Entry::Record(Box::new(record))).await.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
    }

    /// Blocks until all that was handed over is in the file, `within` at most; whether it is. Not for async code.
    pub fn flush(&self, within: Duration) -> bool {
        let (done, wait) = std_mpsc::channel();
        self.queue.try_send(Entry::Flush(done)).is_ok() && wait.recv_timeout(within).is_ok()
    }

    /// Whether the last write succeeded. While it has not, nothing may be let through: it would go unrecorded.
    pub fn is_writable(&self) -> bool {
        !self.failed.load(Ordering::Relaxed)
    }
}

fn write_all(
    mut file: File,
    path: &Path,
    mut entries: mpsc::Receiver<Entry>,
    failed: &AtomicBool,
    mut tap: Option<Tap>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut lines = Vec::new();
    while entries.blocking_recv_many(&mut batch, BATCH) > 0 {
        for entry in &batch {
            if let Entry::Record(record) | Entry::Begin(record, _) = entry {
                append_line(record, &mut lines);
            }
        }
        write_lines(&mut file, &lines, |error| {
            if !failed.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, path = %path.display(), "cannot write the audit log: requests are refused until it can be written");
            }
            std::thread::sleep(RETRY);
        });
        if failed.swap(false, Ordering::Relaxed) {
            tracing::info!("the audit log is written again");
        }
        if let Some(tap) = &mut tap {
            tap(&lines);
        }
        lines.clear();
        for entry in batch.drain(..) {
            // Who asked may have given up.
            match entry {
                Entry::Flush(done) => drop(done.send(())),
                Entry::Begin(_, done) => drop(done.send(())),
                Entry::Record(_) => {}
            }
        }
    }
}

/// Entries that are written with one call.
const BATCH: usize = 256;
/// How long a failed write is left alone.
const RETRY: Duration = Duration::from_millis(500);

/// What every line begins with; the chain is still to come.
const HEAD: &[u8] = br#"{"seq":1,"prev":"0000000000000000000000000000000000000000000000000000000000000000""#;

fn append_line(record: &Record, lines: &mut Vec<u8>) {
    let start = lines.len();
    lines.extend_from_slice(HEAD);
    let members = lines.len();
    let written = serde_json::to_writer(&mut *lines, record);
    if let Some(brace) = lines.get_mut(members) {
        *brace = b',';
    }
    if let Err(error) = written {
        // Only a time beyond the year 9999 could be the cause; half a record must not stand before the next one.
        tracing::error!(%error, request_id = record.request_id, "a record cannot be written");
        lines.truncate(start);
    } else {
        lines.push(b'\n');
    }
}

/// Writes all of `lines`, going on after a failure where it happened: no record twice, and none in halves.
fn write_lines(file: &mut impl Write, mut lines: &[u8], mut on_failure: impl FnMut(std::io::Error)) {
    while !lines.is_empty() {
        match file.write(lines) {
            Ok(0) => on_failure(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => lines = lines.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => on_failure(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes a call and fails at every second one.
    #[derive(Default)]
    struct Flaky {
        calls: usize,
        taken: Vec<u8>,
    }

    impl Write for Flaky {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.calls += 1;
            match self.calls % 4 {
                1 => Err(std::io::ErrorKind::StorageFull.into()),
                2 => Err(std::io::ErrorKind::Interrupted.into()),
                3 => Ok(0),
                _ => {
                    let length = bytes.len().min(3);
                    self.taken.extend_from_slice(&bytes[..length]);
                    Ok(length)
                }
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_failed_write_goes_on_where_it_stopped() {
        let mut file = Flaky::default();
        let mut failures = 0;
        write_lines(&mut file, b"one\ntwo\nthree\n", |_| failures += 1);
        assert_eq!(file.taken, b"one\ntwo\nthree\n");
        assert_eq!(failures, 10, "two for each of five pieces");
    }
}
