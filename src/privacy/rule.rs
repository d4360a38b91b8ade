//! What a detector in a table looks like.

use std::ops::Range;

use super::Kind;

/// How sure a match is. Of two matches that cover the same text, the surer one names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proof {
    /// A check digit, or a prefix that its issuer keeps for this.
    Checked,
    /// A shape that little else has, or a looser one beside words that name it.
    Shaped,
    /// Words near by, or randomness, and little more.
    Hinted,
}

/// Reads a value of a text from this offset on.
pub(super) type Read = fn(&str, usize) -> Option<Range<usize>>;

/// A detector: literals that one pass over the text looks for, all rules at once, and a pattern that is tried where one of
/// them was found.
///
/// With `back` and `reach` both 0 the pattern must match from the first byte of the anchor on, which is the cheap way. Else
/// the leftmost match is taken that begins at most `back` bytes before the anchor and at most `reach` bytes after its end.
/// A pattern sees `\b`, `^` and `$` as the whole text has them, but its match ends at most `longest` bytes after where it may
/// begin, so an open end (`{20,}`) is bounded and cheaper than `{20,8000}`. It must not match nothing. A pattern should fail
/// early: anchors can stand side by side for megabytes.
pub(super) struct Rule {
    /// What a match is.
    pub kind: Kind,
    /// For tests and faults.
    pub name: &'static str,
    /// Lower-case ASCII literals, at least 2 bytes each, that are compared without case; at least one is in every match or
    /// within `reach` bytes before it.
    pub anchors: &'static [&'static str],
    /// How far before the anchor a match may begin, at most [`Rule::FURTHEST`].
    pub back: usize,
    /// How far after the anchor's end a match may begin, at most [`Rule::FURTHEST`].
    pub reach: usize,
    /// Bytes of the longest match, at most [`Rule::LONGEST`]. Above 1024, a match that begins with a letter or digit is not
    /// tried after a letter, digit, `_`, `-` or `.`: the reading of long runs has to stay linear.
    pub longest: usize,
    /// `regex-automata`'s syntax, with case unless it says `(?i)`. Where only a part is the value, that part is group `v`.
    pub pattern: &'static str,
    /// Whether the value (group `v`, else the match) is one: check digits, entropy, words that are no secrets.
    pub check: fn(&str) -> bool,
    /// Whether the text before the value, at most [`Rule::FURTHEST`] bytes, and the value go together.
    pub context: fn(&str, &str) -> bool,
    /// How sure a match is.
    pub proof: Proof,
    /// Whether a match that holds another anchor of the rule is left to that one, so that long stretches are read once.
    pub apart: bool,
    /// Where the pattern only leads to the value, from the name that the anchor is in: what reads the value from the end of the
    /// match on. Of the anchors in one name only the first is tried then.
    pub read: Option<Read>,
}

impl Rule {
    /// The longest match that any rule may have: a PEM file with a key of 16384 bits fits.
    pub const LONGEST: usize = 16 << 10;
    /// The largest `back` and `reach`.
    pub const FURTHEST: usize = 128;

    /// A rule whose matches begin with an anchor, are at most 512 bytes long and need no more than the pattern.
    pub const fn new(kind: Kind, name: &'static str, anchors: &'static [&'static str], pattern: &'static str) -> Self {
        Self {
            kind,
            name,
            anchors,
            back: 0,
            reach: 0,
            longest: 512,
            pattern,
            check: |_| true,
            context: |_, _| true,
            proof: Proof::Checked,
            apart: false,
            read: None,
        }
    }
}
