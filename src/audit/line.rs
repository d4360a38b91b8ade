//! A line of a chain: `{"seq":N,"prev":"<64 hex>",` and then the members of what is recorded, `event` first.

use std::io::{self, BufRead};

use super::hash::Hash;
use super::segment::MAX_LINE;

/// What every line begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The record's number: one more than that of the record before.
    pub seq: u64,
    /// The hash of the record before.
    pub prev: Hash,
}

impl Head {
    /// Reads the head of a line; also what follows it, up to the end of the object.
    pub fn parse(line: &[u8]) -> Option<(Self, &[u8])> {
        let rest = line.strip_prefix(SEQ)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = rest.split_at_checked(digits)?;
        if digits.len() > 20 || digits.first() == Some(&b'0') {
            return None; // one number, one spelling
        }
        let seq = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let (prev, rest) = rest.strip_prefix(PREV)?.split_at_checked(64)?;
        let rest = rest.strip_prefix(END)?;
        (rest.last() == Some(&b'}')).then_some((Self { seq, prev: Hash::parse(prev)? }, rest))
    }

    /// Appends the line of `record`, a JSON object that has a member, and its newline; gives the line's hash.
    pub fn splice(self, record: &[u8], lines: &mut Vec<u8>) -> Hash {
        let start = lines.len();
        lines.extend_from_slice(SEQ);
        lines.extend_from_slice(itoa(self.seq, &mut [0; 20]));
        lines.extend_from_slice(PREV);
        self.prev.append_to(lines);
        lines.extend_from_slice(END);
        lines.extend_from_slice(record.get(1..).unwrap_or_default());
        let hash = Hash::of_record(lines.get(start..).unwrap_or_default());
        lines.push(b'\n');
        hash
    }
}

/// What a line records, by the value of its first member.
pub(super) fn event(rest: &[u8]) -> Option<&[u8]> {
    let value = rest.strip_prefix(b"\"event\":\"")?;
    value.get(..memchr::memchr(b'"', value)?)
}

pub(super) fn itoa(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        (number, start) = (number / 10, start - 1);
        if number == 0 {
            break;
        }
    }
    digits.get(start..).unwrap_or_default()
}

const SEQ: &[u8] = b"{\"seq\":";
const PREV: &[u8] = b",\"prev\":\"";
const END: &[u8] = b"\",";

/// The lines of a file, one in memory at a time.
pub(super) struct Lines<R> {
    file: R,
    line: Vec<u8>,
    /// Bytes of the whole lines so far.
    pub(super) whole: u64,
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'l> {
    /// A line, without its newline.
    Line(&'l [u8]),
    /// The file ends within a line, after this much of it.
    Torn(&'l [u8]),
    /// A line is longer than any record.
    Endless,
    /// The file ends.
    End,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(file: R) -> Self {
        Self { file, line: Vec::new(), whole: 0 }
    }

    /// Reads on. After anything but a line there is nothing more to ask for.
    pub(super) fn next(&mut self) -> io::Result<Piece<'_>> {
        self.line.clear();
        loop {
            let available = match self.file.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let newline = memchr::memchr(b'\n', available);
            let taken = available.get(..newline.unwrap_or(available.len())).unwrap_or_default();
            if self.line.len() + taken.len() > MAX_LINE {
                return Ok(Piece::Endless);
            }
            let is_end = available.is_empty();
            self.line.extend_from_slice(taken);
            let read = taken.len() + usize::from(newline.is_some());
            self.file.consume(read);
            if newline.is_some() {
                self.whole += self.line.len() as u64 + 1;
                return Ok(Piece::Line(&self.line));
            }
            if is_end {
                return Ok(if self.line.is_empty() { Piece::End } else { Piece::Torn(&self.line) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_spliced() {
        let prev = Hash::of_bytes(b"before");
        for seq in [1, 10, 999, u64::MAX] {
            let mut lines = Vec::new();
            let hash = Head { seq, prev }.splice(b"{\"event\":\"begin\",\"n\":1}", &mut lines);
            let line = lines.strip_suffix(b"\n").unwrap();
            assert_eq!(hash, Hash::of_record(line));
            let (head, rest) = Head::parse(line).unwrap();
            assert_eq!((head, rest), (Head { seq, prev }, &b"\"event\":\"begin\",\"n\":1}"[..]));
            assert_eq!(event(rest), Some(&b"begin"[..]));
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            assert_eq!((value["seq"].as_u64(), value["n"].as_u64()), (Some(seq), Some(1)));
        }
    }

    #[test]
    fn a_head_has_one_spelling() {
        let zeros = "0".repeat(64);
        for line in [
            String::new(),
            format!("{{\"seq\":01,\"prev\":\"{zeros}\",\"event\":\"x\"}}"),
            format!("{{\"seq\":,\"prev\":\"{zeros}\",\"event\":\"x\"}}"),
            format!("{{\"seq\":99999999999999999999,\"prev\":\"{zeros}\",\"event\":\"x\"}}"),
            format!("{{\"seq\":1, \"prev\":\"{zeros}\",\"event\":\"x\"}}"),
            format!("{{\"seq\":1,\"prev\":\"{}\",\"event\":\"x\"}}", "0".repeat(63)),
            format!("{{\"seq\":1,\"prev\":\"{}\",\"event\":\"x\"}}", "A".repeat(64)),
            format!("{{\"seq\":1,\"prev\":\"{zeros}\",\"event\":\"x\""),
            format!("{{\"seq\":1,\"prev\":\"{zeros}\"}}"),
        ] {
            assert_eq!(Head::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn lines_are_the_same_however_they_are_read() {
        let text = b"one\n\nthree\nto";
        for capacity in 1..=text.len() {
            let mut lines = Lines::new(io::BufReader::with_capacity(capacity, &text[..]));
            for line in [&b"one"[..], b"", b"three"] {
                assert_eq!(lines.next().unwrap(), Piece::Line(line));
            }
            assert_eq!(lines.next().unwrap(), Piece::Torn(b"to"));
            assert_eq!(lines.whole, 11);
        }
        assert_eq!(Lines::new(&b""[..]).next().unwrap(), Piece::End);
        let endless = io::Read::take(io::repeat(b'x'), 1 << 40);
        assert_eq!(Lines::new(io::BufReader::new(endless)).next().unwrap(), Piece::Endless);
    }
}
