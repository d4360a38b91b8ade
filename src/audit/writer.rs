//! Writes records to a file, in order, on a thread of its own.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use super::record::Record;

/// Where requests leave their records. Cheap to clone; the log ends when the last one is dropped.
#[derive(Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<Entry>,
    state: Arc<State>,
}

enum Entry {
    Record(Box<Record>),
    /// Answered once all that came before is in the file.
    Flush(std_mpsc::Sender<()>),
}

#[derive(Default)]
struct State {
    failed: AtomicBool,
    written: AtomicU64,
}

/// The thread that writes.
pub struct AuditWriter(JoinHandle<()>);

/// Records that may wait for the disk. A request waits with its record when there are more.
const QUEUE: usize = 4096;

impl AuditLog {
    /// Opens `audit.jsonl` in `directory` for appending and starts the writer.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not started.
    pub fn open(directory: &Path) -> std::io::Result<(Self, AuditWriter)> {
        let path = directory.join("audit.jsonl");
        let file = open(&path)?;
        let (queue, records) = mpsc::channel(QUEUE);
        let state = Arc::<State>::default();
        let log = Self { queue, state: Arc::clone(&state) };
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write_all(file, &path, records, &state))?;
        Ok((log, AuditWriter(thread)))
    }

    /// Hands over a record, waiting for room in the queue.
    pub async fn write(&self, record: Record) {
        if self.queue.send(Entry::Record(Box::new(record))).await.is_err() {
            self.state.failed.store(true, Ordering::Relaxed);
        }
    }

    /// Blocks until all that was handed over is in the file, `within` at most; whether it is. Not for async code.
    pub fn flush(&self, within: Duration) -> bool {
        let (done, wait) = std_mpsc::channel();
        self.queue.try_send(Entry::Flush(done)).is_ok() && wait.recv_timeout(within).is_ok()
    }

    /// Whether the last write succeeded. While it has not, nothing may be let through: it would go unrecorded.
    pub fn is_writable(&self) -> bool {
        !self.state.failed.load(Ordering::Relaxed)
    }

    /// Records written since the start.
    pub fn written(&self) -> u64 {
        self.state.written.load(Ordering::Relaxed)
    }
}

impl AuditWriter {
    /// Waits until every record that was handed over is in the file. Every [`AuditLog`] must be dropped before.
    pub fn finish(self) {
        if self.0.join().is_err() {
            tracing::error!("the audit writer ended by a panic");
        }
    }
}

fn open(path: &Path) -> std::io::Result<BufWriter<File>> {
    Ok(BufWriter::new(OpenOptions::new().create(true).append(true).open(path)?))
}

fn write_all(mut file: BufWriter<File>, path: &Path, mut entries: mpsc::Receiver<Entry>, state: &State) {
    let mut batch = Vec::with_capacity(BATCH);
    while entries.blocking_recv_many(&mut batch, BATCH) > 0 {
        while let Err(error) = write_batch(&mut file, &batch) {
            if !state.failed.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, path = %path.display(), "cannot write the audit log: requests are refused until it can be written");
            }
            std::thread::sleep(RETRY);
            // A new handle, without what the old one had buffered: all of that is in `batch` still.
            match open(path) {
                Ok(reopened) => drop(std::mem::replace(&mut file, reopened).into_parts()),
                Err(error) => tracing::error!(%error, path = %path.display(), "cannot open the audit log"),
            }
        }
        if state.failed.swap(false, Ordering::Relaxed) {
            tracing::info!("the audit log is written again");
        }
        for entry in batch.drain(..) {
            match entry {
                Entry::Record(_) => _ = state.written.fetch_add(1, Ordering::Relaxed),
                Entry::Flush(done) => _ = done.send(()), // who asked may have given up
            }
        }
    }
}

/// Entries that are written with one call.
const BATCH: usize = 256;
/// How long a failed write is left alone.
const RETRY: Duration = Duration::from_millis(500);

fn write_batch(file: &mut BufWriter<File>, batch: &[Entry]) -> std::io::Result<()> {
    for entry in batch {
        if let Entry::Record(record) = entry {
            serde_json::to_writer(&mut *file, record)?;
            file.write_all(b"\n")?;
        }
    }
    file.flush()
}
