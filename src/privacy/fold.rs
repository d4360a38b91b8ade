//! A text as a reader takes it: escapes, entities and characters that stand for plainer ones are resolved, with the way back.
//!
//! `078\u002d05\u002d1121`, `078&#45;05&#45;1121` and the same with a full-width digit or a non-breaking hyphen are all one number.
//! Detectors see the plain form alone. Nothing is written in it: what is not masked goes out as it came in.

use std::ops::Range;

/// The longest way to write one character, four backslashes before `U0001F600`.
const LONGEST: usize = 14;
/// Bytes from a place on that decide what stands there.
const AHEAD: usize = 64;
/// Characters without a width that are left out before one that is not, so that a text does not vanish.
const MOST_DROPPED: u8 = 3;

/// A place where the text was written differently.
#[derive(Debug)]
struct Edit {
    /// Where the plain text is; empty where a character was left out. That belongs to what follows it.
    plain: Range<usize>,
    /// Where in the originals what is written there is.
    original: Range<usize>,
    /// How much longer the written text is up to here.
    shift: usize,
}

/// The plain form of a text, or of as much of it as is held.
#[derive(Debug, Default)]
pub(super) struct Fold {
    text: String,
    edits: Vec<Edit>,
    /// What was written at the edits, one after another.
    originals: String,
    /// Text that is not decided: more of it may come.
    pending: String,
    dropped: u8,
    last: Option<char>,
}

/// Whether a text may differ from its plain form.
pub(super) fn is_needed(text: &str) -> bool {
    text.bytes().any(is_trigger)
}

impl Fold {
    /// Bytes that wait for more at most.
    pub const HELD: usize = AHEAD + 4;

    /// The plain form of a whole text.
    pub fn of(text: &str) -> Self {
        let mut fold = Self { text: String::with_capacity(text.len()), ..Self::default() };
        fold.take(text, true);
        fold
    }

