//! The detectors, compiled, and the one pass over a text.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};
use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;
use regex_automata::{Anchored, Input};

use super::rule::{Proof, Rule};
use super::{Kind, personal, secret};

/// Something that was found, in byte offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What it is.
    pub kind: Kind,
    /// Where it is; both ends lie between characters.
    pub range: Range<usize>,
}

/// A possible span, before overlaps are decided.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub range: Range<usize>,
    pub kind: Kind,
    pub proof: Proof,
}

/// A rule, ready to be tried.
struct Compiled {
    rule: &'static Rule,
    regex: Regex,
    /// The value's group; 0 is the whole match.
    group: usize,
}

/// The detectors, compiled once and shared.
pub struct Masker {
    anchors: AhoCorasick,
    /// For each literal of `anchors`, the index of its rule.
    owners: Vec<usize>,
    rules: Vec<Compiled>,
}

impl Masker {
    /// Compiles the detectors.
    ///
    /// # Errors
    /// Names the pattern that does not compile.
    pub fn new() -> Result<Self, String> {
        let mut literals = Vec::new();
        let mut owners = Vec::new();
        let mut rules = Vec::new();
        for rule in personal::RULES.iter().chain(secret::rules()) {
            let regex = Regex::new(rule.pattern).map_err(|error| format!("{}: {error}", rule.name))?;
            let group = regex.group_info().to_index(regex_automata::PatternID::ZERO, "v").unwrap_or(0);
            literals.extend_from_slice(rule.anchors);
            owners.extend(std::iter::repeat_n(rules.len(), rule.anchors.len()));
            rules.push(Compiled { rule, regex, group });
        }
        let anchors = AhoCorasickBuilder::new()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(literals)
            .map_err(|error| error.to_string())?;
        Ok(Self { anchors, owners, rules })
    }

    /// Tries the rules at every place where one of their literals is.
    pub(super) fn find_by_anchor(&self, text: &str, found: &mut Vec<Found>) {
        for hit in self.anchors.find_overlapping_iter(text) {
            let rule = self.owners.get(hit.pattern().as_usize()).and_then(|owner| self.rules.get(*owner));
            if let Some(rule) = rule {
                found.extend(rule.find(text, hit.start()..hit.end()));
            }
        }
    }
}

impl Compiled {
    /// What the rule finds around an anchor at `at`.
    fn find(&self, text: &str, at: Range<usize>) -> Option<Found> {
        let rule = self.rule;
        let is_anchored = rule.back == 0 && rule.reach == 0;
        let from = at.start.saturating_sub(rule.back);
        let last = if is_anchored { from } else { at.end + rule.reach };
        let to = (last + rule.longest).min(text.len());
        let input = Input::new(text)
            .span(text.floor_char_boundary(from)..text.floor_char_boundary(to))
            .anchored(if is_anchored { Anchored::Yes } else { Anchored::No });
        let range = if self.group == 0 {
            self.regex.search(&input)?.range()
        } else {
            let mut captures: Captures = self.regex.create_captures();
            self.regex.search_captures(&input, &mut captures);
            if captures.get_match()?.start() > last {
                return None;
            }
            captures.get_group(self.group)?.range()
        };
        if range.is_empty() || (self.group == 0 && range.start > last) || !(rule.check)(text.get(range.clone())?) {
            return None;
        }
        let before = text.get(text.floor_char_boundary(range.start.saturating_sub(Rule::FURTHEST))..range.start)?;
        if !(rule.context)(before, text.get(range.clone())?) {
            return None;
        }
        Some(Found { range, kind: rule.kind, proof: rule.proof })
    }
}
