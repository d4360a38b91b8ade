//! Words near a value that say what it is.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::cursor::Cursor;
use super::topics::{Topics, WORDS};

/// How far before and after a value its words may stand, in bytes.
pub const BEFORE: usize = 64;
const AFTER: usize = 32;
/// How far what says that a number is none of people may stand.
const CLOSE: usize = 20;

/// Where words are looked for once a value was found.
static FINDER: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        .kind(Some(AhoCorasickKind::DFA))
        .build(WORDS.iter().map(|(word, _)| word))
        .ok()
});

/// The words of a text that speak of something, looked for once wherever values ask for what is around them.
pub struct Words<'t> {
    cursor: Cursor<'t>,
    /// Where they are and what of, by their ends.
    hits: Vec<(Range<usize>, Topics)>,
    /// The stretch that `hits` is of.
    read: Range<usize>,
}

impl<'t> Words<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { cursor: Cursor::new(text), hits: Vec::new(), read: 0..0 }
    }

    /// What stands around the value at `at`.
    pub fn around(&mut self, at: Range<usize>) -> Topics {
        self.within(at, BEFORE, AFTER)
    }

    /// What stands close to the value at `at`, as a name, a unit or a verb does.
    pub fn close(&mut self, at: Range<usize>) -> Topics {
        self.within(at, CLOSE, CLOSE)
    }

    fn within(&mut self, at: Range<usize>, before: usize, after: usize) -> Topics {
        let begin = at.start.saturating_sub(BEFORE);
        // After a value, only what belongs to it: the rest of its line or sentence.
        let end = (at.end + AFTER).min(self.cursor.len());
        let end = (at.end..end).find(|at| matches!(self.cursor.byte(*at), b'\n' | b'.' | b';')).unwrap_or(end);
        self.read_to(begin, end);
        let (begin, end) = (at.start.saturating_sub(before), end.min(at.end + after));
        let first = self.hits.partition_point(|(hit, _)| hit.end <= begin);
        let near = self.hits.get(first..).unwrap_or_default().iter().take_while(|(hit, _)| hit.end <= end);
        let counts =
            |hit: &Range<usize>| hit.start >= begin && hit.end <= at.start || hit.start >= at.end && hit.len() > 2;
        near.filter(|(hit, _)| counts(hit)).fold(Topics::NONE, |topics, (_, topic)| topics.or(*topic))
    }

    /// Sees to it that the words from `begin` to `end` are known.
    fn read_to(&mut self, begin: usize, end: usize) {
        if !(self.read.start..=self.read.end).contains(&begin) {
            // The next value that asks may begin a little before this one.
            let begin = begin.saturating_sub(BEFORE);
            self.hits.clear();
            self.read = begin..begin;
        }
        let (Some(finder), true) = (FINDER.as_ref(), self.read.end < end) else { return };
        if self.hits.len() > MOST {
            let old = self.hits.partition_point(|(hit, _)| hit.end + 2 * BEFORE <= begin);
            self.hits.drain(..old);
            self.read.start = begin.saturating_sub(BEFORE).max(self.read.start);
        }
        let from = self.read.end.saturating_sub(LONGEST).max(self.read.start);
        let bytes = self.cursor.bytes().get(from..end).unwrap_or_default();
        for hit in finder.find_overlapping_iter(bytes) {
            let at = from + hit.start()..from + hit.end();
            let before = self.cursor.byte_before(at.start);
            let is_hump = before.is_ascii_lowercase() && self.cursor.byte(at.start).is_ascii_uppercase();
            let begins = !before.is_ascii_alphabetic() || is_hump;
            // Of short words nothing may go on, or "sin" would be in "since".
            let ends = hit.len() > 4 || !self.cursor.byte(at.end).is_ascii_alphabetic();
            if begins
                && ends
                && at.end > self.read.end
                && let Some((_, topic)) = WORDS.get(hit.pattern().as_usize())
            {
                self.hits.push((at, *topic));
            }
        }
        self.read.end = end;
    }
}

/// Bytes of the longest word, and words that are kept before those far back are forgotten.
const LONGEST: usize = 32;
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_word_is_longer_than_what_is_read_again() {
        assert!(WORDS.iter().all(|(word, _)| word.len() <= LONGEST));
        assert!(FINDER.is_some());
    }

    proptest! {
        /// What is kept between two values changes nothing.
        #[test]
        fn what_is_around_does_not_depend_on_what_was_asked_before(
            parts in prop::collection::vec(
                prop_oneof![Just("phone "), Just("sin"), Just(" bank. "), Just("tel\n"), Just("medical record 12 "), Just("é  ")],
                0..400,
            ),
            steps in prop::collection::vec((0usize..200, 0usize..40, 0usize..4), 1..60),
        ) {
            let text = parts.concat();
            let (mut words, mut at) = (Words::new(&text), 0);
            for (step, length, back) in steps {
                at = (at + step).saturating_sub(back);
                let range = at.min(text.len())..(at + length).min(text.len());
                prop_assert_eq!(words.around(range.clone()), Words::new(&text).around(range));
            }
        }
    }
}
