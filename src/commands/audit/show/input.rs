//! Segments, plain or compressed, one line in memory at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Longest line that is read.
const MAX_LINE: u64 = 16 << 20;

/// The segments that `paths` mean: files as they are named, and in folders every `.jsonl` and `.jsonl.zst`, by name. A
/// segment that is there both plain and compressed is read once.
///
/// # Errors
/// Says which path cannot be read.
pub(super) fn segments(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut segments = Vec::new();
    for path in paths {
        let told = |error: io::Error| format!("cannot read {}: {error}", path.display());
        if std::fs::metadata(path).map_err(told)?.is_dir() {
            let before = segments.len();
            in_folder(path, &mut segments).map_err(told)?;
            if segments.len() == before {
                return Err(format!("{} holds no segment of an audit log", path.display()));
            }
        } else {
            segments.push(path.clone());
        }
    }
    Ok(segments)
}

fn in_folder(folder: &Path, segments: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut folders = Vec::new();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // Links are not followed: they could lead in circles.
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        } else if plain(&entry.path()).is_some() {
            found.push(entry.path());
        }
    }
    found.sort();
    // `x.jsonl` sorts right before its copy `x.jsonl.zst`.
    found.dedup_by(|copy, first| plain(copy) == plain(first));
    segments.append(&mut found);
    folders.sort();
    folders.iter().try_for_each(|folder| in_folder(folder, segments))
}

/// The path of the plain segment, if it is one or a copy of one.
fn plain(path: &Path) -> Option<PathBuf> {
    let path = if is_compressed(path) { path.with_extension("") } else { path.to_owned() };
    path.extension().is_some_and(|extension| extension == "jsonl").then_some(path)
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zst")
}

/// Opens a segment.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn open(path: &Path) -> io::Result<Lines<Box<dyn BufRead>>> {
    let file = File::open(path)?;
    let reader: Box<dyn BufRead> = if is_compressed(path) {
        Box::new(BufReader::new(zstd::Decoder::new(file)?))
    } else {
        Box::new(BufReader::new(file))
    };
    Ok(Lines { reader, line: Vec::new(), max: MAX_LINE })
}

/// The lines of a segment.
pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    max: u64,
}

/// What comes next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'l> {
    /// A line, without its newline.
    Line(&'l [u8]),
    /// A line that is longer than any record; it was passed over.
    TooLong,
    /// The segment ends within a line.
    Torn,
    /// The segment ends.
    End,
}

impl<R: BufRead> Lines<R> {
    /// Reads on. After [`Piece::Torn`], [`Piece::End`] and an error there is no more.
    pub(super) fn next(&mut self) -> io::Result<Piece<'_>> {
        self.line.clear();
        let read = (&mut self.reader).take(self.max).read_until(b'\n', &mut self.line)?;
        match self.line.pop() {
            None => Ok(Piece::End),
            Some(b'\n') => Ok(Piece::Line(&self.line)),
            Some(_) if (read as u64) < self.max => Ok(Piece::Torn),
            Some(_) => Ok(if self.reader.skip_until(b'\n')? == 0 { Piece::Torn } else { Piece::TooLong }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_one_by_one_whatever_their_length() {
        let text = b"one\n\nmuch too long\nfour\nfi";
        let mut lines = Lines { reader: &text[..], line: Vec::new(), max: 6 };
        for expected in
            [Piece::Line(b"one"), Piece::Line(b""), Piece::TooLong, Piece::Line(b"four"), Piece::Torn, Piece::End]
        {
            assert_eq!(lines.next().unwrap(), expected);
        }
    }

    #[test]
    fn a_segment_and_its_copy_are_read_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("dt=2026-11-24")).unwrap();
        for name in ["b.jsonl", "b.jsonl.zst", "a.jsonl.zst", "note.txt", "dt=2026-11-24/c.jsonl"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = segments(&[folder.path().to_owned()]).unwrap();
        let names: Vec<_> =
            found.iter().map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.jsonl.zst", "b.jsonl", "dt=2026-11-24/c.jsonl"]);
        assert!(segments(&[folder.path().join("gone")]).unwrap_err().contains("gone"));
    }
}
