//! What is usual at this hour: a level for every hour of the week, learnt so that an anomaly does not teach itself.
//!
//! Levels are natural logarithms of an amount per second. A slot that was seen seldom leans on its hour of the day, and that
//! on all hours. An hour's value is a winsorised mean over blocks of two minutes, so that a spike of minutes hardly shows in
//! it; what an hour says then moves a level by a bounded step, so that an anomaly of hours is learnt slowly and a new level
//! within days.

use serde::{Deserialize, Serialize};

/// Hours of a week.
pub(super) const SLOTS: usize = 168;
/// Seconds of a block.
const BLOCK: f64 = 118.0;
/// Blocks of an hour, with room for an hour that a clock made longer.
const MAX_BLOCKS: usize = 40;
/// An hour of which less was seen teaches nothing.
const MIN_BLOCKS: usize = 15;

/// The baseline of one series.
#[derive(Debug, Clone)]
pub(super) struct Baseline {
    slots: Vec<Slot>,
    /// How all hours have moved since their slots were learnt.
    drift: f64,
    /// Hours that have taught.
    hours: u32,
    /// Rate of the last hour or so, clipped; for slots that were never seen.
    running: f64,
    beats: u32,
    /// The hour under way, in hours since 1970.
    hour: Option<i64>,
    block: (f64, f64),
    blocks: Vec<f64>,
    /// Levels of the slot before, of this one and of the next.
    near: [f64; 3],
}

/// One hour of the week.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Slot {
    /// Without the drift.
    pub level: f32,
    /// How often it has taught.
    pub seen: u8,
}

/// What outlives a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct BaselineState {
    levels: Vec<f32>,
    seen: Vec<u8>,
    drift: f32,
    hours: u32,
    running: f32,
}

impl Baseline {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![Slot::default(); SLOTS],
            drift: 0.0,
            hours: 0,
            running: 0.0,
            beats: 0,
            hour: None,
            block: (0.0, 0.0),
            blocks: Vec::new(),
            near: [f64::NAN; 3],
        }
    }

    /// The amount per second that is usual at `now`, in seconds since 1970. Asked in order of time.
    pub(super) fn expected(&mut self, now: f64) -> f64 {
        let hour = hour_of(now);
        if self.hour != Some(hour) {
            self.enter(hour);
        }
        let [before, own, next] =
            self.near.map(|level| if level.is_nan() { self.running.max(TINY).ln() } else { level });
        let within = now / HOUR - (now / HOUR).floor();
        let between =
            if within < 0.5 { before + (own - before) * (within + 0.5) } else { own + (next - own) * (within - 0.5) };
        // A step at the full hour, such as a nightly batch, is no slope.
        between.max(own).exp()
    }

    /// Takes in `amount` of the last `seconds`; `usual` is what a beat of it varies by, in units of the amount.
    pub(super) fn learn(&mut self, amount: f64, seconds: f64) {
        let rate = amount / seconds;
        let gain = (1.0 / f64::from(self.beats + 1)).max(seconds / HOUR).min(1.0);
        let clipped = if self.beats < 12 { rate } else { rate.min(3.0 * self.running + 3.0 / seconds) };
        self.running += gain * (clipped - self.running);
        self.beats = self.beats.saturating_add(1);
        self.block = (self.block.0 + amount, self.block.1 + seconds);
        if self.block.1 >= BLOCK {
            if self.blocks.len() < MAX_BLOCKS {
                self.blocks.push(self.block.0 / self.block.1);
            }
            self.block = (0.0, 0.0);
        }
    }

    /// Forgets the hour under way: the clock has jumped.
    pub(super) fn interrupt(&mut self) {
        self.hour = None;
        self.block = (0.0, 0.0);
        self.blocks.clear();
    }

    pub(super) fn state(&self) -> BaselineState {
        #[allow(clippy::cast_possible_truncation)] // what is lost is below what is known
        BaselineState {
            levels: self.slots.iter().map(|slot| (slot.level * 1000.0).round() / 1000.0).collect(),
            seen: self.slots.iter().map(|slot| slot.seen).collect(),
            drift: self.drift as f32,
            hours: self.hours,
            running: self.running as f32,
        }
    }

    /// `None` when it is not a state that a baseline can have.
    pub(super) fn restore(state: BaselineState) -> Option<Self> {
        let BaselineState { levels, seen, drift, hours, running } = state;
        let sound = levels.len() == SLOTS
            && seen.len() == SLOTS
            && levels.iter().all(|level| level.abs() < 50.0)
            && drift.abs() <= MAX_DRIFT_F32
            && (0.0..1e12).contains(&running);
        let slots = levels.into_iter().zip(seen).map(|(level, seen)| Slot { level, seen }).collect();
        sound.then(|| Self {
            slots,
            drift: drift.into(),
            hours,
            running: running.into(),
            beats: if hours > 0 { 360 } else { 0 },
            ..Self::new()
        })
    }

    fn enter(&mut self, hour: i64) {
        if let Some(ended) = self.hour
            && hour == ended + 1
            && self.blocks.len() >= MIN_BLOCKS
        {
            self.teach(ended);
        }
        self.blocks.clear();
        self.block = (0.0, 0.0);
        self.hour = Some(hour);
        self.near = [self.level(hour - 1), self.level(hour), self.level(hour + 1)];
    }

    /// What the hour's slot learns of the hour.
    fn teach(&mut self, hour: i64) {
        let rate = winsorised_mean(&mut self.blocks);
        let foretold = match self.level(hour) {
            level if level.is_nan() => rate.max(TINY).ln(),
            level => level,
        };
        let surprise = ((rate * HOUR + FEW) / (foretold.exp() * HOUR + FEW)).ln();
        let is_grown = self.hours >= u32::try_from(SLOTS).unwrap_or(u32::MAX);
        let drift = self.drift;
        let Some(slot) = self.slots.get_mut(slot_of(hour)) else { return };
        let learnt = if slot.seen == 0 {
            let surprise = if is_grown { surprise.clamp(-STEP, STEP) } else { surprise };
            foretold - drift + surprise
        } else {
            let gain = (1.0 / (f64::from(slot.seen) + 1.0)).max(MIN_GAIN);
            f64::from(slot.level) + gain * surprise.clamp(-STEP, STEP)
        };
        #[allow(clippy::cast_possible_truncation)] // a level's last digits mean nothing
        let level = learnt.clamp(-40.0, 40.0) as f32;
        *slot = Slot { level, seen: slot.seen.saturating_add(1).min(MAX_SEEN) };
        self.hours = self.hours.saturating_add(1);
        if is_grown {
            // A fall below half may be a holiday, after which all is as before.
            let step = if surprise < -STEP { HOLIDAY } else { surprise.min(STEP) };
            self.drift = (self.drift + step / DRIFT_HOURS).clamp(-MAX_DRIFT, MAX_DRIFT);
        }
    }

    /// The level of the hour's slot, as far as it is known; NaN when nothing was ever learnt.
    fn level(&self, hour: i64) -> f64 {
        let slot = slot_of(hour);
        let seen = |slot: &&Slot| slot.seen > 0;
        let mean = |sum: f64, count: f64, prior: f64, weight: f64| (sum + prior * weight) / (count + weight);
        let (all, count) =
            self.slots.iter().filter(seen).fold((0.0, 0.0), |(sum, n), slot| (sum + f64::from(slot.level), n + 1.0));
        if count < 1.0 {
            return f64::NAN;
        }
        let (day, days) = (self.slots.iter().skip(slot % 24).step_by(24).filter(seen))
            .fold((0.0, 0.0), |(sum, n), slot| (sum + f64::from(slot.level), n + 1.0));
        let of_day = if days < 1.0 && self.running > 0.0 {
            self.running.ln() - self.drift // what was of late says more than what is on average
        } else {
            mean(day, days, all / count, LEAN)
        };
        let own = self.slots.get(slot).copied().unwrap_or_default();
        mean(f64::from(own.level) * f64::from(own.seen), f64::from(own.seen), of_day, LEAN) + self.drift
    }
}

