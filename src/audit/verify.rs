//! Verifies a chain as an auditor does: from its segments and a public key, in constant memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, BufRead};

use super::checkpoint::Checkpoint;
use super::hash::Hash;
use super::key::PublicKey;
use super::lifecycle::ChainHead;
use super::line::{Head, Lines, Piece, event};
use super::merkle::Tree;
use super::segment::SegmentName;

/// The first thing that is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file's name.
    pub file: String,
    /// The line in it, from 1.
    pub line: u64,
    /// The number of the record that is bad or missing.
    pub seq: u64,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: record {} {}", self.file, self.line, self.seq, self.what)
    }
}

/// Why a segment does not pass.
#[derive(Debug)]
pub enum Failure {
    /// The log is not what was written.
    Fault(Fault),
    /// The file cannot be read.
    Unreadable(io::Error),
}

/// What has been verified of a chain so far.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// The number of the first record.
    pub first: u64,
    /// The number of the last record.
    pub last: u64,
    /// Records that were read.
    pub records: u64,
    /// Checkpoints that were verified.
    pub checkpoints: u64,
    /// Records behind the last checkpoint: chained, but not signed yet.
    pub unsigned: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// The keys that have signed, and how often.
    pub keys: BTreeMap<String, u64>,
    /// The names that the checkpoints give the log.
    pub logs: Vec<String>,
    /// The heads of other chains that `started` lines name.
    pub heads: Vec<ChainHead>,
}

/// Verifies the segments of one chain, in their order.
#[derive(Clone)]
pub struct Verifier {
    /// Keys that are vouched for; none: each checkpoint's own is used.
    trusted: Vec<PublicKey>,
    /// Checkpoints that were kept elsewhere, by number; taken out when they are found.
    expected: BTreeMap<u64, Hash>,
    totals: Totals,
    last: Option<Last>,
    /// The last checkpoint, once one was seen or the chain was seen to begin.
    #[allow(clippy::option_option)] // not known yet, or known to be none
    checkpoint: Option<Option<Hash>>,
    /// The last segment ended with a closing checkpoint.
    closed: bool,
}

/// The record before, and where it is.
#[derive(Debug, Clone)]
struct Last {
    file: String,
    line: u64,
    seq: u64,
    hash: Hash,
}

/// A record whose `prev` is not the hash of the one before: one of the two was altered. The record after it tells which.
struct Doubt {
    before: Last,
    at: Last,
    /// What the record's hash would be if its `prev` were right.
    mended: Hash,
    is_checkpoint: bool,
    /// Its signature holds as it stands.
    signed: bool,
}

impl Verifier {
    /// Begins a chain. `expected` are checkpoints that were kept elsewhere, by their numbers.
    pub fn new(trusted: Vec<PublicKey>, expected: BTreeMap<u64, Hash>) -> Self {
        Self { trusted, expected, totals: Totals::default(), last: None, checkpoint: None, closed: false }
    }

    /// Verifies the next segment.
    ///
    /// # Errors
    /// The first fault in it, or why it cannot be read.
    pub fn segment(&mut self, name: SegmentName, file: &str, content: impl BufRead) -> Result<(), Failure> {
        let mut walk = Walk { file, line: 0, tree: Tree::default(), closes: false, doubt: None };
        if let Some(last) = &self.last {
            let follows = last.seq.checked_add(1);
            if follows != Some(name.first) {
                let (from, to) = (last.seq.saturating_add(1), name.first.saturating_sub(1));
                let what = if from <= to {
                    format!("is missing, and all up to {to}: the segment before ends at {}", last.seq)
                } else {
                    format!("comes again: the segment before ends at {}", last.seq)
                };
                return Err(walk.fault(from.min(name.first), what));
            }
            if !self.closed {
                return Err(Failure::Fault(Fault {
                    file: last.file.clone(),
                    line: last.line,
                    seq: last.seq,
                    what: "ends its segment without a closing checkpoint: what stood behind it is missing".to_owned(),
                }));
            }
        }
        let mut lines = Lines::new(content);
        loop {
            match lines.next().map_err(Failure::Unreadable)? {
                Piece::Line(line) => {
                    walk.line += 1;
                    self.record(&mut walk, name, line)?;
                }
                Piece::End => break,
                Piece::Torn => {
                    walk.line += 1;
                    walk.settle(None)?;
                    return Err(walk.fault(self.next(name), "is cut short".to_owned()));
                }
                Piece::Endless => {
                    walk.line += 1;
                    walk.settle(None)?;
                    return Err(walk.fault(self.next(name), "is longer than any record".to_owned()));
                }
            }
        }
        walk.settle(None)?;
        self.totals.bytes += lines.whole;
        self.closed = walk.closes;
        Ok(())
    }

