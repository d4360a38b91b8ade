//! The file of revocations: read at the start, followed from then on.
//!
//! A change counts within one second. What cannot be read or understood changes nothing: the last good list stays in force.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::entry::Entry;
use super::{Part, Revocations};
use crate::follow::{self, FollowedFile, Look, ReadFault, Trouble};

/// Longest file that is read.
const MAX_FILE: u64 = 64 << 20;

/// A file that has been read and understood.
#[derive(Debug)]
pub struct RevocationFile {
    file: FollowedFile,
    entries: Vec<Entry>,
}

/// Why a file gives no list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// It is not there to be read.
    #[error(transparent)]
    Read(#[from] ReadFault),
    /// Not the JSON that is expected.
    #[error("it is no list of revocations: {0}")]
    Malformed(String),
}

impl RevocationFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The fault, for people.
    pub fn load(path: &Path) -> Result<Self, FileFault> {
        let (file, content) = FollowedFile::open(path, MAX_FILE)?;
        Ok(Self { entries: parse(&content)?, file })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What follows the file from here on. Its part is for [`Revocations::adopt`] to put in force.
    pub fn follow(self, revocations: Arc<Revocations>) -> FileFollower {
        let (part, status) = (Part::new(self.entries), Arc::new(FileStatus::new()));
        FileFollower { file: self.file, part, revocations, status, trouble: Trouble::none() }
    }
}

/// Follows a file and keeps the list as the file says.
#[derive(Debug)]
pub struct FileFollower {
    file: FollowedFile,
    part: Arc<Part>,
    /// Told of changes.
    revocations: Arc<Revocations>,
    status: Arc<FileStatus>,
    trouble: Trouble<FileFault>,
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
    /// What the file says.
    pub fn part(&self) -> Arc<Part> {
        Arc::clone(&self.part)
    }

    /// How following goes; stays valid while [`FileFollower::run`] has the follower.
    pub fn status(&self) -> Arc<FileStatus> {
        Arc::clone(&self.status)
    }

    /// Follows the file for as long as the future is polled.
    pub async fn run(mut self) {
        let mut beat = tokio::time::interval(follow::INTERVAL);
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

    /// Looks at the file once.
    fn look(&mut self) {
        match self.file.look() {
            Ok(Look::AsBefore) => self.as_before(),
            Ok(Look::Changed(content)) => match parse(&content) {
                Ok(entries) => self.enforce(entries),
                Err(fault) => self.faulty(fault),
            },
            Err(fault) => self.faulty(fault.into()),
        }
    }

    fn enforce(&mut self, entries: Vec<Entry>) {
        let file = self.file.path().display();
        if self.revocations.replace_in(&self.part, entries) {
            let entries = self.part.entries();
            tracing::info!(%file, entries, "the revocations have changed");
        }
        if self.trouble.over() {
            tracing::info!(%file, "the file of revocations is good again");
        }
        self.status.good();
    }

    /// The file is what it was at the last look, good or not.
    fn as_before(&mut self) {
        if !self.trouble.is_there() {
            self.status.good();
        } else if let Some(fault) = self.trouble.again() {
            tell(self.file.path(), fault);
        }
    }

    fn faulty(&mut self, fault: FileFault) {
        self.status.faulty.store(true, Ordering::Relaxed);
        if let Some(fault) = self.trouble.found(fault) {
            tell(self.file.path(), fault);
        }
    }
}

fn tell(file: &Path, fault: &FileFault) {
    tracing::error!(file = %file.display(), %fault, "revocations cannot be read; the last good list stays in force");
}

fn parse(content: &[u8]) -> Result<Vec<Entry>, FileFault> {
    Entry::parse_document(content).map_err(|error| FileFault::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests;
