//! Values that the name before them calls a secret: assignments, settings, arguments.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::super::Kind;
use super::super::rule::{Proof, Rule};
use super::chance::{entropy, placeholder, random, random_enough, serial, uuid};
use super::names::{
    IS, NAMES, NOT_SECRET, NOT_SECRET_ENDS, PASSWORDS, PHRASES, PROVIDERS, QUOTES, STRONG, WEAK, WORDS,
};

pub(super) const RULES: &[Rule] = &[
    Rule {
        longest: 160,
        context: is_position,
        proof: Proof::Hinted,
        read: Some(read),
        ..Rule::new(Kind::GENERIC_SECRET, "named", NAMES, LEAD)
    },
    Rule {
        longest: 160,
        context: is_of_provider,
        proof: Proof::Hinted,
        read: Some(read_key),
        ..Rule::new(Kind::OTHER_SECRET, "provider", PROVIDERS, LEAD)
    },
];

/// From an anchor to the value: the rest of the name, perhaps its type, an assignment in one of many languages. Behind an option,
/// an instruction or a macro a blank assigns, which [`is_position`] asks for.
const LEAD: &str = r#"(?:(?i:mot[ _]?de[ _]?passe|palavra[ _-]passe|parola (?:d['’]accesso|chiave))|[0-9A-Za-z_]{2,16}[0-9A-Za-z_.\u{c0}-\u{17f}-]{0,40}(?i:[ \t](?:de[ \t]|d['’])?(?:api|acc[eè]s|acceso|accesso|acesso))?)\\?["'`\])*]{0,3}(?:(?:[ \t]{1,24}(?:[a-z]{1,10}[ \t]{1,4})?)?(?::[ \t]{0,2}[&'A-Za-z<>: ?]{1,20}[ \t])?(?:(?:(?::{0,3}|[?.+|])=[=>]?|::?|->|\|\||\|[ \t]|,|>|(?:is|ist|est|es|è|é)[ \t])\*{0,2}[ \t=(]{0,6}(?:[>,]?[\r\n]{1,2}[ \t]{0,24})?)|[ \t]{1,4})"#;

/// Bytes of the longest value.
const LONGEST: usize = 400;

/// The value at `at`, in quotes or without.
fn read(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let start = at + run(bytes, at, 2, |byte| byte == b'\\');
    let is_quote = |at: usize| bytes.get(at).is_some_and(|byte| b"\"'`".contains(byte));
    // A sign for how the string is meant, `@"..."`, `b'...'`; and quotes of three, of which the last begins the value.
    let is_marked = bytes.get(start).is_some_and(|byte| b"@$brfu".contains(byte)) && is_quote(start + 1);
    let start = start + usize::from(is_marked);
    if is_quote(start) {
        let is_tripled = is_quote(start + 1) && is_quote(start + 2);
        let start = if is_tripled { start + 2 } else { start };
        let inside = |byte| !matches!(byte, b'\t'..=b'\r' | b' ' | b'"' | b'\'' | b'`' | b'\\');
        let end = start + 1 + run(bytes, start + 1, LONGEST, inside);
        let value = text.get(start + 1..end).filter(|value| value.len() >= 6 && !value.contains(char::is_whitespace));
        let is_closed = bytes.get(end).is_none_or(|byte| b"\"'`\\".contains(byte));
        return value.filter(|_| is_closed).map(|_| start + 1..end);
    }
    let inside = |byte| {
        matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'.' | b'=' | b'~' | b'+' | b'/' | b'@' | b'%' | b'!'
            | b'$' | b'#' | b'*' | b'^' | b':' | b'?' | b'|' | b'-')
    };
    if start > at { None } else { bare(text, at, 6, inside) }
}

/// The value at `at` that only has characters of keys.
fn read_key(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let at = at + run(bytes, at, 2, |byte| byte == b'\\');
    let at = at + run(bytes, at, 2, |byte| b"\"'`(".contains(&byte));
    bare(
        text,
        at,
        12,
        |byte| matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'.' | b'=' | b'~' | b'+' | b'/' | b'%' | b':' | b'|' | b'-'),
    )
}

/// The bytes from `at` on that are `inside`, where they are at least `least` and something follows that ends a value.
fn bare(text: &str, at: usize, least: usize, inside: impl Fn(u8) -> bool) -> Option<Range<usize>> {
    let end = at + run(text.as_bytes(), at, LONGEST, inside);
    let next = text.get(end..)?.chars().next();
    let is_ended = next.is_none_or(|c| c.is_whitespace() || ";,\"'`<&)]}\\".contains(c));
    (end - at >= least && is_ended).then_some(at..end)
}

/// How many bytes from `at` on satisfy `of`, at most `most`.
fn run(bytes: &[u8], at: usize, most: usize, of: impl Fn(u8) -> bool) -> usize {
    bytes.get(at..).unwrap_or_default().iter().take(most).take_while(|byte| of(**byte)).count()
}