    /// Whether both stand behind the same record: by its hash, all before it is the same then.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let end = |verifier: &Self| verifier.last.as_ref().map(|last| (last.seq, last.hash));
        end(self) == end(other)
    }

    /// Ends the chain.
    ///
    /// # Errors
    /// When a checkpoint that was kept elsewhere was not found.
    pub fn finish(self) -> Result<Totals, Fault> {
        // What lies before the first segment at hand cannot be found in it.
        let missing = self.expected.keys().find(|&&seq| seq >= self.totals.first);
        match (missing, &self.last) {
            (Some(&seq), last) => Err(Fault {
                file: last.as_ref().map(|last| last.file.clone()).unwrap_or_default(),
                line: last.as_ref().map(|last| last.line).unwrap_or_default(),
                seq,
                what: format!(
                    "is missing: it is a checkpoint that was kept elsewhere, and the log ends at {}",
                    self.totals.last
                ),
            }),
            (None, _) => Ok(self.totals),
        }
    }

    /// The number that the next record must have.
    fn next(&self, name: SegmentName) -> u64 {
        self.last.as_ref().map_or(name.first, |last| last.seq.saturating_add(1))
    }

    fn record(&mut self, walk: &mut Walk<'_>, name: SegmentName, line: &[u8]) -> Result<(), Failure> {
        let expected = self.next(name);
        let hash = Hash::of_record(line);
        let Some((head, rest)) = Head::parse(line) else {
            walk.settle(None)?;
            return Err(walk.fault(expected, "is no line of an audit log".to_owned()));
        };
        walk.settle(Some(head.prev))?;
        if !event(rest).is_some_and(|event| EVENTS.contains(&event)) {
            return Err(walk.fault(expected, "tells of no event that this version knows".to_owned()));
        }
        if walk.closes {
            return Err(walk.fault(expected, "stands behind a closing checkpoint".to_owned()));
        }
        if head.seq != expected {
            return Err(walk.fault(expected, format!("is missing here: the line has the number {}", head.seq)));
        }
        let is_checkpoint = event(rest) == Some(b"checkpoint");
        match &self.last {
            Some(before) if before.hash != head.prev => {
                let right = Head { seq: head.seq, prev: before.hash };
                let mut mended = Vec::new();
                let mended = right.splice(&[b"{", rest].concat(), &mut mended);
                let signed = is_checkpoint && self.is_signed(line);
                let at = Last { file: walk.file.to_owned(), line: walk.line, seq: head.seq, hash };
                walk.doubt = Some(Doubt { before: before.clone(), at: at.clone(), mended, is_checkpoint, signed });
                self.last = Some(at);
                return Ok(()); // whichever it is, nothing behind it is looked at but the next line's `prev`
            }
            None if head.seq == 1 && head.prev != Hash::ZERO => {
                return Err(walk.fault(1, "does not begin a chain: its prev is not zeros".to_owned()));
            }
            None if head.seq == 1 => self.checkpoint = Some(None),
            _ => {}
        }
        if self.totals.records == 0 {
            self.totals.first = head.seq;
        }
        self.totals.records += 1;
        self.totals.last = head.seq;
        if let Some(kept) = self.expected.remove(&head.seq)
            && kept != hash
        {
            return Err(walk.fault(head.seq, "is not the checkpoint that was kept elsewhere".to_owned()));
        }
        if is_checkpoint {
            self.checkpoint(walk, line, hash)?;
        } else {
            self.totals.unsigned += 1;
            if event(rest) == Some(b"started") {
                self.totals.heads.extend(heads(line));
            }
        }
        walk.tree.push(hash);
        // The name is kept in place: a file has many records.
        match &mut self.last {
            Some(last) if walk.line > 1 => (last.line, last.seq, last.hash) = (walk.line, head.seq, hash),
            last => *last = Some(Last { file: walk.file.to_owned(), line: walk.line, seq: head.seq, hash }),
        }
        Ok(())
    }

    fn is_signed(&self, line: &[u8]) -> bool {
        Checkpoint::parse(line)
            .is_ok_and(|(head, checkpoint)| self.key(&checkpoint).is_some_and(|key| checkpoint.verifies(head, key)))
    }

    /// The key of a checkpoint, if it may sign.
    fn key(&self, checkpoint: &Checkpoint) -> Option<PublicKey> {
        checkpoint.public_key().filter(|key| self.trusted.is_empty() || self.trusted.contains(key))
    }

    fn checkpoint(&mut self, walk: &mut Walk<'_>, line: &[u8], hash: Hash) -> Result<(), Failure> {
        let seq = self.totals.last;
        let (head, checkpoint) = Checkpoint::parse(line).map_err(|what| walk.fault(seq, what.to_owned()))?;
        let wrong = |what: &str| Err(walk.fault(head.seq, what.to_owned()));
        let Some(key) = self.key(&checkpoint) else {
            return wrong("is a checkpoint of a key that is not trusted");
        };
        if !checkpoint.verifies(head, key) {
            return wrong("is a checkpoint whose signature does not verify");
        }
        if checkpoint.size != walk.tree.leaves() || checkpoint.root != walk.tree.root() {
            return wrong("is a checkpoint over other records than those before it");
        }
        if self.checkpoint.is_some_and(|before| before != checkpoint.previous) {
            return wrong("is a checkpoint that does not follow on the one before");
        }
        if self.totals.logs.last() != Some(&checkpoint.log) {
            self.totals.logs.push(checkpoint.log);
        }
        self.checkpoint = Some(Some(hash));
        self.totals.checkpoints += 1;
        self.totals.unsigned = 0;
        *self.totals.keys.entry(checkpoint.public_key).or_default() += 1;
        walk.closes = checkpoint.closes;
        Ok(())
    }
}

