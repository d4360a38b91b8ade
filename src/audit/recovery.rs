//! Finds where a chain ended when its last process did, so that the next one goes on from there.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Error, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::chain::Position;
use super::checkpoint::Checkpoint;
use super::hash::Hash;
use super::lifecycle::{ChainHead, Found};
use super::line::{Head, Lines, Piece, event};
use super::segment::{self, SegmentName};

/// A chain that this process alone writes to.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Held until the process ends.
    pub lock: File,
    pub chain: u32,
    /// The segment that goes on; `None`: a new one is made.
    pub file: Option<File>,
    pub position: Position,
    pub found: Found,
    pub heads: Vec<ChainHead>,
    /// Names in the folder that are not ours.
    pub foreign: Vec<String>,
}

/// Chains that processes may write side by side: two while one takes over from another, and some for those that hang.
const MAX_CHAINS: u32 = 8;

/// Takes the first chain that no living process holds, and finds its end. A record that a crash cut short is taken off; a
/// segment that is damaged otherwise is left as it is, and the chain goes on in a new one. Blocks.
///
/// # Errors
/// When the folder or the chain's last segment cannot be read and written, or all chains are held.
pub(super) fn recover(directory: &Path) -> io::Result<Recovered> {
    let (lock, chain) = take(directory)?;
    let names = segment::list(directory)?;
    let own: Vec<SegmentName> = names.iter().copied().filter(|name| name.chain == chain).collect();
    let mut recovered = Recovered {
        lock,
        chain,
        file: None,
        position: Position::start(),
        found: Found::default(),
        heads: heads(directory, &names, chain)?,
        foreign: foreign(directory)?,
    };
    let Some((&last, earlier)) = own.split_last() else { return Ok(recovered) };
    let path = directory.join(last.to_string());
    // Anything else might never end, or be read and not written.
    if !std::fs::metadata(&path)?.is_file() {
        return Err(Error::other(format!("{last} is not a file")));
    }
    let mut file = OpenOptions::new().read(true).append(true).open(&path)?;
    // The process that made it may have ended before the file's name was on disk.
    File::open(directory)?.sync_all()?;
    let mut end = scan(&mut file, last)?;
    if end.damage.is_none()
        && let Some(torn) = end.torn
    {
        file.set_len(end.position.length)?;
        file.sync_all()?;
        (recovered.found.torn_bytes, recovered.found.torn_sha256) = (Some(torn.bytes), Some(torn.sha256));
    }
    recovered.found.damaged = end.damage.map(|damage| format!("{last}: {damage}"));
    let before = before(directory, earlier)?;
    if end.position.checkpoint.is_none() {
        end.position.checkpoint = before.checkpoint;
    }
    if end.position.tree.leaves() == 0 && recovered.found.damaged.is_none() {
        end.position.head = before.head;
    }
    if recovered.found.damaged.is_some() || end.closes {
        recovered.position = end.position.in_new_segment();
    } else {
        (recovered.file, recovered.position) = (Some(file), end.position);
    }
    Ok(recovered)
}

/// Whether [`recover`] could go on in `directory`. Nothing is made or written.
///
/// # Errors
/// When the folder cannot be read, or the newest segment of a chain cannot be written.
pub(super) fn try_recover(directory: &Path) -> io::Result<()> {
    let names = segment::list(directory)?;
    for (at, name) in names.iter().enumerate() {
        if names.get(at + 1).is_none_or(|next| next.chain != name.chain) {
            let path = directory.join(name.to_string());
            let file = OpenOptions::new().append(true).open(&path);
            let is_file = file.and_then(|file| file.metadata()).map(|metadata| metadata.is_file());
            match is_file {
                Ok(true) => {}
                Ok(false) => return Err(Error::other(format!("{name} is not a file"))),
                Err(error) => return Err(Error::new(error.kind(), format!("{name}: {error}"))),
            }
        }
    }
    Ok(())
}