    /// Takes the next piece of a text.
    pub fn push(&mut self, piece: &str) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.push_str(piece);
        let taken = self.take(&pending, false);
        pending.drain(..taken);
        self.pending = pending;
    }

    /// Takes the text as complete.
    pub fn finish(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.take(&pending, true);
    }

    /// The plain text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is what was written.
    pub fn is_plain(&self) -> bool {
        self.edits.is_empty()
    }

    /// Where in the text that was written a place of the plain one is. What was left out there lies behind it.
    pub fn written_at(&self, at: usize) -> usize {
        let before = self.edits.partition_point(|edit| edit.is_before(at));
        at + before.checked_sub(1).and_then(|last| self.edits.get(last)).map_or(0, |edit| edit.shift)
    }

    /// Where in the plain text a place of the written one is: within an edit, where that begins.
    pub fn plain_at(&self, written: usize) -> usize {
        let end = |edit: &Edit| edit.plain.end + edit.shift;
        let before = self.edits.partition_point(|edit| end(edit) <= written);
        let shift = before.checked_sub(1).and_then(|last| self.edits.get(last)).map_or(0, |edit| edit.shift);
        let next = self.edits.get(before).map_or(usize::MAX, |edit| edit.plain.start);
        (written - shift).min(next)
    }

    /// Appends what was written where `plain` is.
    pub fn write(&self, plain: Range<usize>, to: &mut String) {
        let first = self.edits.partition_point(|edit| edit.is_before(plain.start));
        let until = self.edits.partition_point(|edit| edit.is_before(plain.end));
        let mut at = plain.start;
        let edits = self.edits.get(first..until).unwrap_or_default();
        for edit in edits {
            to.push_str(self.text.get(at..edit.plain.start).unwrap_or_default());
            to.push_str(self.originals.get(edit.original.clone()).unwrap_or_default());
            at = edit.plain.end;
        }
        to.push_str(self.text.get(at..plain.end).unwrap_or_default());
    }

    /// Appends what was written from a place of the plain text to its end.
    pub fn write_rest(&self, from: usize, to: &mut String) {
        self.write(from..self.text.len(), to);
        // What was left out at the very end has nothing behind it.
        let until = self.edits.partition_point(|edit| edit.is_before(self.text.len()));
        to.push_str(self.originals.get(self.originals_before(until)..).unwrap_or_default());
    }

    /// Forgets the plain text before `at`.
    pub fn forget(&mut self, at: usize) {
        let gone = self.edits.partition_point(|edit| edit.is_before(at));
        let original = self.originals_before(gone);
        let shift = gone.checked_sub(1).and_then(|last| self.edits.get(last)).map_or(0, |edit| edit.shift);
        self.text.drain(..at);
        self.originals.drain(..original);
        self.edits.drain(..gone);
        for edit in &mut self.edits {
            edit.plain = edit.plain.start.saturating_sub(at)..edit.plain.end - at;
            edit.original = edit.original.start - original..edit.original.end - original;
            edit.shift -= shift;
        }
    }

    /// Bytes of the originals of the first `edits`.
    fn originals_before(&self, edits: usize) -> usize {
        edits.checked_sub(1).and_then(|last| self.edits.get(last)).map_or(0, |edit| edit.original.end)
    }

    /// Takes as much of the text as is decided, and tells how much that is.
    fn take(&mut self, text: &str, is_whole: bool) -> usize {
        let bytes = text.as_bytes();
        let until = if is_whole { bytes.len() } else { text.floor_char_boundary(bytes.len().saturating_sub(AHEAD)) };
        let mut at = 0;
        while at < until {
            let rest = bytes.get(at..until).unwrap_or_default();
            let plain = rest.iter().position(|byte| is_trigger(*byte)).unwrap_or(rest.len());
            if plain > 0 {
                let run = text.get(at..at + plain).unwrap_or_default();
                self.text.push_str(run);
                self.last = run.chars().next_back();
                self.dropped = 0;
                at += plain;
                continue;
            }
            let rest = text.get(at..text.floor_char_boundary(at + AHEAD)).unwrap_or_default();
            let Some(first) = rest.chars().next() else { break };
            at += match resolve(rest, self.last) {
                Some((length, Some(c))) => {
                    self.replace(rest, length, Some(c));
                    length
                }
                Some((length, None)) if self.dropped < MOST_DROPPED => {
                    self.replace(rest, length, None);
                    length
                }
                _ => {
                    self.text.push(first);
                    self.last = Some(first);
                    self.dropped = 0;
                    first.len_utf8()
                }
            };
        }
        at
    }

    fn replace(&mut self, rest: &str, length: usize, by: Option<char>) {
        let start = self.text.len();
        if let Some(c) = by {
            self.text.push(c);
            self.last = Some(c);
            self.dropped = 0;
        } else {
            self.dropped += 1;
        }
        let original = self.originals.len()..self.originals.len() + length;
        self.originals.push_str(rest.get(..length).unwrap_or_default());
        let plain = start..self.text.len();
        let before = self.edits.last().map_or(0, |edit| edit.shift);
        self.edits.push(Edit { shift: before + length - plain.len(), original, plain });
    }
}

impl Edit {
    /// Whether it lies before a place of the plain text.
    fn is_before(&self, at: usize) -> bool {
        self.plain.end <= at && self.plain.start < at
    }
}

fn is_trigger(byte: u8) -> bool {
    matches!(byte, b'\\' | b'&' | b'=' | b'%' | 0x80..)
}

/// What the text begins with, if it is not written plainly: its bytes, and the character that it stands for, if any.
fn resolve(text: &str, last: Option<char>) -> Option<(usize, Option<char>)> {
    match text.as_bytes().first()? {
        b'\\' => escape(text).map(|(length, c)| (length, settle(c, last, text.get(length..)))),
        b'&' => entity(text).map(|(length, c)| (length, settle(c, last, text.get(length..)))),
        b'%' => percent(text),
        b'=' => quoted_printable(text, last),
        _ => {
            let c = text.chars().next()?;
            let plainer = plainer(c, last, text.get(c.len_utf8()..));
            (plainer != Some(c)).then_some((c.len_utf8(), plainer))
        }
    }
}

/// A character that an escape stands for, which may itself have a plainer one.
fn settle(c: char, last: Option<char>, rest: Option<&str>) -> Option<char> {
    if c.is_ascii() { Some(c) } else { plainer(c, last, rest) }
}

