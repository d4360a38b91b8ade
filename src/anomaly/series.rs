//! One series: counts of one signal of one name, against its own baseline.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::baseline::{Baseline, BaselineState};
use super::spread::Spread;
use super::tail::Tail;

/// Beats of the windows that are looked at: half a minute, one and two, with a beat of 10 s.
pub(super) const WINDOWS: [usize; 3] = [3, 6, 12];
const LONGEST: usize = 12;

/// What every series of a signal has in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rules {
    /// The deviate of an alarm.
    pub threshold: f64,
    /// The least multiple of what is expected.
    pub ratio: f64,
    /// The least amount in a window, in the series' units.
    pub least: f64,
    /// Seconds for which a series only learns.
    pub warm_up: f64,
}

/// A series and what it has learnt.
#[derive(Debug, Clone)]
pub(super) struct Series {
    baseline: Baseline,
    spreads: [Spread; 3],
    tails: [Tail; 3],
    thresholds: [f64; 3],
    day: i64,
    /// Amounts of the last beats, what was expected of each, and its seconds.
    ring: VecDeque<(f64, f64)>,
    /// What was seen and what was expected of late, before the ring.
    late: (f64, f64),
    beats: u32,
    /// Seconds for which it was watched.
    watched: f64,
    verdict: Verdict,
    /// Beats since the score was high.
    calm: u32,
}

/// What a series is like at a beat.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Verdict {
    /// 1 and above is an alarm.
    pub score: f64,
    /// Per second, in the series' units.
    pub expected: f64,
    /// Per second over the window with the highest score.
    pub observed: f64,
    /// From an alarm on until the score was low for a while.
    pub active: bool,
    pub learning: bool,
}

/// What outlives a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SeriesState {
    baseline: BaselineState,
    spreads: [Spread; 3],
    tails: [Tail; 3],
    watched: f64,
}

impl Series {
    pub(super) fn new() -> Self {
        Self {
            baseline: Baseline::new(),
            spreads: [Spread::new(); 3],
            tails: Default::default(),
            thresholds: [0.0; 3],
            day: 0,
            ring: VecDeque::with_capacity(LONGEST + 1),
            late: (0.0, 0.0),
            beats: 0,
            watched: 0.0,
            verdict: Verdict { learning: true, ..Verdict::default() },
            calm: 0,
        }
    }

    /// Takes in `amount`, counted in the `seconds` up to `now` (seconds since 1970).
    pub(super) fn beat(&mut self, now: f64, seconds: f64, amount: f64, rules: &Rules) -> Verdict {
        let usual = self.baseline.expected(now - seconds / 2.0);
        self.ring.push_back((amount, usual * seconds));
        if self.ring.len() > LONGEST
            && let Some((amount, expected)) = self.ring.pop_front()
        {
            self.note_late(amount, expected, seconds);
        }
        self.beats = self.beats.wrapping_add(1);
        self.watched += seconds;
        #[allow(clippy::cast_possible_truncation)] // days since 1970
        let day = (now / 86_400.0).floor() as i64;
        if day != self.day {
            self.day = day;
            self.thresholds = self.tails.each_ref().map(|tail| tail.threshold(rules.threshold));
        }
        let of_late = self.of_late();
        let level = of_late.max(LEAST_LEVEL);
        // What was learnt while the baseline was young is soon forgotten.
        let memory = (self.watched / 4.0).clamp(86_400.0, MEMORY);
        let mut best = Verdict { expected: usual * level, ..Verdict::default() };
        let (mut sum, mut mean, mut beats) = (0.0, 0.0, 0);
        let mut windows =
            WINDOWS.iter().zip(&mut self.spreads).zip(self.tails.iter_mut().zip(&self.thresholds)).peekable();
        for (amount, expected) in self.ring.iter().rev() {
            (sum, mean, beats) = (sum + amount, mean + expected * level, beats + 1);
            let Some(((&length, spread), (tail, &threshold))) = windows.next_if(|((length, _), _)| **length <= beats)
            else {
                continue;
            };
            let deviate = spread.deviate(sum, mean);
            if self.watched > SETTLING {
                tail.learn(day, deviate);
            }
            let mut score = deviate / threshold.max(rules.threshold);
            if sum < rules.least || sum < rules.ratio * mean {
                score = score.min(0.99);
            }
            if score >= best.score {
                #[allow(clippy::cast_precision_loss)] // a dozen
                let span = length as f64 * seconds;
                (best.score, best.observed) = (score, sum / span);
            }
            if !self.verdict.active && of_late < BUSY && (self.beats as usize).is_multiple_of(length) {
                #[allow(clippy::cast_precision_loss)] // a dozen
                let keep = 1.0 - length as f64 * seconds / memory;
                spread.learn(sum, mean * of_late / level, keep.max(0.9));
            }
        }
        self.baseline.learn(amount, seconds);
        best.learning = self.watched < rules.warm_up;
        if best.learning {
            best.score = 0.0;
        }
        self.calm = if best.score >= LOW { 0 } else { self.calm.saturating_add(1) };
        best.active = best.score >= 1.0 || self.verdict.active && self.calm < CALM;
        self.verdict = best;
        best
    }

