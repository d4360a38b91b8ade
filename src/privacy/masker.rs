//! The detectors, compiled, and the one pass over a text.

use std::collections::BTreeMap;
use std::ops::Range;
use std::str::FromStr;
use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input, PatternID};

use super::custom::{Allowed, Custom};
use super::fold::{self, Fold};
use super::rule::{Proof, Rule};
use super::stream::MaskStream;
use super::{Kind, TagKey, personal, secret};

/// Something that was found, in byte offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What it is.
    pub kind: Kind,
    /// Where it is; both ends lie between characters.
    pub range: Range<usize>,
}

/// A text without what was found in it.
#[derive(Debug, Default)]
pub struct Masked {
    /// The text, with a tag in the place of each value.
    pub text: String,
    /// How often each kind was found, those that are only flagged included.
    pub findings: Findings,
}

/// How often each kind was found.
pub type Findings = BTreeMap<Kind, u64>;

/// What becomes of what a detector finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// A tag takes its place, and it is counted.
    #[default]
    Mask,
    /// It is counted, and stays.
    Flag,
    /// It is not looked for.
    Off,
}

impl FromStr for Action {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "mask" => Ok(Self::Mask),
            "flag" => Ok(Self::Flag),
            "off" => Ok(Self::Off),
            _ => Err(()),
        }
    }
}

/// Which detectors run, and what becomes of what they find.
#[derive(Debug, Default)]
pub struct Detectors {
    /// Kinds with another action than [`Action::Mask`].
    pub actions: BTreeMap<Kind, Action>,
    /// Patterns of the configuration's own.
    pub custom: Vec<Custom>,
    /// Values that are let be.
    pub allow: Vec<Allowed>,
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
    /// Compiled where an anchor of the rule is first found; `None` if the pattern is none.
    pattern: OnceLock<Option<Pattern>>,
}

struct Pattern {
    regex: Regex,
    /// The value's group; 0 is the whole match.
    group: usize,
}

/// The rules of the tables, and the automaton that finds where to try them.
pub(super) struct Rules {
    /// `None` if the literals are none, which a test rules out.
    anchors: Option<AhoCorasick>,
    /// For each literal of `anchors`, the index of its rule.
    owners: Vec<usize>,
    compiled: Vec<Compiled>,
}

/// Made once for the process, by the first scan: they do not depend on the configuration, and a start need not wait for them.
static RULES: LazyLock<Rules> = LazyLock::new(Rules::new);

/// The detectors, and what becomes of what they find.
pub struct Masker {
    detectors: Detectors,
    key: TagKey,
}

impl Masker {
    /// The detectors with these actions.
    pub fn new(detectors: Detectors, key: TagKey) -> Self {
        Self { detectors, key }
    }

    /// The same detectors with another key.
    #[must_use]
    pub fn with_key(self, key: TagKey) -> Self {
        Self { key, ..self }
    }

    /// The key of the tags, from which others can be made.
    pub fn tag_key(&self) -> &TagKey {
        &self.key
    }

    /// What is in the text, in order, not overlapping.
    pub fn scan(&self, text: &str) -> Vec<Span> {
        if !fold::is_needed(text) {
            return settled(&self.find(text));
        }
        let fold = Fold::of(text);
        let mut spans = settled(&self.find_in(&fold));
        for span in &mut spans {
            span.range = fold.written_at(span.range.start)..fold.written_at(span.range.end);
        }
        spans
    }

    /// The text with a tag in the place of each value.
    pub fn mask(&self, text: &str) -> Masked {
        let mut masked = Masked { text: String::with_capacity(text.len()), findings: Findings::new() };
        if fold::is_needed(text) {
            let mut stream = self.stream();
            stream.push(text, &mut masked.text);
            masked.findings = stream.finish(&mut masked.text);
            return masked;
        }
        let mut written = 0;
        for span in self.scan(text) {
            *masked.findings.entry(span.kind).or_default() += 1;
            if self.action(span.kind) == Action::Mask {
                masked.text.push_str(text.get(written..span.range.start).unwrap_or_default());
                self.write_tag(&span, text, &mut masked.text);
                written = span.range.end;
            }
        }
        masked.text.push_str(text.get(written..).unwrap_or_default());
        masked
    }

