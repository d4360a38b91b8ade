//! A file that is looked at again and again, for what may change while the proxy runs: revocations, certificates, keys.
//!
//! Whoever follows one looks four times a second, so that a change counts within one second however it is made: by renaming
//! a new file over it, by writing it anew in place, on a file system that notifies nobody. A look costs one `stat` while
//! nothing changes. What a change means, and whether it is good, is for the follower to say.

mod certificates;

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use certificates::{FollowedCertificates, follow};

/// Time between two looks.
pub const INTERVAL: Duration = Duration::from_millis(250);
/// How long a file is read again after its metadata changed: a later write within the clock step of the file system (2 s
/// on the coarsest) shows in no metadata.
const SETTLE: Duration = Duration::from_millis(2500);

/// A file, and what it was at the last look.
#[derive(Debug)]
pub struct FollowedFile {
    path: PathBuf,
    max: u64,
    /// The last content that was read, good or not; `None` while there is none to read.
    read: Option<ReadState>,
}

/// What a look has found.
#[derive(Debug)]
pub enum Look {
    /// The content of the last look.
    AsBefore,
    /// Another content, wiped when it is dropped.
    Changed(Zeroizing<Vec<u8>>),
}

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadFault {
    /// The system's words, or that it is no regular file.
    #[error("cannot read it: {0}")]
    Unreadable(String),
    /// Above the bound.
    #[error("it is above {0} bytes")]
    TooLarge(u64),
}

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

impl FollowedFile {
    /// Reads the file at `path`, of at most `max` bytes.
    ///
    /// # Errors
    /// [`ReadFault`]
    pub fn open(path: &Path, max: u64) -> Result<(Self, Zeroizing<Vec<u8>>), ReadFault> {
        let (content, stamp) = read(path, max)?;
        let read = ReadState { stamp, digest: Sha256::digest(&content).into(), since: Instant::now() };
        Ok((Self { path: path.to_owned(), max, read: Some(read) }, content))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the file once, and reads it only if it may have changed. Blocks.
    ///
    /// # Errors
    /// [`ReadFault`]; the content after one counts as changed.
    pub fn look(&mut self) -> Result<Look, ReadFault> {
        let settled = self.read.filter(|read| read.since.elapsed() > SETTLE);
        if let (Some(read), Ok(metadata)) = (settled, std::fs::metadata(&self.path))
            && Stamp::of(&metadata) == read.stamp
        {
            return Ok(Look::AsBefore);
        }
        let (content, stamp) = read(&self.path, self.max).inspect_err(|_| self.read = None)?;
        let mut now = ReadState { stamp, digest: Sha256::digest(&content).into(), since: Instant::now() };
        let before = self.read.replace(now);
        if let Some(before) = before.filter(|before| before.stamp == stamp) {
            now.since = before.since;
            self.read = Some(now);
        }
        if before.is_some_and(|before| before.digest == now.digest) {
            return Ok(Look::AsBefore);
        }
        Ok(Look::Changed(content))
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
fn read(path: &Path, max: u64) -> Result<(Zeroizing<Vec<u8>>, Stamp), ReadFault> {
    let unreadable = |error: io::Error| ReadFault::Unreadable(error.to_string());
    // A pipe or a device could block or never end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(ReadFault::Unreadable("not a file".to_owned()));
    }
    let file = File::open(path).map_err(unreadable)?;
    let stamp = Stamp::of(&file.metadata().map_err(unreadable)?);
    if stamp.size > max {
        return Err(ReadFault::TooLarge(max));
    }
    // With room for all of it: a vector that grows leaves what it held behind.
    let room = usize::try_from(stamp.size).unwrap_or_default().saturating_add(1);
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    file.take(max + 1) // it may grow while it is read
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > max {
        return Err(ReadFault::TooLarge(max));
    }
    Ok((content, stamp))
}

/// A fault that may be found at look after look. It is told once, at the second look that finds it: the first may have met
/// a writer in the middle of its work.
#[derive(Debug)]
pub struct Trouble<F> {
    fault: Option<(F, bool)>,
}

impl<F: PartialEq> Trouble<F> {
    /// No fault.
    pub const fn none() -> Self {
        Self { fault: None }
    }

    /// A look has found this fault; it is given back when it is to be told now.
    pub fn found(&mut self, fault: F) -> Option<&F> {
        let last = self.fault.take().filter(|(last, _)| *last == fault);
        let (fault, told) = self.fault.insert((fault, last.is_some()));
        (*told && last.is_some_and(|(_, told)| !told)).then_some(fault)
    }

    /// A look has found all as before: the fault, if there is one and it is to be told now.
    pub fn again(&mut self) -> Option<&F> {
        let (fault, told) = self.fault.as_mut()?;
        (!std::mem::replace(told, true)).then_some(fault)
    }

    /// A look has found no fault; whether one that was told is over.
    pub fn over(&mut self) -> bool {
        self.fault.take().is_some_and(|(_, told)| told)
    }

    /// Whether the last look has found a fault.
    pub fn is_there(&self) -> bool {
        self.fault.is_some()
    }
}

#[cfg(test)]
mod tests;
