//! A text that comes in pieces, masked as if it had come in one.

use super::fold::Fold;
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
/// It holds back up to 70 KiB of the plain text and no more, for a span is decided by at most 1 KiB before it and 17 KiB from its
/// beginning on. The longest thing that is found across pieces is a private key of 16 KiB.
pub struct MaskStream<'m> {
    masker: &'m Masker,
    /// Text that is not yet decided, after some that is. All offsets are in its plain form.
    held: Fold,
    /// Spans that begin before this offset are settled.
    decided: usize,
    /// What lies before this offset has been written.
    written: usize,
    /// Where the last span ends, as [`settle`] needs it.
    taken: usize,
    findings: Findings,
}

impl<'m> MaskStream<'m> {
    /// Bytes that are held back at most, of text that is written plainly.
    pub const HELD: usize = BEHIND + AHEAD + BLOCK + Fold::HELD;

    pub(super) fn new(masker: &'m Masker) -> Self {
        Self { masker, held: Fold::default(), decided: 0, written: 0, taken: 0, findings: Findings::new() }
    }

    /// Takes the next piece, and appends to `to` what is decided by it.
    pub fn push(&mut self, mut piece: &str, to: &mut String) {
        while !piece.is_empty() {
            let room = (self.decided + AHEAD + BLOCK).saturating_sub(self.held.text().len());
            // A character of four bytes may stand where there is less room.
            let (now, later) = piece.split_at(piece.ceil_char_boundary(room.max(1)));
            self.held.push(now);
            piece = later;
            self.decide_most(to);
        }
    }

    /// Takes the text as complete, appends the rest, and tells what was found in all of it.
    pub fn finish(mut self, to: &mut String) -> Findings {
        self.held.finish();
        self.decide_most(to);
        self.settle(self.held.text().len(), to);
        self.held.write_rest(self.written, to);
        self.findings
    }

    /// Settles what can be settled, once there is a block of it.
    fn decide_most(&mut self, to: &mut String) {
        let length = self.held.text().len();
        if length >= self.decided + AHEAD + BLOCK {
            let until = self.held.text().floor_char_boundary(length - AHEAD);
            self.settle(until, to);
            if self.written < until {
                self.held.write(self.written..until, to);
                self.written = until;
            }
            self.decided = until;
            self.forget();
        }
    }

    /// Settles all spans that begin before `until`.
    fn settle(&mut self, until: usize, to: &mut String) {
        let found = self.masker.find_in(&self.held);
        let is_now = |found: &&Found| (self.decided..until).contains(&found.range.start);
        let spans: Vec<_> = found.iter().filter(is_now).filter_map(|found| settle(found, &mut self.taken)).collect();
        for span in spans {
            *self.findings.entry(span.kind).or_default() += 1;
            if self.masker.action(span.kind) == Action::Mask {
                self.held.write(self.written..span.range.start, to);
                self.masker.write_tag(&span, self.held.text(), to);
                self.written = span.range.end;
            }
        }
    }

    /// Drops what no later span depends on.
    fn forget(&mut self) {
        let cut = self.held.text().floor_char_boundary(self.decided.saturating_sub(BEHIND));
        self.held.forget(cut);
        self.decided -= cut;
        self.written -= cut;
        self.taken = self.taken.saturating_sub(cut);
    }
}
