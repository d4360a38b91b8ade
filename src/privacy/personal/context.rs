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

/// What stands around the value at `at`.
pub fn around(cursor: Cursor<'_>, at: Range<usize>) -> Topics {
    let before = topics(cursor, at.start.saturating_sub(BEFORE)..at.start, |_| true);
    // After a value, only what belongs to it: the rest of its line or sentence.
    let end = (at.end + AFTER).min(cursor.len());
    let end = (at.end..end).find(|at| matches!(cursor.byte(*at), b'\n' | b'.' | b';')).unwrap_or(end);
    let after = topics(cursor, at.end..end, |at| at.len() > 2);
    before.or(after)
}

fn topics(cursor: Cursor<'_>, range: Range<usize>, takes: impl Fn(Range<usize>) -> bool) -> Topics {
    let Some((finder, bytes)) = FINDER.as_ref().zip(cursor.bytes().get(range.clone())) else { return Topics::NONE };
    let mut topics = Topics::NONE;
    for hit in finder.find_overlapping_iter(bytes) {
        let begins = !cursor.byte_before(range.start + hit.start()).is_ascii_alphabetic();
        // Of short words nothing may go on, or "sin" would be in "since".
        let ends = hit.len() > 4 || !cursor.byte(range.start + hit.end()).is_ascii_alphabetic();
        if begins
            && ends
            && takes(hit.range())
            && let Some((_, topic)) = WORDS.get(hit.pattern().as_usize())
        {
            topics = topics.or(*topic);
        }
    }
    topics
}
