//! Segments: the files of a chain, and their names.
//!
//! A segment is `audit-<chain>-<first>.jsonl` in the log's folder, where `first` is the sequence number of its first record
//! in twelve digits: names sort as records do. A copy may be compressed, as `.jsonl.zst`.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// What a segment's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The chain that it is a part of.
    pub chain: u32,
    /// The sequence number of its first record.
    pub first: u64,
}

/// A segment that is written to no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedSegment {
    /// Where it is.
    pub path: PathBuf,
    /// What its name says.
    pub name: SegmentName,
    /// The sequence number of its last record, which is its closing checkpoint; of a damaged one, the last before the next
    /// segment's first.
    pub last: u64,
    /// It is the newest of its chain that has a record. A process that starts goes on from it, so it must not be deleted.
    pub is_newest: bool,
}

impl SegmentName {
    /// Reads the name of a segment that is not compressed.
    pub fn parse(name: &OsStr) -> Option<Self> {
        Self::parse_with(name, SUFFIX)
    }

    /// Reads the name of a compressed copy.
    pub fn parse_compressed(name: &OsStr) -> Option<Self> {
        Self::parse_with(name, COMPRESSED)
    }

    fn parse_with(name: &OsStr, suffix: &str) -> Option<Self> {
        let text = name.to_str()?;
        let (chain, first) = text.strip_prefix("audit-")?.strip_suffix(suffix)?.split_once('-')?;
        let name = Self { chain: chain.parse().ok()?, first: first.parse().ok()? };
        // Signs and further zeros would make two names of one segment.
        (text.strip_suffix(suffix)? == name.to_string().strip_suffix(SUFFIX)?).then_some(name)
    }
}

/// The file's name.
impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "audit-{}-{:012}{SUFFIX}", self.chain, self.first)
    }
}

/// The segments in a folder in their order, whatever their state. What has another name, or is no file, is left out.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(directory: &Path) -> io::Result<Vec<SegmentName>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        names.extend(SegmentName::parse(&entry?.file_name()));
    }
    names.sort_unstable();
    Ok(names)
}

/// The segments in a folder that are written to no more, in their order: those that end with a closing checkpoint, and those
/// that another one follows.
///
/// # Errors
/// When the folder or a segment cannot be read.
pub fn closed(directory: &Path) -> io::Result<Vec<ClosedSegment>> {
    let names = list(directory)?;
    let mut closed = Vec::new();
    for (at, &name) in names.iter().enumerate() {
        let path = directory.join(name.to_string());
        let mut later = names.iter().skip(at + 1).take_while(|next| next.chain == name.chain);
        let next = later.next();
        let last = match next {
            Some(next) => Some(next.first.saturating_sub(1)),
            None => last_line(&mut File::open(&path)?)?.and_then(|line| closes(&line)),
        };
        // One that a crash or a full disk left without a record tells nobody where the chain ended.
        let is_followed = match (next, later.next()) {
            (Some(next), None) => last_line(&mut File::open(directory.join(next.to_string()))?)?.is_some(),
            (next, _) => next.is_some(),
        };
        closed.extend(last.map(|last| ClosedSegment { path, name, last, is_newest: !is_followed }));
    }
    Ok(closed)
}

/// The sequence number of a line that closes its segment.
fn closes(line: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Closing {
        seq: u64,
        event: String,
        closes: bool,
    }
    let closing: Closing = serde_json::from_slice(line).ok()?;
    (closing.event == "checkpoint" && closing.closes).then_some(closing.seq)
}

/// The last whole line of a file, without its newline; `None` when there is none, or it is longer than a record may be.
pub(super) fn last_line(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    let mut end = Vec::new();
    let length = file.seek(SeekFrom::End(0))?;
    // Most lines are short: a closing checkpoint is found in the first piece.
    for reach in [4096, MAX_LINE as u64 * 2] {
        file.seek(SeekFrom::Start(length.saturating_sub(reach)))?;
        end.clear();
        file.take(reach).read_to_end(&mut end)?;
        let Some(whole) = memchr::memrchr(b'\n', &end).and_then(|at| end.get(..at)) else { continue };
        match memchr::memrchr(b'\n', whole) {
            Some(before) => return Ok(whole.get(before + 1..).map(<[u8]>::to_vec)),
            None if length <= reach => return Ok(Some(whole.to_vec())),
            None => {}
        }
    }
    Ok(None)
}

const SUFFIX: &str = ".jsonl";
const COMPRESSED: &str = ".jsonl.zst";
/// Longest line that is read, in bytes: far above any record, so that no file makes a reader take all memory.
pub(super) const MAX_LINE: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let name = SegmentName { chain: 1, first: 4097 };
        assert_eq!(name.to_string(), "audit-1-000000004097.jsonl");
        assert_eq!(SegmentName::parse("audit-1-000000004097.jsonl".as_ref()), Some(name));
        assert_eq!(SegmentName::parse_compressed("audit-1-000000004097.jsonl.zst".as_ref()), Some(name));
        for other in [
            "audit.jsonl",
            "audit-1-4097.jsonl",
            "audit-01-000000004097.jsonl",
            "audit-1-+00000004097.jsonl",
            "audit-1-000000004097.jsonl.zst",
            "audit-1-000000004097.jsonl.part",
            "audit-4294967296-000000004097.jsonl",
            "xaudit-1-000000004097.jsonl",
        ] {
            assert_eq!(SegmentName::parse(other.as_ref()), None, "{other}");
        }
        let long = SegmentName { chain: 0, first: u64::MAX };
        assert_eq!(SegmentName::parse(long.to_string().as_ref()), Some(long));
    }

    #[test]
    fn closed_are_those_that_say_so_and_those_that_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let closing = r#"{"seq":9,"prev":"","event":"checkpoint","closes":true}"#;
        let open = r#"{"seq":30,"prev":"","event":"checkpoint","closes":false}"#;
        for (name, content) in [
            ("audit-0-000000000001.jsonl", "damaged".to_owned()),
            ("audit-0-000000000008.jsonl", format!("{{}}\n{closing}\n")),
            ("audit-1-000000000001.jsonl", format!("{}\n{open}\n", "x".repeat(9000))),
            ("audit-2-000000000001.jsonl", format!("{closing}\n{{\"seq\":1")),
            ("audit-3-000000000001.jsonl", String::new()),
            ("audit-4-000000000001.jsonl", format!("{closing}\n")),
            ("audit-4-000000000010.jsonl", "torn".to_owned()),
            ("notes.txt", closing.to_owned()),
        ] {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let closed = closed(folder.path()).unwrap();
        let told: Vec<_> = closed.iter().map(|one| (one.name.chain, one.name.first, one.last, one.is_newest)).collect();
        assert_eq!(told, [(0, 1, 7, false), (0, 8, 9, true), (2, 1, 9, true), (4, 1, 9, true)]);
    }

    #[test]
    fn a_last_line_is_found_however_long_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        for length in [0, 1, 4094, 4095, 4096, 4097, 100_000] {
            let line = "y".repeat(length);
            for (before, torn) in [("", ""), ("x\n", ""), ("x\n", "torn")] {
                std::fs::write(&path, format!("{before}{line}\n{torn}")).unwrap();
                let found = last_line(&mut File::open(&path).unwrap()).unwrap();
                assert_eq!(found.as_deref(), Some(line.as_bytes()), "{length} {before:?} {torn:?}");
            }
        }
    }
}