    /// Masks a text that comes in pieces; see [`MaskStream`].
    pub fn stream(&self) -> MaskStream<'_> {
        MaskStream::new(self)
    }

    /// What becomes of values of this kind.
    pub fn action(&self, kind: Kind) -> Action {
        self.detectors.actions.get(&kind).copied().unwrap_or_default()
    }

    pub(super) fn write_tag(&self, span: &Span, text: &str, to: &mut String) {
        self.key.write(span.kind, text.get(span.range.clone()).unwrap_or_default(), to);
    }

    /// All that may be in the plain text of `fold`, in its order. Patterns of the configuration's own are also tried on what was
    /// written, for they may ask for just that.
    pub(super) fn find_in(&self, fold: &Fold) -> Vec<Found> {
        let mut found = self.find(fold.text());
        if fold.is_plain() || self.detectors.custom.is_empty() {
            return found;
        }
        let mut written = String::new();
        fold.write_rest(0, &mut written);
        let mut custom = Vec::new();
        self.find_custom(&written, &mut custom);
        for found in &mut custom {
            let end = fold.plain_at(found.range.end);
            let is_whole = fold.written_at(end) == found.range.end;
            let end = if is_whole { end } else { fold.text().ceil_char_boundary(end + 1) };
            found.range = fold.plain_at(found.range.start)..end;
        }
        found.append(&mut custom);
        self.sort(fold.text(), &mut found);
        found
    }

    /// All that may be in a plain text, in the order in which [`settle`] decides: by where it begins; of those that begin at
    /// one place the longest first, and of those the surest.
    pub(super) fn find(&self, text: &str) -> Vec<Found> {
        let mut found = Vec::new();
        personal::find(text, &mut found);
        RULES.find(text, &mut found);
        self.find_custom(text, &mut found);
        self.sort(text, &mut found);
        found
    }

    fn find_custom(&self, text: &str, found: &mut Vec<Found>) {
        for custom in &self.detectors.custom {
            // Each place is tried by itself, so that one match does not depend on where the text before it was cut.
            let mut at = 0;
            while let Some(hit) = custom.regex.search(&Input::new(text).span(at..text.len())) {
                found.push(Found { range: hit.range(), kind: custom.kind, proof: Proof::Checked });
                at = text.ceil_char_boundary(hit.start() + 1);
            }
        }
    }

    fn sort(&self, text: &str, found: &mut Vec<Found>) {
        found.retain(|found| {
            self.action(found.kind) != Action::Off && {
                let value = text.get(found.range.clone()).unwrap_or_default();
                !value.is_empty() && !self.detectors.allow.iter().any(|allowed| allowed.covers(value))
            }
        });
        found.sort_by(|a, b| (a.range.start, b.range.end, a.proof).cmp(&(b.range.start, a.range.end, b.proof)));
    }
}

fn settled(found: &[Found]) -> Vec<Span> {
    let mut taken = 0;
    found.iter().filter_map(|found| settle(found, &mut taken)).collect()
}

/// Decides overlaps, from left to right, `taken` being where the last span ended. What begins inside another span and ends
/// past it is masked from there on, for no part of it may be read; what ends inside is a part of the other.
pub(super) fn settle(found: &Found, taken: &mut usize) -> Option<Span> {
    let start = found.range.start.max(*taken);
    if found.range.end <= start {
        return None;
    }
    *taken = found.range.end;
    Some(Span { kind: found.kind, range: start..found.range.end })
}

impl Rules {
    pub(super) fn new() -> Self {
        let (mut literals, mut owners, mut compiled) = (Vec::new(), Vec::new(), Vec::new());
        for rule in personal::RULES.iter().chain(secret::rules()) {
            literals.extend_from_slice(rule.anchors);
            owners.extend(std::iter::repeat_n(compiled.len(), rule.anchors.len()));
            compiled.push(Compiled { rule, pattern: OnceLock::new() });
        }
        let anchors = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(literals)
            .ok();
        Self { anchors, owners, compiled }
    }

    /// Tries each rule at every place where one of its literals is.
    pub(super) fn find(&self, text: &str, found: &mut Vec<Found>) {
        let Some(anchors) = &self.anchors else {
            // Nothing can be looked for, so nothing may be read.
            found.push(Found { range: 0..text.len(), kind: Kind::OTHER_SECRET, proof: Proof::Hinted });
            return;
        };
        let mut lasts = vec![Last::default(); self.compiled.len()];
        for hit in anchors.find_overlapping_iter(text) {
            let Some(owner) = self.owners.get(hit.pattern().as_usize()) else { continue };
            let Some((rule, last)) = self.compiled.get(*owner).zip(lasts.get_mut(*owner)) else { continue };
            if rule.rule.apart {
                let waiting = last.waiting.replace(hit.range());
                found.extend(waiting.and_then(|waiting| rule.find(text, waiting, hit.start())));
            } else if rule.rule.read.is_none() || last.is_first_in_name(text, hit.start()) {
                found.extend(rule.find(text, hit.range(), text.len()));
            }
        }
        for (rule, last) in self.compiled.iter().zip(lasts) {
            found.extend(last.waiting.and_then(|waiting| rule.find(text, waiting, text.len())));
        }
    }
}

