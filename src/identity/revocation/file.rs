//! The file of revocations: read at the start, followed from then on.
//!
//! It is looked at four times a second, so that a change counts within one second however it is made: by renaming a new file
//! over it, by writing it anew in place, on a file system that notifies nobody. What cannot be read or understood changes
//! nothing: the last good list stays in force.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::entry::Entry;
use super::{Revocations, Source};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long a file is read again after its metadata changed: a later write within the clock step of the file system (2 s
/// on the coarsest) shows in no metadata.
const SETTLE: Duration = Duration::from_millis(2500);
/// Longest file that is read.
const MAX_FILE: u64 = 64 << 20;

/// A file that has been read and understood.
#[derive(Debug)]
pub struct RevocationFile {
    path: PathBuf,
    entries: Vec<Entry>,
    read: ReadState,
}

/// Why a file gives no list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// It cannot be read, or is gone.
    #[error("cannot read it: {0}")]
    Unreadable(String),
    /// Above the bound.
    #[error("it is above {MAX_FILE} bytes")]
    TooLarge,
    /// Not the JSON that is expected.
    #[error("it is no list of revocations: {0}")]
    Malformed(String),
}

/// What the file was when it was last read.
#[derive(Debug, Clone, Copy)]
struct ReadState {
    stamp: Stamp,
    digest: [u8; 32],
    /// When this stamp was first seen.
    since: Instant,
}

/// What changes when a file does. The change time catches tools that set the modification time back, such as `rsync -t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl RevocationFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The fault, for people.
    pub fn load(path: &Path) -> Result<Self, FileFault> {
        let (content, stamp) = read(path)?;
        let entries = parse(&content)?;
        let read = ReadState { stamp, digest: Sha256::digest(&content).into(), since: Instant::now() };
        Ok(Self { path: path.to_owned(), entries, read })
    }

    /// Puts the entries in force and gives what follows the file from here on.
    pub fn enforce(self, revocations: Arc<Revocations>) -> FileFollower {
        revocations.replace(Source::File, self.entries);
        let status = Arc::new(FileStatus::new());
        FileFollower { path: self.path, revocations, status, read: Some(self.read), fault: None }
    }
}

/// Follows a file and keeps the list as the file says.
#[derive(Debug)]
pub struct FileFollower {
    path: PathBuf,
    revocations: Arc<Revocations>,
    status: Arc<FileStatus>,
    /// The last content that was read, good or not; `None` while there is none to read.
    read: Option<ReadState>,
    fault: Option<Fault>,
}

/// The fault that the last look found.
#[derive(Debug)]
struct Fault {
    fault: FileFault,
    told: bool,
}

/// How following goes, for metrics.
#[derive(Debug)]
pub struct FileStatus {
    started: Instant,
    /// Milliseconds from `started` to the last look that found the file as it is in force.
    good: AtomicU64,
    faulty: AtomicBool,
}

impl FileStatus {
    fn new() -> Self {
        Self { started: Instant::now(), good: AtomicU64::new(0), faulty: AtomicBool::new(false) }
    }

    /// How long ago the list in force was last known to be what the file says; it grows while the file is faulty, and also
    /// when nobody looks any more.
    pub fn age(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.good.load(Ordering::Relaxed)))
    }

    /// Whether the last look found the file missing or wrong, so that an older list is in force.
    pub fn is_faulty(&self) -> bool {
        self.faulty.load(Ordering::Relaxed)
    }

    fn good(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.good.store(elapsed, Ordering::Relaxed);
        self.faulty.store(false, Ordering::Relaxed);
    }
}

impl FileFollower {
    /// How following goes; stays valid while [`FileFollower::run`] has the follower.
    pub fn status(&self) -> Arc<FileStatus> {
        Arc::clone(&self.status)
    }

    /// Follows the file for as long as the future is polled.
    pub async fn run(mut self) {
        let mut beat = tokio::time::interval(INTERVAL);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(follower) => self = follower,
                // It cannot be had back: the age in the status tells from here on. At a stop the look is only called off.
                Err(error) => {
                    if error.is_panic() {
                        tracing::error!(%error, "revocations are followed no longer");
                    }
                    return;
                }
            }
        }
    }

    /// Looks at the file once; reads it only if it may have changed.
    fn look(&mut self) {
        let settled = self.read.filter(|read| read.since.elapsed() > SETTLE);
        if let (Some(read), Ok(metadata)) = (settled, std::fs::metadata(&self.path))
            && Stamp::of(&metadata) == read.stamp
        {
            self.as_before();
            return;
        }
        match read(&self.path) {
            Ok((content, stamp)) => self.take(&content, stamp),
            Err(fault) => {
                self.read = None;
                self.faulty(fault);
            }
        }
    }

    fn take(&mut self, content: &[u8], stamp: Stamp) {
        let digest = Sha256::digest(content).into();
        let before = self.read.replace(ReadState { stamp, digest, since: Instant::now() });
        if let (Some(before), Some(now)) = (before, self.read.as_mut()) {
            if before.stamp == stamp {
                now.since = before.since;
            }
            if before.digest == digest {
                self.as_before();
                return;
            }
        }
        match parse(content) {
            Ok(entries) => {
                if self.revocations.replace(Source::File, entries) {
                    let entries = self.revocations.entries(Source::File);
                    tracing::info!(file = %self.path.display(), entries, "the revocations have changed");
                }
                if self.fault.take().is_some_and(|fault| fault.told) {
                    tracing::info!(file = %self.path.display(), "the file of revocations is good again");
                }
                self.status.good();
            }
            Err(fault) => self.faulty(fault),
        }
    }

    /// The file is what it was at the last look, good or not.
    fn as_before(&mut self) {
        match self.fault.take() {
            None => self.status.good(),
            Some(Fault { fault, told }) => {
                self.fault = Some(Fault { fault: fault.clone(), told });
                self.faulty(fault);
            }
        }
    }

    /// Tells a fault once, at the second look that finds it: the first may have met a writer in the middle of its work.
    fn faulty(&mut self, fault: FileFault) {
        self.status.faulty.store(true, Ordering::Relaxed);
        let told = match self.fault.take() {
            Some(last) if last.fault == fault => {
                if !last.told {
                    let file = self.path.display();
                    tracing::error!(%file, %fault, "revocations cannot be read; the last good list stays in force");
                }
                true
            }
            _ => false,
        };
        self.fault = Some(Fault { fault, told });
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The content, and the stamp that the file had before it was read.
fn read(path: &Path) -> Result<(Vec<u8>, Stamp), FileFault> {
    let unreadable = |error: io::Error| FileFault::Unreadable(error.to_string());
    // A pipe or a device could block or never end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(FileFault::Unreadable("not a file".to_owned()));
    }
    let file = File::open(path).map_err(unreadable)?;
    let stamp = Stamp::of(&file.metadata().map_err(unreadable)?);
    if stamp.size > MAX_FILE {
        return Err(FileFault::TooLarge);
    }
    let mut content = Vec::new();
    file.take(MAX_FILE + 1) // it may grow while it is read
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > MAX_FILE {
        return Err(FileFault::TooLarge);
    }
    Ok((content, stamp))
}

fn parse(content: &[u8]) -> Result<Vec<Entry>, FileFault> {
    Entry::parse_document(content).map_err(|error| FileFault::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests;