    /// The clock has jumped: what was counted of late belongs to no time.
    pub(super) fn interrupt(&mut self) {
        self.ring.clear();
        self.late = (0.0, 0.0);
        self.baseline.interrupt();
    }

    pub(super) fn state(&self) -> SeriesState {
        SeriesState {
            baseline: self.baseline.state(),
            spreads: self.spreads,
            tails: self.tails.clone(),
            watched: self.watched.round(),
        }
    }

    /// `None` when it is not a state that a series can have.
    pub(super) fn restore(state: SeriesState) -> Option<Self> {
        let sound = state.spreads.iter().all(Spread::is_sound)
            && state.tails.iter().all(Tail::is_sound)
            && (0.0..1e12).contains(&state.watched);
        let baseline = Baseline::restore(state.baseline)?;
        sound.then(|| Self {
            baseline,
            spreads: state.spreads,
            tails: state.tails,
            watched: state.watched,
            ..Self::new()
        })
    }

    /// How it has been of late against the baseline: a busy day, or a slow one. Bounded, for what lasts is to be told.
    fn of_late(&self) -> f64 {
        let (seen, expected) = self.late;
        let inertia = INERTIA * self.spreads.first().map_or(1.0, Spread::clump);
        ((seen + inertia) / (expected + inertia)).clamp(0.1, MOST_LEVEL)
    }

    fn note_late(&mut self, amount: f64, expected: f64, seconds: f64) {
        let most = 2.0 * expected + 3.0 * self.spreads.first().map_or(0.0, |spread| spread.variance(expected).sqrt());
        // In an alarm it is taken for usual with hesitation.
        let pace = if self.verdict.active { 0.25 } else { 1.0 };
        let keep = (-pace * seconds / LATE).exp();
        let (seen, so_far) = self.late;
        self.late = (seen * keep + pace * amount.min(most), so_far * keep + pace * expected);
    }
}

/// Memory of the spread in seconds.
const MEMORY: f64 = 7.0 * 86_400.0;
/// Memory of what has been of late.
const LATE: f64 = 1200.0;
/// Events that it takes to tell a busy day.
const INERTIA: f64 = 20.0;
const MOST_LEVEL: f64 = 1.6;
/// From here on it is no day to learn from how days vary.
const BUSY: f64 = 1.5;
/// What is usual stays usual on a slow day or a holiday, but for this.
const LEAST_LEVEL: f64 = 0.8;
/// Before that a series does not know itself.
const SETTLING: f64 = 2.0 * 86_400.0;
/// A score below it is calm.
const LOW: f64 = 0.5;
/// Beats of calm that end an alarm: the spike has left the longest window.
const CALM: u32 = 12;