/// An escape of JSON, of a programming language or of Markdown, also behind more backslashes where a string is within a string.
fn escape(text: &str) -> Option<(usize, char)> {
    let slashes = text.bytes().take(4).take_while(|byte| *byte == b'\\').count();
    let name = text.as_bytes().get(slashes)?;
    let at = slashes + 1;
    let hex = |length: usize| {
        let digits = text.get(at..at + length).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        Some((at + length, shown(u32::from_str_radix(digits, 16).ok()?)?))
    };
    match name {
        b'u' if text.as_bytes().get(at) == Some(&b'{') => {
            let (digits, _) =
                text.get(at + 1..)?.split_once('}').filter(|(digits, _)| (1..=6).contains(&digits.len()))?;
            Some((at + digits.len() + 2, shown(u32::from_str_radix(digits, 16).ok()?)?))
        }
        b'u' => hex(4),
        b'U' => hex(8),
        b'x' => hex(2).filter(|(_, c)| c.is_ascii()),
        b'n' => Some((at, '\n')),
        b'r' => Some((at, '\r')),
        b't' => Some((at, '\t')),
        b'"' | b'\'' | b'/' => Some((at, char::from(*name))),
        b'-' | b'.' | b'_' | b'+' | b'(' | b')' | b'@' | b':' | b'=' if slashes == 1 => Some((at, char::from(*name))),
        _ => None,
    }
}