fn take(directory: &Path) -> io::Result<(File, u32)> {
    for chain in 0..MAX_CHAINS {
        let path = directory.join(lock_name(chain));
        // Held for reading alone: a file that is open for writing keeps a disk from being remounted read-only.
        OpenOptions::new().create(true).append(true).open(&path)?;
        let lock = File::open(path)?;
        match lock.try_lock() {
            Ok(()) => return Ok((lock, chain)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(Error::other(format!("{MAX_CHAINS} other processes write to this folder")))
}

fn lock_name(chain: u32) -> String {
    format!("audit-{chain}.lock")
}

/// Where the other chains stand. They may be written to meanwhile.
fn heads(directory: &Path, names: &[SegmentName], own: u32) -> io::Result<Vec<ChainHead>> {
    let mut heads: Vec<ChainHead> = Vec::new();
    for name in names.iter().filter(|name| name.chain != own) {
        let path = directory.join(name.to_string());
        let file = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => File::open(path),
            Ok(_) => continue,
            Err(error) => Err(error),
        };
        let line = match file {
            Ok(mut file) => segment::last_line(&mut file)?,
            // Its process keeps it no longer; the newest of a chain always stays.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let head = line.as_deref().and_then(|line| Some((Head::parse(line)?.0.seq, Hash::of_record(line))));
        if let Some((seq, hash)) = head {
            heads.retain(|head| head.chain != name.chain);
            heads.push(ChainHead { chain: name.chain, seq, hash });
        }
    }
    Ok(heads)
}

fn foreign(directory: &Path) -> io::Result<Vec<String>> {
    let mut foreign = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        // Ours are segments with whatever shipping puts behind their names, locks, and drafts, which begin with a dot.
        let stem = text.find(".jsonl").and_then(|at| text.get(..at + ".jsonl".len()));
        let is_segment = stem.is_some_and(|stem| SegmentName::parse(stem.as_ref()).is_some());
        let is_lock = (0..MAX_CHAINS).any(|chain| text == lock_name(chain));
        if !is_segment && !is_lock && !text.starts_with('.') {
            foreign.push(text.into_owned());
        }
    }
    foreign.sort_unstable();
    Ok(foreign)
}

/// The end of a segment.
#[derive(Debug)]
struct End {
    position: Position,
    /// What stands behind the last whole line.
    torn: Option<Torn>,
    /// The last line is a closing checkpoint.
    closes: bool,
    damage: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Torn {
    bytes: u64,
    sha256: Hash,
}

/// Reads a segment to its end. That its first record follows on the segment before is not looked at: `audit verify` does.
fn scan(file: &mut File, name: SegmentName) -> io::Result<End> {
    file.seek(SeekFrom::Start(0))?;
    let mut lines = Lines::new(BufReader::with_capacity(READ, &mut *file));
    let mut position = Position { next: name.first, ..Position::start() };
    let (mut closes, mut damage) = (false, None);
    let mut count = 0;
    let mut wrong = |seq: u64, what: &str| {
        damage.get_or_insert_with(|| format!("record {seq} {what}"));
    };
    loop {
        match lines.next()? {
            Piece::Line(line) => {
                let expected = position.next;
                let found = Head::parse(line);
                if closes {
                    wrong(expected, "stands behind a closing checkpoint");
                }
                match found {
                    None => wrong(expected, "is no line of an audit log"),
                    Some((head, _)) if head.seq != expected => wrong(expected, "is missing, or not in its place"),
                    Some((head, _)) if count > 0 && head.prev != position.head => {
                        wrong(expected, "does not follow on the one before");
                    }
                    Some(_) => {}
                }
                closes = false;
                if found.and_then(|(_, rest)| event(rest)) == Some(b"checkpoint") {
                    match Checkpoint::parse(line) {
                        Ok((_, checkpoint)) if checkpoint.root == position.tree.root() => closes = checkpoint.closes,
                        _ => wrong(expected, "is a checkpoint that does not fit"),
                    }
                    position.checkpoint = Some(Hash::of_record(line));
                    position.unsigned = 0;
                } else {
                    position.unsigned += 1;
                }
                count += 1;
                position.head = Hash::of_record(line);
                position.tree.push(position.head);
                // Of a damaged segment the last line is taken at its word, if that can be.
                let seq = found.map(|(head, _)| head.seq).filter(|&seq| seq >= expected && seq < u64::MAX);
                position.next = seq.unwrap_or(expected) + 1;
            }
            Piece::End | Piece::Torn(_) => break,
            Piece::Endless => {
                wrong(position.next, "has no end");
                break;
            }
        }
    }
    position.length = lines.whole;
    let torn = torn(file, position.length)?;
    if closes && torn.is_some() {
        damage.get_or_insert_with(|| "something stands behind its closing checkpoint".to_owned());
    }
    Ok(End { position, torn, closes, damage })
}

fn torn(file: &mut File, from: u64) -> io::Result<Option<Torn>> {
    file.seek(SeekFrom::Start(from))?;
    let (mut bytes, mut sha256, mut piece) = (0, Sha256::new(), vec![0; READ]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        sha256.update(piece.get(..read).unwrap_or_default());
    }
    Ok((bytes > 0).then(|| Torn { bytes, sha256: Hash(sha256.finalize().into()) }))
}

/// What stands before a segment: the last record, and the last checkpoint, of the ones before it.
struct Before {
    head: Hash,
    checkpoint: Option<Hash>,
}

fn before(directory: &Path, earlier: &[SegmentName]) -> io::Result<Before> {
    let mut before = Before { head: Hash::ZERO, checkpoint: None };
    for (steps, name) in earlier.iter().rev().enumerate() {
        let end = scan(&mut File::open(directory.join(name.to_string()))?, *name)?;
        if steps == 0 {
            before.head = end.position.head;
        }
        if end.position.checkpoint.is_some() {
            before.checkpoint = end.position.checkpoint;
            break; // nearly always at once: segments end with one
        }
    }
    Ok(before)
}

const READ: usize = 256 << 10;

#[cfg(test)]
mod tests;
