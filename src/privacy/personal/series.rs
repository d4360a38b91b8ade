//! Values that are one word or a few with one separator between: `078-05-1120`, `AB 12 34 56 C`, `DE89 3704 ...`.

use std::ops::Range;
use std::sync::LazyLock;

use smallvec::SmallVec;

use super::cursor::{Cursor, is_part, is_word};
use super::nation::{self, Number};
use super::{Found, Kind, Proof, Topics, Words, check};

/// Characters of the longest value, an IBAN.
const LONGEST: usize = 34;

/// The numbers by how many characters they have.
static BY_LENGTH: LazyLock<Vec<Vec<&'static Number>>> = LazyLock::new(|| {
    let of = |length| nation::NUMBERS.iter().filter(|number| number.shape.len() == length).collect();
    (0..=LONGEST).map(of).collect()
});

/// Groups of numbers that only the words beside them name: driving licences, accounts, tax numbers.
const OTHER_GROUPS: &[&[u8]] = &[
    &[4, 3, 2, 3, 1], // Florida
    &[1, 3, 3, 3, 3], // Michigan
    &[4, 4, 4, 2],    // Wisconsin
    &[5, 5, 5],       // Ontario
    &[2, 2, 2, 2],
    &[2, 3, 3, 2],
    &[3, 3, 3, 3],
    &[2, 3, 4, 4],
    &[4, 4, 4, 4],
    &[3, 3, 3, 2], // Brazil
    &[3, 4, 4, 2], // Switzerland
    &[2, 3, 3, 1],
    &[1, 3, 3, 1],    // Uruguay
    &[2, 2, 3, 3, 3], // France
];

/// The groups that some number has, and what they begin with, packed and sorted.
static BEGINNINGS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let all = nation::NUMBERS.iter().flat_map(|number| number.groups).chain(OTHER_GROUPS);
    let mut beginnings: Vec<u64> =
        all.flat_map(|groups| (1..=groups.len()).filter_map(|length| groups.get(..length).map(packed))).collect();
    beginnings.sort_unstable();
    beginnings.dedup();
    beginnings
});

/// The lengths of at most 12 groups as one number.
fn packed(groups: &[u8]) -> u64 {
    groups.iter().fold(1, |packed, length| packed << 5 | u64::from(*length.min(&31)))
}

/// A value as far as it was read.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about how the value is written")]
struct Series {
    /// Its characters without separators, letters in upper case.
    joined: SmallVec<[u8; 36]>,
    groups: SmallVec<[u8; 12]>,
    /// What stands between the groups; 0 where there is one alone.
    separator: u8,
    has_lower: bool,
    /// A lower-case letter stands before an upper-case one, as in no value that somebody typed.
    is_mixed: bool,
    /// A hyphen stands behind groups with dots.
    is_switched: bool,
    /// Its lines were broken within, or one sign separates some groups and another the rest.
    is_broken: bool,
    /// It begins within a word: `card4111...`, `ssn_078051121`.
    is_glued: bool,
    /// An identifier goes on behind it.
    is_name: bool,
    /// A minus sign makes it an amount.
    is_negative: bool,
    /// Some number has these groups.
    is_known: bool,
    /// Another group follows like the last.
    goes_on: bool,
}

