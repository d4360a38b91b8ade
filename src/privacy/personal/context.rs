//! Words near a value that say what it is.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::cursor::Cursor;

/// What the words around a value speak of, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topics(u32);

impl Topics {
    pub const NONE: Self = Self(0);
    pub const PHONE: Self = Self(1);
    pub const PASSPORT: Self = Self(1 << 1);
    pub const DRIVER: Self = Self(1 << 2);
    pub const BANK: Self = Self(1 << 3);
    pub const ROUTING: Self = Self(1 << 4);
    pub const MEDICAL: Self = Self(1 << 5);
    pub const TIME: Self = Self(1 << 6);
    pub const VERSION: Self = Self(1 << 7);
    pub const TAX: Self = Self(1 << 8);
    pub const IDENTITY: Self = Self(1 << 9);
    pub const CARD: Self = Self(1 << 10);
    pub const RECORD: Self = Self(1 << 11);

    pub const fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How far before and after a value its words may stand, in bytes.
pub const BEFORE: usize = 64;
const AFTER: usize = 32;

/// Words in lower case. A word counts where it begins at the beginning of a word.
const WORDS: &[(&str, Topics)] = &[
    ("phone", Topics::PHONE),
    ("telephone", Topics::PHONE),
    ("tel", Topics::PHONE),
    ("telef", Topics::PHONE),
    ("téléphone", Topics::PHONE),
    ("handy", Topics::PHONE),
    ("mobil", Topics::PHONE),
    ("cell", Topics::PHONE),
    ("cep no", Topics::PHONE),
    ("fax", Topics::PHONE),
    ("call me", Topics::PHONE),
    ("call us", Topics::PHONE),
    ("call him", Topics::PHONE),
    ("call her", Topics::PHONE),
    ("call on", Topics::PHONE),
    ("dial", Topics::PHONE),
    ("sms", Topics::PHONE),
    ("whatsapp", Topics::PHONE),
    ("text me", Topics::PHONE),
    ("messages to", Topics::PHONE),
    ("message on", Topics::PHONE),
    ("answering at", Topics::PHONE),
    ("reach me", Topics::PHONE),
    ("reach us", Topics::PHONE),
    ("ring me", Topics::PHONE),
    ("desk", Topics::PHONE),
    ("office", Topics::PHONE),
    ("contact number", Topics::PHONE),
    ("hotline", Topics::PHONE),
    ("passport", Topics::PASSPORT),
    ("travel document", Topics::PASSPORT),
    ("pasaporte", Topics::PASSPORT),
    ("passaporto", Topics::PASSPORT),
    ("passeport", Topics::PASSPORT),
    ("reisepass", Topics::PASSPORT),
    ("여권", Topics::PASSPORT),
    ("driver", Topics::DRIVER),
    ("driving", Topics::DRIVER),
    ("licence", Topics::DRIVER),
    ("license", Topics::DRIVER),
    ("permit", Topics::DRIVER),
    ("dl", Topics::DRIVER),
    ("patente", Topics::DRIVER),
    ("führerschein", Topics::DRIVER),
    ("운전면허", Topics::DRIVER),
    ("account", Topics::BANK),
    ("acct", Topics::BANK),
    ("bank", Topics::BANK),
    ("checking", Topics::BANK),
    ("savings", Topics::BANK),
    ("debit", Topics::BANK),
    ("deposit", Topics::BANK),
    ("iban", Topics::BANK),
    ("konto", Topics::BANK),
    ("routing", Topics::ROUTING),
    ("aba", Topics::ROUTING),
    ("rtn", Topics::ROUTING),
    ("wire", Topics::ROUTING),
    ("transit", Topics::ROUTING),
    ("nhs", Topics::MEDICAL),
    ("npi", Topics::MEDICAL),
    ("dea", Topics::MEDICAL),
    ("patient", Topics::MEDICAL),
    ("medical", Topics::MEDICAL),
    ("medicare", Topics::MEDICAL),
    ("provider", Topics::MEDICAL),
    ("health", Topics::MEDICAL),
    ("doctor", Topics::MEDICAL),
    ("mrn", Topics::RECORD),
    ("medical record", Topics::RECORD),
    ("patient id", Topics::RECORD),
    ("patient number", Topics::RECORD),
    ("patient no", Topics::RECORD),
    ("chart number", Topics::RECORD),
    ("hospital number", Topics::RECORD),
    ("time", Topics::TIME),
    ("epoch", Topics::TIME),
    ("created", Topics::TIME),
    ("updated", Topics::TIME),
    ("expires", Topics::TIME),
    ("date", Topics::TIME),
    ("iat", Topics::TIME),
    ("exp\"", Topics::TIME),
    ("version", Topics::VERSION),
    ("release", Topics::VERSION),
    ("build", Topics::VERSION),
    ("tax", Topics::TAX),
    ("itin", Topics::TAX),
    ("tin", Topics::TAX),
    ("ein", Topics::TAX),
    ("vat", Topics::TAX),
    ("steuer", Topics::TAX),
    ("ssn", Topics::IDENTITY),
    ("social security", Topics::IDENTITY),
    ("national id", Topics::IDENTITY),
    ("national insurance", Topics::IDENTITY),
    ("nino", Topics::IDENTITY),
    ("identity", Topics::IDENTITY),
    ("id card", Topics::IDENTITY),
    ("id number", Topics::IDENTITY),
    ("sin", Topics::IDENTITY),
    ("social insurance", Topics::IDENTITY),
    ("nin", Topics::IDENTITY),
    ("card", Topics::CARD),
    ("visa", Topics::CARD),
    ("mastercard", Topics::CARD),
    ("amex", Topics::CARD),
    ("cc", Topics::CARD),
];

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
        let begin = at.start.saturating_sub(BEFORE);
        // After a value, only what belongs to it: the rest of its line or sentence.
        let end = (at.end + AFTER).min(self.cursor.len());
        let end = (at.end..end).find(|at| matches!(self.cursor.byte(*at), b'\n' | b'.' | b';')).unwrap_or(end);
        self.read_to(begin, end);
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
            let begins = !self.cursor.byte_before(at.start).is_ascii_alphabetic();
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
const LONGEST: usize = 24;
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