/// Whether a name such as `db_password` or `x-api-key` stands before the value, and the value is such a thing.
fn is_position(before: &str, value: &str) -> bool {
    static NAME: LazyLock<Words> = LazyLock::new(|| Words::new(NAMES));
    static NO_SECRET: LazyLock<Words> = LazyLock::new(|| Words::new(NOT_SECRET));
    let Some((name, end)) = name_in(before, &NAME) else {
        return false;
    };
    if NO_SECRET.are_in(&name) || NOT_SECRET_ENDS.iter().any(|end| name.ends_with(end)) {
        return false;
    }
    if !is_assigned(before, &name, end) {
        return false;
    }
    let is_quoted = before.ends_with(QUOTES);
    // In `set("password", "...")` a comma assigns; in a list it only separates.
    if let Some(name) = before.trim_end_matches(QUOTES).trim_end().strip_suffix(',') {
        return is_quoted && name.ends_with(QUOTES) && value.len() >= 10 && random(value);
    }
    if name.ends_with("pass") || PASSWORDS.iter().any(|word| name.contains(word)) {
        return is_password(value, is_quoted);
    }
    if WEAK.iter().any(|word| name.contains(word)) && !STRONG.iter().any(|word| name.contains(word)) {
        return value.len() >= 20 && !uuid(value) && entropy(value) >= 3.5 && random(value);
    }
    value.len() >= 10 && (random_enough(value) || serial(value))
}

/// Whether the value is assigned to the name that ends at `end` of what stands before it, or a blank assigns it: `--token v`,
/// `ENV TOKEN v`, `#define TOKEN v`.
fn is_assigned(before: &str, name: &str, end: usize) -> bool {
    let between = before.get(end..).unwrap_or_default();
    if !between.chars().all(|c| c.is_whitespace() || QUOTES.contains(&c)) {
        let word = between.trim_end_matches(QUOTES).trim_end().rsplit([' ', '\t']).next().unwrap_or_default();
        return between.contains(['=', ':', '|', ',', '>']) || IS.contains(&word);
    }
    let introduced = before.get(..end.saturating_sub(name.len())).unwrap_or_default();
    !between.contains([' ', '\t'])
        || name.starts_with('-')
        || introduced.ends_with('-')
        || ["ENV ", "ARG ", "#define ", "setx "].iter().any(|word| introduced.ends_with(word))
}

/// Whether the value is a key of the provider that is named before it.
fn is_of_provider(before: &str, value: &str) -> bool {
    static PROVIDER: LazyLock<Words> = LazyLock::new(|| Words::new(PROVIDERS));
    let Some((name, end)) = name_in(before, &PROVIDER) else {
        return false;
    };
    let is_other = NOT_SECRET_ENDS.iter().any(|end| name.ends_with(end) && !end.ends_with("id"));
    if is_other || !stands_out(before) || !is_assigned(before, &name, end) {
        return false;
    }
    random_enough(value) || serial(value)
}

/// A short name also occurs where two words meet, as in `sumObject` and `rookTable`: there it does not keep to one case.
fn stands_out(before: &str) -> bool {
    let lower = before.to_ascii_lowercase();
    PROVIDERS.iter().any(|word| {
        let written = lower.rfind(word).and_then(|at| before.get(at..at + word.len()));
        written.is_some_and(|written| {
            let rest = written.get(1..).unwrap_or_default();
            word.len() > 5
                || !rest.bytes().any(|byte| byte.is_ascii_uppercase())
                || !written.bytes().any(|byte| byte.is_ascii_lowercase())
        })
    })
}

/// Passwords are chosen by people: a digit among letters is enough, and within quotes any string that is no placeholder.
fn is_password(value: &str, is_quoted: bool) -> bool {
    let lower = value.to_ascii_lowercase();
    if placeholder(value)
        || value.starts_with(['$', '%', '{', '[', '<', '(', '/', '.'])
        || WORDS.iter().any(|word| lower == *word)
    {
        return false;
    }
    if random(value) {
        return true;
    }
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let signs = value.bytes().filter(|byte| b"!@#$%^&*+?~".contains(byte)).count();
    if is_quoted {
        value.len() >= 8
            && entropy(value) >= 2.5
            && letters + digits + signs >= value.len() - 2
            && !["password", "require", "invalid", "incorrect", "forgot", "getenv"]
                .iter()
                .any(|word| lower.contains(word))
    } else {
        value.len() >= 8
            && letters >= 2
            && (digits >= 1 || signs >= 2)
            && !value.contains(['_', '.', ':', '=', '/', '('])
            && entropy(value) >= 2.5
    }
}

/// The whole name around the last of `words` before the value, in lower case, and where it ends.
fn name_in(before: &str, words: &Words) -> Option<(String, usize)> {
    let at = words.last_in(before)?;
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | 0x80..);
    let (head, tail) = before.as_bytes().split_at_checked(at)?;
    let start = at - head.iter().rev().take_while(|byte| is_part(byte)).count();
    let end = at + tail.iter().take_while(|byte| is_part(byte)).count();
    // A name of several words is all of them.
    let phrase = PHRASES.iter().find_map(|phrase| {
        let at = [at, end.checked_sub(phrase.len())?]
            .into_iter()
            .find(|at| before.as_bytes().get(*at..).is_some_and(|text| has_prefix(text, phrase)))?;
        Some(at..at + phrase.len())
    });
    let range = phrase.unwrap_or(start..end);
    let end = range.end;
    before.get(range).map(|name| (name.to_ascii_lowercase(), end))
}

fn has_prefix(text: &[u8], prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|text| text.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// Words that are looked for all at once, without case. Without an automaton none of them is found.
struct Words(Option<AhoCorasick>);

impl Words {
    fn new(words: &[&str]) -> Self {
        let finder = AhoCorasick::builder().ascii_case_insensitive(true).kind(Some(AhoCorasickKind::DFA)).build(words);
        Self(finder.ok())
    }

    fn are_in(&self, text: &str) -> bool {
        self.0.as_ref().is_some_and(|finder| finder.is_match(text))
    }

    /// Where the last of them begins.
    fn last_in(&self, text: &str) -> Option<usize> {
        self.0.as_ref()?.find_overlapping_iter(text).map(|hit| hit.start()).max()
    }
}
