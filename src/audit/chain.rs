//! A chain at its growing end: gives records their numbers and hashes, and brings them to the disk, all or nothing.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::checkpoint::Statement;
use super::disk::{Disk, SegmentFile};
use super::hash::Hash;
use super::key::SigningKey;
use super::line::Head;
use super::merkle::Tree;
use super::segment::SegmentName;

/// Where a chain stands on disk.
#[derive(Debug, Clone)]
pub(super) struct Position {
    /// The number of the next record.
    pub next: u64,
    /// The hash of the last one.
    pub head: Hash,
    /// The hash of the last checkpoint.
    pub checkpoint: Option<Hash>,
    /// Bytes of the open segment; nothing beyond them is a record.
    pub length: u64,
    /// The records of the open segment.
    pub tree: Tree,
    /// Records since the last checkpoint.
    pub unsigned: u64,
}

impl Position {
    /// Before the first record of a chain.
    pub(super) fn start() -> Self {
        Self { next: 1, head: Hash::ZERO, checkpoint: None, length: 0, tree: Tree::default(), unsigned: 0 }
    }

    /// The same at the beginning of a new segment.
    pub(super) fn in_new_segment(self) -> Self {
        Self { length: 0, tree: Tree::default(), ..self }
    }

    fn append(&mut self, record: &[u8], lines: &mut Vec<u8>) {
        let before = lines.len();
        self.head = Head { seq: self.next, prev: self.head }.splice(record, lines);
        self.tree.push(self.head);
        self.next += 1;
        self.unsigned += 1;
        self.length += (lines.len() - before) as u64;
    }
}

/// Whether a group of records ends with a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    /// No.
    None,
    /// Yes.
    Checkpoint,
    /// Yes, and it is the last line of the segment.
    Close,
}

/// A chain, and its open segment.
pub(super) struct Chain<D: Disk> {
    disk: D,
    /// `None`: the next record makes a segment.
    file: Option<D::File>,
    /// There may be bytes in the file beyond its records.
    torn: bool,
    position: Position,
    id: u32,
    log: String,
    key: SigningKey,
    lines: Vec<u8>,
    /// Lines of the open segment that were written and not synced.
    unsynced: u64,
    /// Lines that were not synced when a sync failed.
    unsure: u64,
}

/// What a group came to.
pub(super) struct Committed<'l> {
    /// Its lines, each with its newline.
    pub lines: &'l [u8],
    /// The last of them, if it is a checkpoint.
    pub checkpoint: Option<&'l [u8]>,
    /// How long the sync took, if there was one.
    pub sync: Option<Duration>,
}

impl<D: Disk> Chain<D> {
    pub(super) fn new(
        disk: D,
        file: Option<D::File>,
        position: Position,
        id: u32,
        log: String,
        key: SigningKey,
    ) -> Self {
        Self { disk, file, torn: false, position, id, log, key, lines: Vec::new(), unsynced: 0, unsure: 0 }
    }

    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    /// Whether a segment is open.
    pub(super) fn has_segment(&self) -> bool {
        self.file.is_some()
    }

    /// The number that the open segment bears, or that the next one will.
    fn first(&self) -> u64 {
        self.position.next - self.position.tree.leaves()
    }

    /// Brings a group to the disk: `records`, then a checkpoint if `seal` says so. Returns once it is in the file, and with
    /// `durable` on the disk.
    ///
    /// # Errors
    /// When it is not. The chain stands where it stood then, and the same group can be tried again: what of it has reached
    /// the file is cut off before anything else is written.
    pub(super) fn commit<'r>(
        &mut self,
        records: impl IntoIterator<Item = &'r [u8]>,
        seal: Seal,
        durable: bool,
        now: SystemTime,
    ) -> io::Result<Committed<'_>> {
        let mut position = self.position.clone();
        self.lines.clear();
        for record in records {
            position.append(record, &mut self.lines);
        }
        let sealed_from = self.lines.len();
        if seal != Seal::None {
            self.seal(&mut position, seal == Seal::Close, now)?;
        }
        let sync = self.write(durable)?;
        self.unsynced = if durable { 0 } else { self.unsynced + (position.next - self.position.next) };
        self.position = position;
        if seal == Seal::Close {
            self.file = None;
            self.position = self.position.clone().in_new_segment();
        }
        let checkpoint = self.lines.get(sealed_from..).filter(|line| !line.is_empty());
        Ok(Committed { lines: &self.lines, checkpoint, sync })
    }

    /// Lines before of which a failed sync has left it open whether they are on disk; they are told once.
    pub(super) fn take_unsure(&mut self) -> u64 {
        std::mem::take(&mut self.unsure)
    }

    /// Tries whether the disk has room for a line, and leaves nothing behind.
    ///
    /// # Errors
    /// When it has not.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        self.lines.clear();
        self.lines.resize(PROBE, b' ');
        self.write(true)?;
        self.torn = true; // what was tried is no record
        if let Some(file) = &mut self.file {
            file.truncate(self.position.length)?;
        }
        self.torn = false;
        self.unsynced = 0;
        Ok(())
    }

    fn seal(&mut self, position: &mut Position, closes: bool, now: SystemTime) -> io::Result<()> {
        let statement = Statement {
            head: Head { seq: position.next, prev: position.head },
            size: position.tree.leaves(),
            root: position.tree.root(),
            previous: position.checkpoint,
            closes,
            log: &self.log,
            time: rfc3339(now),
        };
        let checkpoint = serde_json::to_vec(&statement.sign(&self.key))?;
        position.append(&checkpoint, &mut self.lines);
        position.checkpoint = Some(position.head);
        position.unsigned = 0;
        Ok(())
    }

    /// Writes `self.lines` behind the records that are there.
    fn write(&mut self, durable: bool) -> io::Result<Option<Duration>> {
        let name = SegmentName { chain: self.id, first: self.first() };
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(self.disk.create(name)?),
        };
        if self.torn {
            file.truncate(self.position.length)?;
        }
        self.torn = true; // until all of it is there
        let mut rest = self.lines.as_slice();
        while !rest.is_empty() {
            match file.append(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let started = Instant::now();
        if durable && let Err(error) = file.sync() {
            // fsync(2): the system may have given up pages of before, and will not say so again. This group is written anew.
            self.unsure += std::mem::take(&mut self.unsynced);
            return Err(error);
        }
        self.torn = false;
        Ok(durable.then(|| started.elapsed()))
    }
}

/// Bytes that are tried: more than most lines have.
const PROBE: usize = 4096;

impl<D: Disk> Drop for Chain<D> {
    /// What of a group that failed is in the file must not look like records.
    fn drop(&mut self) {
        if let (true, Some(file)) = (self.torn, &mut self.file) {
            let _ = file.truncate(self.position.length);
        }
    }
}

/// A time as lines have it.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    // Only a time beyond the year 9999 has no such form.
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_else(|_| "9999-12-31T23:59:59Z".to_owned())
}

#[cfg(test)]
mod tests;