/// Adds what begins at `start`, and tells where an account number lies whose check digits are wrong, for no part of it is
/// another value.
pub fn find(
    cursor: Cursor<'_>,
    start: usize,
    is_glued: bool,
    words: &mut Words<'_>,
    found: &mut Vec<Found>,
) -> Option<Range<usize>> {
    if goes_back(cursor, start) {
        return None;
    }
    let mut series = Series {
        joined: SmallVec::new(),
        groups: SmallVec::new(),
        separator: 0,
        has_lower: false,
        is_mixed: false,
        is_switched: false,
        is_broken: false,
        is_glued,
        is_name: false,
        is_negative: cursor.byte_before(start) == b'-' && start > 1 && b" \t,([{=".contains(&cursor.byte(start - 2)),
        is_known: true,
        goes_on: false,
    };
    let mut at = start;
    let mut topics = None;
    let is_after_number = cursor.byte_before(start) == b' ' && start > 1 && cursor.byte(start - 2).is_ascii_digit();
    loop {
        let end = cursor.forth(at, LONGEST + 1, is_part);
        let word = cursor.get(at..end).as_bytes();
        if word.is_empty() || series.joined.len() + word.len() > LONGEST {
            return None;
        }
        series.has_lower |= word.iter().any(u8::is_ascii_lowercase);
        series.is_mixed |= word.windows(2).any(|pair| matches!(pair, [b'a'..=b'z', b'A'..=b'Z']));
        series.joined.extend(word.iter().map(u8::to_ascii_uppercase));
        series.groups.push(u8::try_from(word.len()).unwrap_or(u8::MAX));
        // Between groups of another value, such as an IBAN, any four digits in a row look like some number's.
        let is_inside =
            series.groups.len() > 1 && series.joined.len() < 13 && series.separator == b' ' && is_after_number;
        let iban = nation::iban_length(&series.joined);
        series.is_known = series.groups.len() == 1 || BEGINNINGS.binary_search(&packed(&series.groups)).is_ok();
        if series.groups.len() > 3 && !series.is_known && iban.is_none() {
            return None;
        }
        let gap = gap(cursor, end);
        let next = gap.filter(|_| series.groups.len() < 12).filter(|gap| series.takes(gap));
        if series.joined.len() > 5 && !is_inside && !goes_on(cursor, end) {
            let follows = next.map_or(0, |gap| cursor.forth(gap.end, LONGEST, |byte| byte.is_ascii_digit()) - gap.end);
            series.is_name = cursor.byte(end) == b'_';
            series.goes_on = follows > 0 && series.groups.last().is_some_and(|last| usize::from(*last) == follows);
            let topics = &mut || *topics.get_or_insert_with(|| (words.around(start..end), words.close(start..end)));
            let mut is_found = false;
            series.evaluate(topics, |kind, proof| {
                is_found = true;
                found.push(Found { range: start..end, kind, proof });
            });
            let has_rest = series.groups.len() > 3 && series.groups.iter().rev().skip(1).all(|group| *group == 4);
            if iban == Some(series.joined.len()) && has_rest && !is_found {
                return series.joined.get(4..).filter(|rest| !is_card(rest)).map(|_| start..end);
            }
        }
        let next = next?;
        series.is_switched |= (series.separator, next.separator) == (b'.', b'-');
        series.is_broken |=
            matches!((series.separator, next.separator), (b' ', b'-') | (b'-', b' ')) && !next.is_broken;
        series.separator = next.separator;
        series.is_broken |= next.is_broken;
        at = next.end;
    }
}

/// What stands between two groups.
#[derive(Clone, Copy)]
struct Gap {
    separator: u8,
    end: usize,
    is_broken: bool,
}

/// The gap that begins at `at`: blanks, a sign, a hyphen or a slash between blanks, or the end of a line with what begins the next
/// one.
fn gap(cursor: Cursor<'_>, at: usize) -> Option<Gap> {
    let blanks = |at: usize| cursor.forth(at, 2, |byte| byte == b' ');
    let next = cursor.byte(at);
    let (separator, end, is_broken) = match next {
        b' ' => match cursor.byte(blanks(at)) {
            sign @ (b'-' | b'/') => (sign, blanks(blanks(at) + 1), false),
            _ => (b' ', blanks(at), false),
        },
        b'-' | b'.' | b'_' | b'/' => (next, at + 1, false),
        b'\r' | b'\n' => {
            let line = if cursor.get(at..at + 2) == "\r\n" { at + 2 } else { at + 1 };
            (b' ', cursor.forth(line, 8, |byte| b" \t>#*|/".contains(&byte)), true)
        }
        _ => return None,
    };
    is_part(cursor.byte(end)).then_some(Gap { separator, end, is_broken })
}

/// Whether the value would be the rest of a longer one: a date, a UUID, a decimal fraction.
fn goes_back(cursor: Cursor<'_>, start: usize) -> bool {
    let Some(before) = start.checked_sub(1) else { return false };
    match cursor.byte(before) {
        b'-' | b'/' => {
            let word = cursor.back(before, 12, is_word);
            cursor.get(word..before).bytes().any(|byte| byte.is_ascii_digit())
        }
        b'.' => cursor.byte_before(before).is_ascii_digit(),
        b'+' | b'$' => true,
        _ => false,
    }
}

/// Whether more of the value follows than was read.
fn goes_on(cursor: Cursor<'_>, end: usize) -> bool {
    matches!(cursor.byte(end), b'-' | b'.' | b'/' | b'@') && cursor.byte(end + 1).is_ascii_digit()
}

impl Series {
    /// Whether the gap may stand in this value: the same as before, once the end of a line, a hyphen behind groups with dots.
    fn takes(&self, gap: &Gap) -> bool {
        if gap.is_broken {
            return !self.is_broken && matches!(self.separator, 0 | b' ');
        }
        matches!((self.separator, gap.separator), (0, _) | (b'.' | b' ', b'-') | (b'-', b' '))
            || self.separator == gap.separator
    }

