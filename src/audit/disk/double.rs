//! A disk in memory that fails as a test wants it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::time::Instant;

use super::{Disk, SegmentFile};
use crate::audit::segment::SegmentName;

/// A disk that does what its plan says, call by call, and well when the plan is over and it is not broken.
#[derive(Clone, Default)]
pub(in crate::audit) struct Faulty(Arc<Mutex<Inner>>);

#[derive(Default)]
pub(in crate::audit) struct Inner {
    pub files: BTreeMap<SegmentName, Vec<u8>>,
    pub plan: Vec<Fate>,
    /// Every call fails so.
    pub broken: Option<ErrorKind>,
    /// When the disk was asked to sync.
    pub syncs: Vec<Instant>,
    /// The next sync lasts until the other end is dropped.
    pub hangs: Option<std::sync::mpsc::Receiver<()>>,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::audit) enum Fate {
    Well,
    /// Takes some bytes and says so.
    Short(usize),
    /// Takes some bytes and fails all the same.
    Fails(usize, ErrorKind),
}

impl Faulty {
    pub(in crate::audit) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl Inner {
    fn fate(&mut self) -> Fate {
        match self.broken {
            Some(kind) => Fate::Fails(usize::MAX, kind),
            None if self.plan.is_empty() => Fate::Well,
            None => self.plan.remove(0),
        }
    }

    fn outcome(&mut self) -> io::Result<()> {
        match self.fate() {
            Fate::Fails(_, kind) => Err(kind.into()),
            Fate::Well | Fate::Short(_) => Ok(()),
        }
    }
}

pub(in crate::audit) struct FaultyFile(Faulty, SegmentName);

impl Disk for Faulty {
    type File = FaultyFile;

    fn create(&mut self, name: SegmentName) -> io::Result<FaultyFile> {
        let mut inner = self.inner();
        inner.outcome()?;
        assert!(inner.files.insert(name, Vec::new()).is_none(), "{name} is made twice");
        Ok(FaultyFile(self.clone(), name))
    }
}

impl SegmentFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.0.inner();
        let (taken, result) = match inner.fate() {
            Fate::Well => (bytes.len(), None),
            Fate::Short(most) => (most.min(bytes.len()), None),
            Fate::Fails(most, kind) => (most.min(bytes.len()), Some(kind)),
        };
        inner.files.get_mut(&self.1).unwrap().extend_from_slice(&bytes[..taken]);
        result.map_or(Ok(taken), |kind| Err(kind.into()))
    }

    fn sync(&mut self) -> io::Result<()> {
        let hangs = self.0.inner().hangs.take();
        if let Some(hangs) = hangs {
            let _ = hangs.recv(); // ends when the other end is dropped
        }
        let mut inner = self.0.inner();
        inner.syncs.push(Instant::now());
        inner.outcome()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut inner = self.0.inner();
        inner.outcome()?;
        inner.files.get_mut(&self.1).unwrap().truncate(usize::try_from(length).unwrap());
        Ok(())
    }
}