/// What a line may tell of. Without this, a last checkpoint that is altered would pass for a record that is not signed yet.
const EVENTS: &[&[u8]] = &[
    b"begin",
    b"end",
    b"refused",
    b"answered",
    b"left",
    b"started",
    b"configured",
    b"stopped",
    b"gap",
    b"contained",
    b"released",
    b"checkpoint",
];

/// The way through one segment.
struct Walk<'f> {
    file: &'f str,
    line: u64,
    tree: Tree,
    closes: bool,
    doubt: Option<Doubt>,
}

impl Walk<'_> {
    fn fault(&self, seq: u64, what: String) -> Failure {
        Failure::Fault(Fault { file: self.file.to_owned(), line: self.line, seq, what })
    }

    /// Says which of two records was altered, by the `prev` of the line behind them, if there is one.
    fn settle(&mut self, prev: Option<Hash>) -> Result<(), Failure> {
        let Some(doubt) = self.doubt.take() else { return Ok(()) };
        // The later one was, if it would fit both its neighbours but for its own `prev`. A signature that fails says so too.
        let later = match prev {
            Some(prev) => prev == doubt.mended,
            None => doubt.is_checkpoint && !doubt.signed,
        };
        let bad = if later { doubt.at } else { doubt.before };
        let what = if later {
            "was altered: its prev is not the hash of the record before"
        } else if doubt.signed {
            "was altered: the checkpoint behind it signs another"
        } else {
            "was altered: its hash is not what the next record says"
        };
        Err(Failure::Fault(Fault { file: bad.file, line: bad.line, seq: bad.seq, what: what.to_owned() }))
    }
}

/// The hashes that records of a verified segment have, by their numbers.
///
/// # Errors
/// When the file cannot be read.
pub fn hashes(name: SegmentName, content: impl BufRead, wanted: &BTreeSet<u64>) -> io::Result<BTreeMap<u64, Hash>> {
    let (mut lines, mut seq, mut hashes) = (Lines::new(content), name.first, BTreeMap::new());
    while let Piece::Line(line) = lines.next()? {
        if wanted.contains(&seq) {
            hashes.insert(seq, Hash::of_record(line));
        }
        seq = seq.saturating_add(1);
    }
    Ok(hashes)
}

/// The heads that a `started` line names.
fn heads(line: &[u8]) -> Vec<ChainHead> {
    #[derive(serde::Deserialize)]
    struct Heads {
        heads: Vec<ChainHead>,
    }
    serde_json::from_slice::<Heads>(line).map(|started| started.heads).unwrap_or_default()
}

#[cfg(test)]
mod tests;