    /// Tells what the value may be, `topics` being what stands around it and close to it.
    fn evaluate(&self, topics: &mut dyn FnMut() -> (Topics, Topics), mut add: impl FnMut(Kind, Proof)) {
        let (joined, groups) = (self.joined.as_slice(), self.groups.as_slice());
        // The country is not written apart from its first character, nor a letter apart from its word.
        let in_fours = groups.split_last().is_none_or(|(_, groups)| groups.iter().all(|group| *group == 4));
        let is_iban =
            groups.first() > Some(&1) && !self.is_mixed && (in_fours || matches!(self.separator, b' ' | b'-'));
        if is_iban && nation::iban_length(joined) == Some(joined.len()) && check::mod97(joined) {
            add(Kind::IBAN, Proof::Checked);
        }
        let is_number = joined.iter().all(u8::is_ascii_digit);
        // A hyphen stands before the last letter or digits of check alone.
        if self.is_switched && groups.last() > Some(&2) {
            return;
        }
        if self.is_broken || self.separator == b'_' {
            let is_grouped = nation::NUMBERS
                .iter()
                .any(|number| number.kind == Kind::CREDIT_CARD && number.groups.contains(&groups));
            if is_number && is_grouped && is_card(joined) {
                add(Kind::CREDIT_CARD, Proof::Checked);
            }
            return;
        }
        let numbers = BY_LENGTH.get(joined.len()).into_iter().flatten().filter(|_| self.is_known);
        for number in numbers.filter(|number| has_shape(number, joined)) {
            if self.is_grouped(number, topics) && (number.check)(joined) && self.is_named(number, is_number, topics) {
                add(number.kind, number.proof);
            }
        }
        if self.separator != b'/' || groups.len() == 1 {
            self.evaluate_named(is_number, topics, &mut add);
        }
        let is_tax = joined.len() >= 8 && joined.iter().filter(|byte| byte.is_ascii_digit()).count() >= 7;
        if is_tax
            && !self.is_glued
            && !joined.starts_with(b"0X")
            && joined.len() <= 14
            && groups.len() <= 5
            && !self.is_date()
            && topics().0.has(Topics::TAX)
        {
            add(Kind::TAX_NUMBER, Proof::Hinted);
        }
    }

    /// What only the words beside it name.
    fn evaluate_named(
        &self,
        is_number: bool,
        topics: &mut dyn FnMut() -> (Topics, Topics),
        add: &mut impl FnMut(Kind, Proof),
    ) {
        let (joined, groups) = (self.joined.as_slice(), self.groups.len());
        if (12..=19).contains(&joined.len())
            && is_number
            && groups == 1
            && check::luhn(joined)
            && topics().0.has(Topics::CARD)
        {
            add(Kind::CREDIT_CARD, Proof::Shaped);
        }
        // A word in lower case before a group is no part of the value.
        let is_apart = self.has_lower && groups > 1;
        let is_zip = self.groups.as_slice() == [5, 4];
        if self.is_date()
            || is_zip
            || is_apart
            || groups > 5
            || self.is_glued
            || self.is_name
            || joined.starts_with(b"0X")
        {
            return;
        }
        let digits = joined.iter().filter(|byte| byte.is_ascii_digit()).count();
        let letters = joined.len() - digits;
        if digits >= 6 && letters <= 3 && (7..=14).contains(&joined.len()) && topics().0.has(Topics::NATIONAL) {
            add(Kind::NATIONAL_ID, Proof::Hinted);
        }
        let is_mac = groups == 1 && joined.len() == 12 && joined.iter().all(u8::is_ascii_hexdigit);
        if is_mac && topics().0.has(Topics::NETWORK) {
            add(Kind::MAC_ADDRESS, Proof::Hinted);
        }
        // Numbers with dots are versions and amounts more often than what follows.
        if self.is_switched || self.separator == b'.' && groups > 1 {
            return;
        }
        if digits >= 6
            && letters <= 3
            && (8..=10).contains(&joined.len())
            && groups <= 3
            && topics().0.has(Topics::PASSPORT)
        {
            add(Kind::PASSPORT, Proof::Hinted);
        }
        if is_number && (7..=17).contains(&joined.len()) && topics().0.has(Topics::BANK) {
            add(Kind::US_BANK_NUMBER, Proof::Hinted);
        }
        let leading = joined.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let is_plain = leading == letters && leading <= 2 && (6..=14).contains(&joined.len()) && groups <= 3;
        let is_licence = !self.has_lower
            && digits >= 5
            && letters <= if groups > 1 { leading.min(2) } else { 5 }
            && (7..=17).contains(&joined.len());
        if (is_plain || is_licence) && topics().0.has(Topics::DRIVER) {
            add(Kind::US_DRIVER_LICENSE, Proof::Hinted);
        }
    }

