//! A text and places in it, without a panic outside of it.

use std::ops::Range;

/// A text that readers look around in by byte offsets. Outside of it all bytes are 0.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'t>(&'t str);

impl<'t> Cursor<'t> {
    pub fn new(text: &'t str) -> Self {
        Self(text)
    }

    pub fn text(self) -> &'t str {
        self.0
    }

    pub fn bytes(self) -> &'t [u8] {
        self.0.as_bytes()
    }

    pub fn len(self) -> usize {
        self.0.len()
    }

    pub fn byte(self, at: usize) -> u8 {
        self.bytes().get(at).copied().unwrap_or_default()
    }

    pub fn byte_before(self, at: usize) -> u8 {
        at.checked_sub(1).map_or(0, |at| self.byte(at))
    }

    pub fn get(self, range: Range<usize>) -> &'t str {
        self.0.get(range).unwrap_or_default()
    }

    /// Where the run of bytes that satisfy `of` and end before `at` begins, at most `most` bytes back.
    pub fn back(self, at: usize, most: usize, of: impl Fn(u8) -> bool) -> usize {
        let mut start = at;
        while at - start < most && start > 0 && of(self.byte(start - 1)) {
            start -= 1;
        }
        start
    }

    /// Where the run of bytes that satisfy `of` and begin at `at` ends, at most `most` bytes on.
    pub fn forth(self, at: usize, most: usize, of: impl Fn(u8) -> bool) -> usize {
        let mut end = at;
        while end - at < most && end < self.len() && of(self.byte(end)) {
            end += 1;
        }
        end
    }
}

/// Whether a byte belongs to a part of a word, as between underscores in identifiers.
pub fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// Whether a byte belongs to a word, as in identifiers.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
