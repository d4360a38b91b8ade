//! Whether a string looks drawn at random.
//!
//! Two figures decide. Shannon's entropy of the characters, in bits a character, is low for repetition. The share of turns
//! (from letter to digit, from lower to upper case) is low for words and for identifiers made of words: a random string of
//! lower case and digits turns at 40% of its places, one of hexadecimal at 47%, `getUserName2` at 27%, prose at 0.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

/// Bits a character.
#[allow(clippy::cast_precision_loss, reason = "lengths are far below 2^52")]
pub(super) fn entropy(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let total = value.len() as f64;
    -counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / total).map(|p| p * p.log2()).sum::<f64>()
}

/// Whether a string of a token's shape is a token, and not a placeholder of that shape.
pub(super) fn varied(value: &str) -> bool {
    entropy(value) >= VARIED && !placeholder(value)
}

/// The same for shapes that only chance tells from ordinary text.
pub(super) fn irregular(value: &str) -> bool {
    entropy(value) >= IRREGULAR && !placeholder(value) && value.bytes().any(|byte| byte.is_ascii_digit())
}

/// Whether the value stands for one that the reader is to put there.
pub(super) fn placeholder(value: &str) -> bool {
    static FINDER: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
        AhoCorasick::builder().ascii_case_insensitive(true).kind(Some(AhoCorasickKind::DFA)).build(PLACEHOLDERS).ok()
    });
    longest_repeat(value) * 3 > value.len() || FINDER.as_ref().is_some_and(|finder| finder.is_match(value))
}

/// Whether the value is drawn at random rather than written: a key, not a word, a path or an identifier.
pub(super) fn random(value: &str) -> bool {
    if uuid(value) {
        return !placeholder(value);
    }
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    let (pairs, turns, words) = turns(value);
    if letters == 0 || pairs == 0 || words > value.len() / 5 {
        return false;
    }
    if counts(value) {
        return false;
    }
    // Without a digit only a wild mix of case is a sign.
    let wanted = if digits >= 2 { TURNS } else { 2 * TURNS };
    turns >= 3
        && turns * 100 >= wanted * pairs
        && entropy(value) >= if value.len() < 20 { SHORT } else { LONG }
        && !placeholder(value)
}

/// The same beside a name that says so: fewer turns are enough, for the name has said the rest.
pub(super) fn random_enough(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let (pairs, turns, signs) = turns(value);
    random(value)
        || !counts(value)
            && digits >= 1
            && turns >= 2
            && turns * 14 >= pairs
            && signs * 6 <= value.len()
            && entropy(value) >= if value.len() < 20 { SHORT } else { LONG }
            && !placeholder(value)
}

/// Whether half of the alphabet is in the value. One that a prefix makes known is masked all the same: a key of the right length
/// may be one that somebody typed.
pub(super) fn counts(value: &str) -> bool {
    let is_step = |pair: &[u8]| matches!(pair, [a, b] if a.is_ascii_alphabetic() && *b == a + 1);
    value.as_bytes().windows(13).any(|run| run.windows(2).all(is_step))
}

/// Whether the value is a UUID of any version, the one of zeros and the like excepted.
pub(super) fn uuid(value: &str) -> bool {
    value.len() == 36
        && value.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
        && entropy(value) > 2.0
}

/// Whether the value is a long number that is no round one.
pub(super) fn serial(value: &str) -> bool {
    (15..=20).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit()) && entropy(value) >= 2.0
}

/// Pairs of letters and digits, how many of them turn from one class to the other, and how many signs stand between. A word
/// that begins with a capital letter turns once, before it.
fn turns(value: &str) -> (usize, usize, usize) {
    let (mut pairs, mut turns, mut signs) = (0, 0, 0);
    let mut before = None;
    for byte in value.bytes() {
        let class = match byte {
            b'a'..=b'z' => Some(Class::Lower),
            b'A'..=b'Z' => Some(Class::Upper),
            b'0'..=b'9' => Some(Class::Digit),
            _ => {
                signs += 1;
                None
            }
        };
        if let (Some(before), Some(class)) = (before, class) {
            pairs += 1;
            turns += usize::from(before != class && (before, class) != (Class::Upper, Class::Lower));
        }
        before = class;
    }
    (pairs, turns, signs)
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Lower,
    Upper,
    Digit,
}

fn longest_repeat(value: &str) -> usize {
    value.as_bytes().chunk_by(u8::eq_ignore_ascii_case).map(<[u8]>::len).max().unwrap_or(0)
}

/// Bits a character of a token that its prefix makes known: 16 random hexadecimal digits have above 3, `xxxx` has 0.
const VARIED: f64 = 2.2;
const IRREGULAR: f64 = 3.0;
/// Bits a character of a value below 20 characters, and from there.
const SHORT: f64 = 2.7;
const LONG: f64 = 3.0;
/// Turns in a hundred pairs.
const TURNS: usize = 17;

/// What people write where a secret goes. In lower case.
const PLACEHOLDERS: &[&str] = &[
    "example",
    "xxxxx",
    "*****",
    ".....",
    "your_",
    "your-",
    "yourapi",
    "yourtoken",
    "yourkey",
    "yourpass",
    "changeme",
    "change_me",
    "change-me",
    "changeit",
    "placeholder",
    "redacted",
    "replace",
    "insert",
    "dummy",
    "not-a-real",
    "notareal",
    "${",
    "{{",
    "$(",
    "<",
    "%(",
    "#{",
    "_here",
];