/// A character that is seen.
fn shown(code: u32) -> Option<char> {
    char::from_u32(code).filter(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
}

/// A character reference of HTML.
fn entity(text: &str) -> Option<(usize, char)> {
    let bytes = text.as_bytes();
    let length = bytes.iter().take(LONGEST).position(|byte| *byte == b';')?;
    let name = text.get(1..length)?;
    let c = if let Some(number) = name.strip_prefix('#') {
        let hex = number.strip_prefix(['x', 'X']);
        shown(hex.map_or_else(|| number.parse(), |hex| u32::from_str_radix(hex, 16)).ok()?)?
    } else {
        NAMED.iter().find(|(known, _)| *known == name)?.1
    };
    Some((length + 1, c))
}

/// References by name that stand between the parts of values or around them.
const NAMED: &[(&str, char)] = &[
    ("amp", '&'),
    ("quot", '"'),
    ("apos", '\''),
    ("lt", '<'),
    ("gt", '>'),
    ("nbsp", '\u{a0}'),
    ("thinsp", '\u{2009}'),
    ("ensp", '\u{2002}'),
    ("emsp", '\u{2003}'),
    ("shy", '\u{ad}'),
    ("ZeroWidthSpace", '\u{200b}'),
    ("hyphen", '-'),
    ("dash", '-'),
    ("minus", '\u{2212}'),
    ("ndash", '\u{2013}'),
    ("mdash", '\u{2014}'),
    ("commat", '@'),
    ("period", '.'),
    ("colon", ':'),
    ("equals", '='),
    ("plus", '+'),
    ("num", '#'),
    ("sol", '/'),
    ("lpar", '('),
    ("rpar", ')'),
    ("lowbar", '_'),
];

/// What a URL writes with a percent sign, if it stands in values or between names and values.
fn percent(text: &str) -> Option<(usize, Option<char>)> {
    let c = char::from(hex_byte(text, 1)?);
    "@+ -._:()\"'=&".contains(c).then_some((3, Some(c)))
}

fn hex_byte(text: &str, at: usize) -> Option<u8> {
    let digits = text.get(at..at + 2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

/// Quoted-printable (RFC 2045 §6.7), where what stands around it does not look like an assignment.
fn quoted_printable(text: &str, last: Option<char>) -> Option<(usize, Option<char>)> {
    let last = last?;
    let follows = |at: usize| text.get(at..).and_then(|rest| rest.chars().next());
    let rest = text.get(1..)?;
    if let Some(line) = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')) {
        let is_inside = last.is_alphanumeric() || "@.-+_:)".contains(last);
        let next = line.strip_prefix(' ').filter(|_| last.is_alphanumeric()).unwrap_or(line);
        let goes_on = next.chars().next().is_some_and(|c| c.is_alphanumeric() || "@.-+_:(".contains(c));
        return (is_inside && goes_on && !is_setting(line)).then(|| (text.len() - line.len(), None));
    }
    if rest.as_bytes().iter().take(2).any(u8::is_ascii_lowercase) {
        return None;
    }
    let digit = |at: usize| follows(at).is_some_and(|c| c.is_ascii_digit());
    match hex_byte(text, 1)? {
        b'=' if last.is_ascii_alphanumeric() || last == '"' => Some((3, Some('='))),
        b'@' if last.is_ascii_alphanumeric() && is_domain(text.get(3..)?) => Some((3, Some('@'))),
        byte @ (b'-' | b'.' | b' ') if last.is_ascii_digit() && digit(3) => Some((3, Some(char::from(byte)))),
        first @ 0xc2.. if last.is_alphanumeric() || "().,- ".contains(last) => {
            let length = if first < 0xe0 { 2 } else { 3 };
            let mut bytes = [0; 3];
            for (at, byte) in bytes.iter_mut().enumerate().take(length) {
                *byte =
                    text.get(3 * at..=3 * at).filter(|sign| *sign == "=").and_then(|_| hex_byte(text, 3 * at + 1))?;
            }
            let c = std::str::from_utf8(bytes.get(..length)?).ok()?.chars().next()?;
            Some((3 * length, plainer(c, Some(last), text.get(3 * length..))))
        }
        _ => None,
    }
}

/// Whether a line begins as `NAME=`, `name: ` and the like do, so that the one before it ended.
fn is_setting(line: &str) -> bool {
    let name = line.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "_.-".contains(c));
    line.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.trim_start_matches(' ').starts_with(['=', ':'])
        && !name.starts_with("=\n")
        && !name.starts_with("=\r")
}

fn is_domain(text: &str) -> bool {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.')).unwrap_or(text.len());
    let name = text.get(..end).unwrap_or_default().trim_end_matches('.');
    let is_top = |top: &str| top.len() > 1 && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    name.rsplit_once('.').is_some_and(|(_, top)| is_top(top)) && name.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// The plainer character that one stands for; the same where it is plain, none where it has no width.
fn plainer(c: char, last: Option<char>, rest: Option<&str>) -> Option<char> {
    let after_digit = last.is_some_and(|c| c.is_ascii_digit());
    let next = || rest.and_then(|rest| rest.chars().next());
    let before_digit = || next().is_some_and(|c| digit(c).is_some() || c.is_ascii_digit());
    let is_between = || after_digit && next().is_some_and(|c| c.is_alphanumeric() || c == ' ') || before_digit();
    let is_apart = || last == Some(' ') && next().is_some_and(char::is_whitespace);
    match c {
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Some(' '),
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => None,
        '\u{2010}' | '\u{2011}' | '\u{2212}' | '\u{fe63}' => Some('-'),
        // Between words these stand for more than a hyphen, and end what stands before them.
        '\u{2012}'..='\u{2015}' if is_between() || is_apart() => Some('-'),
        '\u{b7}' | '\u{2022}' | '\u{2027}' | '\u{30fb}' if after_digit && before_digit() => Some('.'),
        '\u{2044}' | '\u{2215}' => Some('/'),
        '\u{2018}' | '\u{2019}' | '\u{201a}' => Some('\''),
        '\u{201c}'..='\u{201e}' => Some('"'),
        '\u{fe52}' => Some('.'),
        '\u{fe55}' => Some(':'),
        '\u{fe62}' => Some('+'),
        '\u{fe6b}' => Some('@'),
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0),
        c => Some(digit(c).unwrap_or(c)),
    }
}

/// Where the decimal digits of scripts begin (Unicode's general category Nd).
const ZEROS: &[u32] = &[
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xe50, 0xed0, 0xf20, 0x1040,
    0x17e0, 0x1810,
];

/// The ASCII digit of a digit of another script.
fn digit(c: char) -> Option<char> {
    let code = u32::from(c);
    let value = match code {
        0x660..=0x1819 => {
            let zero = *ZEROS.get(ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?)?;
            code - zero
        }
        0xff10..=0xff19 => code - 0xff10,
        0x1d7ce..=0x1d7ff => (code - 0x1d7ce) % 10,
        _ => return None,
    };
    char::from_digit(value, 10)
}

#[cfg(test)]
mod tests;