    /// Whether the value is written in groups as the number is.
    fn is_grouped(&self, number: &Number, topics: &mut dyn FnMut() -> (Topics, Topics)) -> bool {
        let is_slashed = self.separator == b'/';
        match self.groups.len() {
            1 => number.kind != Kind::KR_DRIVER_LICENSE || topics().0.has(Topics::DRIVER),
            _ if is_slashed && !matches!(number.kind, Kind::US_SSN | Kind::US_ITIN) => false,
            // Of a longer row of equal groups it would be the beginning; a card has other digits behind it.
            groups if self.goes_on && number.kind != Kind::CREDIT_CARD && groups > 2 => number
                .groups
                .iter()
                .any(|groups| **groups == *self.groups && groups.iter().any(|group| Some(group) != groups.last())),
            _ => number.groups.contains(&self.groups.as_slice()),
        }
    }

    /// Whether the words around it let the value be the number.
    fn is_named(&self, number: &Number, is_number: bool, topics: &mut dyn FnMut() -> (Topics, Topics)) -> bool {
        if number.kind == Kind::CREDIT_CARD {
            return true;
        }
        // A looser shape in lower case is a word of code more often than a value.
        let needs = match number.needs {
            Topics::NONE if self.has_lower && number.proof == Proof::Hinted => Topics::PASSPORT.or(Topics::DRIVER),
            Topics::NONE if self.is_glued && (number.proof != Proof::Checked || self.joined.len() < 11) => {
                Topics::NAMING
            }
            needs => needs,
        };
        if needs != Topics::NONE {
            return topics().0.has(needs);
        }
        // Without groups of its own, what is close to it may say that it is a size or a time, or another document.
        let (around, close) = if self.groups.len() == 1 { topics() } else { (Topics::NONE, Topics::NONE) };
        let is_other = match number.kind {
            Kind::UK_PASSPORT => around.has(Topics::MEDICAL) && !around.has(Topics::PASSPORT),
            _ => is_number && (self.is_negative || close.has(Topics::QUANTITY)) && !around.has(Topics::NAMING),
        };
        !is_other
    }

    /// Whether the groups are a date's.
    fn is_date(&self) -> bool {
        let year = |at: usize| matches!(self.joined.get(at..at + 2), Some(b"19" | b"20"));
        match self.groups.as_slice() {
            [4, 2, 2, ..] => year(0),
            [4, 4] => year(0) && year(4),
            [2, 2, 4] => year(4),
            [8] => year(0) && check::is_yymmdd(self.joined.get(2..).unwrap_or_default()),
            _ => false,
        }
    }
}

/// Whether the characters are of the number's classes: `9` a digit, `A` a letter, `*` either.
fn has_shape(number: &Number, joined: &[u8]) -> bool {
    number.shape.len() == joined.len()
        && number.shape.bytes().zip(joined).all(|(class, byte)| match class {
            b'9' => byte.is_ascii_digit(),
            b'A' => byte.is_ascii_uppercase(),
            _ => true,
        })
}

/// Whether the number is a payment card's: the issuer's range and length (ISO/IEC 7812) and the check digit.
pub fn is_card(number: &[u8]) -> bool {
    let prefix = |length: usize| number.get(..length).map_or(0, check::number);
    let (two, three, four) = (prefix(2), prefix(3), prefix(4));
    let lengths = match (two, three, four) {
        (40..=49, ..) => [13, 16, 19].as_slice(),
        (51..=55, ..) | (_, _, 2221..=2720 | 2200..=2204 | 9792) => &[16],
        (34 | 37 | 10..=19, ..) | (_, _, 2131) => &[15],
        (_, 300..=305, ..) | (_, _, 3095) | (36 | 38 | 39, ..) => &[14, 16, 17, 18, 19],
        (35, ..) => &[16, 17, 18, 19],
        (50 | 56..=69 | 81 | 82, ..) => &[12, 13, 14, 15, 16, 17, 18, 19],
        _ => &[],
    };
    lengths.contains(&number.len()) && check::luhn(number) && !check::is_one_digit(number)
}