/// The mean of what the blocks say, each brought within what most of them say.
fn winsorised_mean(blocks: &mut [f64]) -> f64 {
    let middle = median(blocks);
    let mut off: Vec<f64> = blocks.iter().map(|rate| (rate - middle).abs()).collect();
    let scatter = (1.4826 * median(&mut off)).max((middle * BLOCK).max(1.0).sqrt() / BLOCK);
    let (low, high) = ((middle - 4.0 * scatter).max(0.0), middle + 4.0 * scatter);
    #[allow(clippy::cast_precision_loss)] // a few dozen
    let count = blocks.len().max(1) as f64;
    blocks.iter().map(|rate| rate.clamp(low, high)).sum::<f64>() / count
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[allow(clippy::cast_possible_truncation)] // hours since 1970
fn hour_of(now: f64) -> i64 {
    (now / HOUR).floor() as i64
}

fn slot_of(hour: i64) -> usize {
    usize::try_from(hour.rem_euclid(168)).unwrap_or_default()
}

const HOUR: f64 = 3600.0;
/// Per second; stands for nothing.
const TINY: f64 = 1e-7;
/// Events that an hour needs to say anything.
const FEW: f64 = 3.0;
/// Most that one hour moves a level: half up, or a third down.
const STEP: f64 = 0.4;
/// The least weight of a new hour in its slot.
const MIN_GAIN: f64 = 0.15;
const MAX_SEEN: u8 = 20;
/// Weight of what a slot leans on, against one for each time that it was seen.
const LEAN: f64 = 0.25;
/// Hours in which the drift takes a step in: a new level of twice the old is learnt in two and a half days.
const DRIFT_HOURS: f64 = 36.0;
const HOLIDAY: f64 = -0.12;
const MAX_DRIFT: f64 = 4.0;
const MAX_DRIFT_F32: f32 = 4.0;
