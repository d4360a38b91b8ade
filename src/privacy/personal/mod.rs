//! Detectors of data of people.
//!
//! All of it has a digit, an `@`, a `:` or a `-` between hexadecimal digits, so one scan for these finds every place. A value of
//! several groups is read from its first character, over a bounded stretch.

mod account;
mod address;
mod check;
mod context;
mod crypto;
mod cursor;
mod email;
mod nation;
mod phone;
mod series;

use super::Kind;
use super::masker::Found;
use super::rule::{Proof, Rule};
use context::{Topics, Words};
use cursor::{Cursor, is_word};

/// The rules for data of people that a literal gives away.
pub(super) const RULES: &[Rule] = &[
    Rule {
        reach: 24,
        longest: 48,
        check: |value| value.bytes().filter(u8::is_ascii_digit).count() >= 3,
        proof: Proof::Hinted,
        ..Rule::new(
            Kind::DATE_OF_BIRTH,
            "date of birth",
            &[
                "birth",
                "dob",
                "born",
                "d.o.b",
                "geboren",
                "geburtsdatum",
                "naissance",
                "nacimiento",
                "nascita",
                "생년월일",
            ],
            r"(?ix)\b(?:
                \d{1,2}[-/.\ ]\d{1,2}[-/.\ ](?:19|20)?\d{2}
                | (?:19|20)\d{2}[-/.\ ]\d{1,2}[-/.\ ]\d{1,2}
                | (?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?\s\d{1,2}(?:st|nd|rd|th)?,?\s(?:19|20)\d{2}
                | \d{1,2}(?:st|nd|rd|th)?\s(?:of\s)?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?,?\s(?:19|20)\d{2}
            )\b",
        )
    },
    Rule {
        reach: 16,
        longest: 32,
        check: |value| value.bytes().filter(u8::is_ascii_digit).count() >= 4,
        proof: Proof::Shaped,
        ..Rule::new(
            Kind::MEDICAL_RECORD_NUMBER,
            "medical record number",
            &["mrn", "medical record", "patient id", "patient number", "patient no", "chart number", "hospital number"],
            r"\b[A-Z]{0,3}-?[0-9][0-9-]{3,12}[0-9]\b",
        )
    },
];

/// A word longer than this is no value: text in base64, a hash, a run of digits.
const LONGEST_WORD: usize = 128;

/// How far before and after the place that gives it away a value and the words that say what it is may lie.
pub(super) const FURTHEST: usize = 512;

/// Adds whatever of people's data is in the text, overlaps included.
pub(super) fn find(text: &str, found: &mut Vec<Found>) {
    let cursor = Cursor::new(text);
    let mut words = Words::new(text);
    let mut at = 0;
    while let Some(offset) = cursor.bytes().get(at..).and_then(|rest| rest.iter().position(|byte| gives_away(*byte))) {
        at += offset;
        match cursor.byte(at) {
            b'@' => email::find(cursor, at, found),
            b':' => {
                address::find_v6(cursor, at, found);
                address::find_mac(cursor, at, found);
                account::find_url_credentials(cursor, at, found);
            }
            b'-' => address::find_mac(cursor, at, found),
            _ => {
                let start = cursor.back(at, LONGEST_WORD, is_word);
                let end = cursor.forth(at, cursor.len(), is_word);
                if end - start < LONGEST_WORD {
                    find_word(cursor, start, end, &mut words, found);
                }
                at = end;
                continue;
            }
        }
        at += 1;
    }
}

fn gives_away(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'@' | b':' | b'-')
}

/// What begins with the word at `start..end`, which has a digit.
fn find_word<'t>(cursor: Cursor<'t>, start: usize, end: usize, words: &mut Words<'t>, found: &mut Vec<Found>) {
    if end - start > 20 {
        crypto::find(cursor, start..end, found);
    }
    if end - start <= 34 {
        series::find(cursor, start, words, found);
        // One or two letters may be a group of their own: "AB 12 34 56 C", "DE 136 695 976".
        if matches!(cursor.byte_before(start), b' ' | b'-') {
            let before = cursor.back(start - 1, 3, is_word);
            if (1..=2).contains(&(start - 1 - before))
                && cursor.get(before..start - 1).bytes().all(|byte| byte.is_ascii_alphabetic())
            {
                series::find(cursor, before, words, found);
            }
        }
    }
    if cursor.byte(start).is_ascii_digit() {
        phone::find(cursor, start, words, found);
        address::find_v4(cursor, start, words, found);
    }
    address::find_cisco_mac(cursor, start, end, found);
}