/// What a pass knows of the anchors of a rule before.
#[derive(Default, Clone)]
struct Last {
    /// The last one, where it is tried once the next is known.
    waiting: Option<Range<usize>>,
    /// The end of the last name, before which no anchor leads to another value.
    name_end: usize,
}

impl Last {
    /// Whether the anchor at `at` is to be tried: the first one in a name that a pattern can match to its end. The bounds are
    /// those of `positions::LEAD`: any anchor in the last 42 bytes leads to the same value, none before the last 58 to any.
    fn is_first_in_name(&mut self, text: &str, at: usize) -> bool {
        const ONE: usize = 42;
        const MOST: usize = 58;
        if at < self.name_end {
            return false;
        }
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let rest = text.as_bytes().get(at..).unwrap_or_default();
        let length = rest.iter().take(MOST + 1).take_while(|byte| is_part(byte)).count();
        if length <= ONE {
            self.name_end = at + length;
        }
        length <= MOST
    }
}

/// Bytes of a match that is not tried at each place of a run.
const LONG: usize = 1024;

/// Whether what begins at `at` with a letter or digit goes on what stands before it.
fn is_within_run(bytes: &[u8], at: usize) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    bytes.get(at).is_some_and(u8::is_ascii_alphanumeric)
        && at.checked_sub(1).and_then(|before| bytes.get(before)).is_some_and(is_part)
}

impl Compiled {
    /// The pattern, which the first call compiles.
    fn pattern(&self) -> Option<&Pattern> {
        let compile = || {
            let told = |error| tracing::error!(rule = self.rule.name, %error, "a rule of masking does not compile");
            let regex = Regex::new(self.rule.pattern).map_err(told).ok()?;
            let group = regex.group_info().to_index(PatternID::ZERO, "v").unwrap_or(0);
            Some(Pattern { regex, group })
        };
        self.pattern.get_or_init(compile).as_ref()
    }

    /// What the rule finds around an anchor at `at` and before `most`.
    fn find(&self, text: &str, at: Range<usize>, most: usize) -> Option<Found> {
        let rule = self.rule;
        let is_anchored = rule.back == 0 && rule.reach == 0;
        // A long match is tried where a run of its characters begins, not at every place within: a run is read once.
        if rule.longest > LONG && is_within_run(text.as_bytes(), at.start) {
            return None;
        }
        let from = text.floor_char_boundary(at.start.saturating_sub(rule.back));
        let last = if is_anchored { from } else { at.end + rule.reach };
        let to = text.floor_char_boundary((last + rule.longest).min(most));
        let Some(pattern) = self.pattern() else {
            // What cannot be judged may not be read. A test sees to it that all patterns compile.
            return Some(Found { range: from..to, kind: rule.kind, proof: Proof::Hinted });
        };
        let anchored = if is_anchored { Anchored::Yes } else { Anchored::No };
        let input = Input::new(text).span(from..to).anchored(anchored);
        let range = if let Some(read) = rule.read {
            read(text, pattern.regex.search_half(&input)?.offset())?
        } else {
            pattern.value(&input, last)?
        };
        let value = text.get(range.clone())?;
        let before = text.get(text.floor_char_boundary(range.start.saturating_sub(Rule::FURTHEST))..range.start)?;
        let is_one = !value.is_empty() && (rule.check)(value) && (rule.context)(before, value);
        is_one.then_some(Found { range, kind: rule.kind, proof: rule.proof })
    }
}

impl Pattern {
    /// The value of a match that begins at `last` or before.
    fn value(&self, input: &Input<'_>, last: usize) -> Option<Range<usize>> {
        let whole = self.regex.search(input).filter(|whole| whole.start() <= last)?;
        if self.group == 0 {
            return Some(whole.range());
        }
        let mut captures = self.regex.create_captures();
        // Within the match alone, for the search for groups costs by the length of what it may read.
        let within = input.clone().span(whole.range()).anchored(Anchored::Yes);
        self.regex.search_captures(&within, &mut captures);
        Some(captures.get_group(self.group)?.range())
    }
}

#[cfg(test)]
mod tests;
