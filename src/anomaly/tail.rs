//! How far a series strays on its own: the highest deviate of each day, so that one whose bursts no distribution foresees
//! calibrates itself.

use serde::{Deserialize, Serialize};

/// The highest deviates of the last days.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tail {
    day: i64,
    now: f32,
    days: Vec<f32>,
}

/// Days that are remembered.
const DAYS: usize = 14;
/// How far a week's highest deviate is above a usual day's.
const MARGIN: f64 = 1.3;
/// More than this says no more.
const MOST: f64 = 20.0;

impl Tail {
    /// Takes in a deviate.
    pub(super) fn learn(&mut self, day: i64, deviate: f64) {
        if day != self.day {
            if self.day != 0 {
                self.days.push(self.now);
                if self.days.len() > DAYS {
                    self.days.remove(0);
                }
            }
            (self.day, self.now) = (day, 0.0);
        }
        #[allow(clippy::cast_possible_truncation)] // bounded
        let deviate = deviate.min(MOST) as f32;
        self.now = self.now.max(deviate);
    }

    /// The deviate from which on something is out of the ordinary, at least `floor`. A day with an anomaly counts as one of
    /// many.
    pub(super) fn threshold(&self, floor: f64) -> f64 {
        let mut days = self.days.clone();
        days.sort_unstable_by(f32::total_cmp);
        let usual = days.get(days.len().saturating_sub(1) * 2 / 5).copied().unwrap_or_default();
        floor.max(f64::from(usual) + MARGIN)
    }

    pub(super) fn is_sound(&self) -> bool {
        let is_deviate = |deviate: &f32| (0.0..=MOST).contains(&f64::from(*deviate));
        self.days.len() <= DAYS && self.days.iter().all(is_deviate) && is_deviate(&self.now)
    }
}
