//! Values that are one word or a few with one separator between: `078-05-1120`, `AB 12 34 56 C`, `DE89 3704 ...`.

use std::sync::LazyLock;

use smallvec::SmallVec;

use super::cursor::{Cursor, is_word};
use super::nation::{self, Number};
use super::{Found, Kind, Proof, Topics, Words, check};

/// Characters of the longest value, an IBAN.
const LONGEST: usize = 34;

/// The numbers by how many characters they have.
static BY_LENGTH: LazyLock<Vec<Vec<&'static Number>>> = LazyLock::new(|| {
    let of = |length| nation::NUMBERS.iter().filter(|number| number.shape.len() == length).collect();
    (0..=LONGEST).map(of).collect()
});

/// The groups that some number has, and what they begin with, packed and sorted.
static BEGINNINGS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let all = nation::NUMBERS.iter().flat_map(|number| number.groups);
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

/// Adds what begins with the word at `start`.
pub fn find(cursor: Cursor<'_>, start: usize, words: &mut Words<'_>, found: &mut Vec<Found>) {
    if goes_back(cursor, start) {
        return;
    }
    let mut joined: SmallVec<[u8; 36]> = SmallVec::new();
    let mut groups: SmallVec<[u8; 12]> = SmallVec::new();
    let (mut at, mut separator, mut has_lower) = (start, None, false);
    let mut topics = None;
    let is_after_number = cursor.byte_before(start) == b' ' && start > 1 && cursor.byte(start - 2).is_ascii_digit();
    loop {
        let end = cursor.forth(at, LONGEST + 1, is_word);
        let word = cursor.get(at..end).as_bytes();
        if word.is_empty() || joined.len() + word.len() > LONGEST || word.contains(&b'_') {
            return;
        }
        has_lower |= word.iter().any(u8::is_ascii_lowercase);
        joined.extend(word.iter().map(u8::to_ascii_uppercase));
        groups.push(u8::try_from(word.len()).unwrap_or(u8::MAX));
        // Between groups of another value, such as an IBAN, any four digits in a row look like some number's.
        let is_inside = groups.len() > 1 && joined.len() < 13 && separator == Some(b' ') && is_after_number;
        let may_be_iban = nation::iban_length(&joined).is_some();
        let is_known = groups.len() == 1 || BEGINNINGS.binary_search(&packed(&groups)).is_ok();
        if groups.len() > 3 && !is_known && !may_be_iban {
            return;
        }
        if joined.len() > 5 && !is_inside && !goes_on(cursor, end) {
            let topics = &mut || *topics.get_or_insert_with(|| words.around(start..end));
            evaluate(&joined, &groups, is_known, has_lower, topics, |kind, proof| {
                found.push(Found { range: start..end, kind, proof });
            });
        }
        let next = cursor.byte(end);
        if !matches!(next, b' ' | b'-' | b'.') || *separator.get_or_insert(next) != next || groups.len() > 11 {
            return;
        }
        at = end + 1;
    }
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

fn evaluate(
    joined: &[u8],
    groups: &[u8],
    is_known: bool,
    has_lower: bool,
    topics: &mut dyn FnMut() -> Topics,
    mut add: impl FnMut(Kind, Proof),
) {
    if nation::iban_length(joined) == Some(joined.len()) && check::mod97(joined) {
        add(Kind::IBAN, Proof::Checked);
    }
    let numbers = BY_LENGTH.get(joined.len()).into_iter().flatten().filter(|_| is_known);
    for number in numbers.filter(|number| has_shape(number, joined)) {
        let is_grouped = match groups.len() {
            1 => number.kind != Kind::KR_DRIVER_LICENSE || topics().has(Topics::DRIVER),
            _ => number.groups.contains(&groups),
        };
        if !is_grouped || !(number.check)(joined) {
            continue;
        }
        // A looser shape in lower case is a word of code more often than a value.
        let needs = match number.needs {
            Topics::NONE if has_lower && number.proof == Proof::Hinted => Topics::PASSPORT.or(Topics::DRIVER),
            needs => needs,
        };
        if needs == Topics::NONE || topics().has(needs) {
            add(number.kind, number.proof);
        }
    }
    let digits = (12..=19).contains(&joined.len()) && joined.iter().all(u8::is_ascii_digit);
    if digits && groups.len() == 1 && check::luhn(joined) && topics().has(Topics::CARD) {
        add(Kind::CREDIT_CARD, Proof::Shaped);
    }
    let is_number = joined.iter().all(u8::is_ascii_digit);
    let letters = joined.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let is_lettered = letters <= 2 && joined.iter().skip(letters).all(u8::is_ascii_digit);
    if groups.len() == 1 && is_number && (7..=17).contains(&joined.len()) && topics().has(Topics::BANK) {
        add(Kind::US_BANK_NUMBER, Proof::Hinted);
    }
    if groups.len() <= 3 && is_lettered && (6..=14).contains(&joined.len()) && topics().has(Topics::DRIVER) {
        add(Kind::US_DRIVER_LICENSE, Proof::Hinted);
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
