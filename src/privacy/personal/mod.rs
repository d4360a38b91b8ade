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
mod topics;

use std::ops::Range;

use super::Kind;
use super::masker::Found;
use super::rule::{Proof, Rule};
use context::Words;
use cursor::{Cursor, is_part, is_word};
use topics::Topics;

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
                "geburtstag",
                "geb.",
                "naissance",
                "né le",
                "née le",
                "nacimiento",
                "nacid",
                "nascita",
                "nato il",
                "nata il",
                "geboorte",
                "nascimento",
                "nascid",
                "생년월일",
            ],
            // The months in English, German, French, Spanish, Italian, Dutch, Portuguese.
            r"(?ix)(?-u:\b)(?:
                [0-9]{1,2}[-/.\ ]\ ?[0-9]{1,2}[-/.\ ]\ ?(?:19|20)?[0-9]{2}
                | (?:19|20)[0-9]{2}[-/.\ ][0-9]{1,2}[-/.\ ][0-9]{1,2}
                | (?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])
                | (?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?[\ \t\r\n][0-9]{1,2}(?:st|nd|rd|th)?,?[\ \t\r\n](?:19|20)[0-9]{2}
                | [0-9]{1,2}(?:st|nd|rd|th|er|º|ª|°)?\.?[-\ \t\r\n](?:(?:of|de|di|do)[\ \t\r\n])?
                    (?:jan|gen|ene|feb|fe[vb]|fév|mar|mär|maa|mrt|apr|avr|abr|may|mai|mag|mei|jun|jui|juin|giu|jul|lug|aug|ago|aoû|sep|set|o[ckut]t|out|nov|de[cz]|dé[cz]|dic)
                    [a-zäéèûçô]{0,7}\.?,?[-\ \t\r\n](?:de[\ \t\r\n]|del[\ \t\r\n])?(?:19|20)[0-9]{2}
            )(?:T[0-9:.]{5,15}(?:Z|[-+][0-9:]{4,5})?)?(?-u:\b)",
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
            &[
                "mrn",
                "medical record",
                "medicalrecord",
                "medical_record",
                "patient id",
                "patientid",
                "patient_id",
                "patient number",
                "patient no",
                "chart number",
                "hospital number",
                "patientennummer",
                "patienten-nr",
                "numéro de patient",
                "dossier médical",
                "historia clínica",
                "número de paciente",
                "cartella clinica",
                "numero paziente",
                "patiëntnummer",
                "número do paciente",
                "processo clínico",
            ],
            r"(?-u:\b)[A-Z]{0,3}-?[0-9](?:[ -]?[0-9]){4,13}(?-u:\b)",
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
    let mut pass = Pass { words: Words::new(text), broken: None };
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
                    find_word(cursor, start, end, &mut pass, found);
                }
                at = end;
                continue;
            }
        }
        at += 1;
    }
}

/// What one pass over a text knows.
struct Pass<'t> {
    words: Words<'t>,
    /// Where the last account number lies whose check digits are wrong.
    broken: Option<Range<usize>>,
}

fn gives_away(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'@' | b':' | b'-')
}

/// What begins with the word at `start..end`, which has a digit, or within it behind an underscore.
fn find_word<'t>(cursor: Cursor<'t>, start: usize, end: usize, pass: &mut Pass<'t>, found: &mut Vec<Found>) {
    if end - start > 20 {
        crypto::find(cursor, start..end, found);
    }
    let mut at = start;
    while at < end {
        let to = cursor.forth(at, end - at, is_part);
        if cursor.get(at..to).bytes().any(|byte| byte.is_ascii_digit()) {
            find_part(cursor, at, to, pass, found);
        }
        at = to + 1;
    }
}

/// What begins with the part of a word at `start..end`, which has a digit.
fn find_part<'t>(cursor: Cursor<'t>, start: usize, end: usize, pass: &mut Pass<'t>, found: &mut Vec<Found>) {
    let is_glued = cursor.byte_before(start) == b'_';
    let is_broken = pass.broken.as_ref().is_some_and(|broken| broken.start < start && start < broken.end);
    if end - start <= 64 && !is_broken {
        let letters = cursor.forth(start, end - start, |byte| byte.is_ascii_alphabetic()) - start;
        for at in beginnings(cursor, start, letters).into_iter().flatten() {
            pass.broken =
                series::find(cursor, at, is_glued || at > start, &mut pass.words, found).or(pass.broken.take());
        }
    }
    if cursor.byte(start).is_ascii_digit() && !is_glued {
        if !is_broken {
            phone::find(cursor, start, &mut pass.words, found);
        }
        address::find_v4(cursor, start, &mut pass.words, found);
    }
    address::find_cisco_mac(cursor, start, end, found);
}

/// Where a value may begin that the part of a word at `start` belongs to, which begins with so many letters.
fn beginnings(cursor: Cursor<'_>, start: usize, letters: usize) -> [Option<usize>; 4] {
    // A few letters may be a group of their own: "AB 12 34 56 C", "DE 136 695 976", "MORGA 753116 SM9IJ".
    let mut before = None;
    if matches!(cursor.byte_before(start), b' ' | b'-') {
        let at = cursor.back(start - 1, 6, is_word);
        let is_group = matches!(start - 1 - at, 1 | 2 | 5);
        before = (is_group && cursor.get(at..start - 1).bytes().all(|byte| byte.is_ascii_alphabetic())).then_some(at);
    }
    // The blank may be missing: "is199003052397", "SSN078051121", "IBANDE89...".
    let word = cursor.get(start..start + letters);
    let is_word = letters >= 3 || letters == 2 && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let apart = is_word.then_some(start + letters);
    let account = (letters >= 4).then(|| start + letters - 2);
    [before, Some(start), apart, account]
}
