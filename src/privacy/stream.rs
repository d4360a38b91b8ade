//! A text that comes in pieces, masked as if it had come in one.

use super::masker::{Action, Findings, Found, Masker, settle};
use super::personal;
use super::rule::Rule;

/// How long after its first byte everything that decides on a span has been seen: the longest match, and what stands around it.
const AHEAD: usize = Rule::LONGEST + 2 * personal::FURTHEST;
/// How long before its first byte what decides on a span begins.
const BEHIND: usize = 2 * personal::FURTHEST;
/// Bytes that are judged at one time.
const BLOCK: usize = 2 * AHEAD;

/// Masks a text that comes in pieces. However it is cut, what comes out is what [`Masker::mask`] makes of the whole.
///
/// It holds back up to 70 KiB and no more, for a span is decided by at most 1 KiB before it and 17 KiB from its beginning on.
/// The longest thing that is found across pieces is a private key of 16 KiB.
pub struct MaskStream<'m> {
    masker: &'m Masker,
    /// Text that is not yet decided, after some that is.
    held: String,
    /// Spans that begin before this offset of `held` are settled.
    decided: usize,
    /// What lies before this offset of `held` has been written.
    written: usize,
    /// Where the last span ends, as [`settle`] needs it.
    taken: usize,
    findings: Findings,
}

impl<'m> MaskStream<'m> {
    /// Bytes that are held back at most.
    pub const HELD: usize = BEHIND + AHEAD + BLOCK + 4;

    pub(super) fn new(masker: &'m Masker) -> Self {
        Self { masker, held: String::new(), decided: 0, written: 0, taken: 0, findings: Findings::new() }
    }

    /// Takes the next piece, and appends to `to` what is decided by it.
    pub fn push(&mut self, mut piece: &str, to: &mut String) {
        while !piece.is_empty() {
            let room = (self.decided + AHEAD + BLOCK).saturating_sub(self.held.len());
            // A character of four bytes may stand where there is less room.
            let (now, later) = piece.split_at(piece.ceil_char_boundary(room.max(1)));
            self.held.push_str(now);
            piece = later;
            if self.held.len() >= self.decided + AHEAD + BLOCK {
                let until = self.held.floor_char_boundary(self.held.len() - AHEAD);
                self.decide(until, to);
            }
        }
    }

    /// Takes the text as complete, appends the rest, and tells what was found in all of it.
    pub fn finish(mut self, to: &mut String) -> Findings {
        self.decide(self.held.len(), to);
        self.findings
    }

    /// Settles all spans that begin before `until`.
    fn decide(&mut self, until: usize, to: &mut String) {
        let found = self.masker.find(&self.held);
        let is_now = |found: &&Found| (self.decided..until).contains(&found.range.start);
        let spans: Vec<_> = found.iter().filter(is_now).filter_map(|found| settle(found, &mut self.taken)).collect();
        for span in spans {
            *self.findings.entry(span.kind).or_default() += 1;
            if self.masker.action(span.kind) == Action::Mask {
                to.push_str(self.held.get(self.written..span.range.start).unwrap_or_default());
                self.masker.write_tag(&span, &self.held, to);
                self.written = span.range.end;
            }
        }
        if self.written < until {
            to.push_str(self.held.get(self.written..until).unwrap_or_default());
            self.written = until;
        }
        self.decided = until;
        self.forget();
    }

    /// Drops what no later span depends on.
    fn forget(&mut self) {
        let cut = self.held.floor_char_boundary(self.decided.saturating_sub(BEHIND));
        self.held.drain(..cut);
        self.decided -= cut;
        self.written -= cut;
        self.taken = self.taken.saturating_sub(cut);
    }
}
