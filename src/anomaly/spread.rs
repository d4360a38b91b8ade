//! How much a count varies around what is expected: more than chance alone, for calls come in bursts and days differ.
//!
//! The variance is `clump * mean + sway * mean²`: calls that come together make the first term, a rate that sways makes the
//! second (a negative binomial distribution has `clump` 1). Both are estimated from history, each deviation clipped.

use serde::{Deserialize, Serialize};

/// Running sums of a weighted regression, with a memory of about a week.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    count: f64,
    means: f64,
    squares: f64,
    ratios: f64,
    deviations: f64,
    clump: f64,
    sway: f64,
}

impl Spread {
    pub(super) fn new() -> Self {
        let mut new =
            Self { count: 0.0, means: 0.0, squares: 0.0, ratios: 0.0, deviations: 0.0, clump: 1.2, sway: 0.05 };
        for mean in [1.0, 10.0] {
            new.add(30.0, mean, new.variance(mean));
        }
        new
    }

    /// Takes in a window in which `count` were seen and `mean` expected; `keep` is what is left of the past after it.
    pub(super) fn learn(&mut self, count: f64, mean: f64, keep: f64) {
        let mean = mean.max(0.25);
        let deviation = (count - mean).powi(2).min(16.0 * self.variance(mean));
        for sum in [&mut self.count, &mut self.means, &mut self.squares, &mut self.ratios, &mut self.deviations] {
            *sum *= keep;
        }
        self.add(1.0, mean, deviation);
        self.solve();
    }

    /// Of a count with this mean.
    pub(super) fn variance(&self, mean: f64) -> f64 {
        self.clump * mean + self.sway * mean * mean
    }

    /// How unlikely `count` is where `mean` is expected, as a deviate of the normal distribution: the signed root of the
    /// deviance of a negative binomial distribution, of counts in clumps.
    pub(super) fn deviate(&self, count: f64, mean: f64) -> f64 {
        let mean = mean.max(0.5) / self.clump;
        let count = (count - 0.5).max(0.0) / self.clump;
        if count <= mean {
            return 0.0; // only more than usual is of interest
        }
        let size = 1.0 / self.sway;
        let deviance = count * (count / mean).ln() - (count + size) * ((count + size) / (mean + size)).ln();
        (2.0 * deviance.max(0.0)).sqrt()
    }

    /// How many come at once.
    pub(super) fn clump(&self) -> f64 {
        self.clump
    }

    pub(super) fn is_sound(&self) -> bool {
        let all = [self.count, self.means, self.squares, self.ratios, self.deviations, self.clump, self.sway];
        all.iter().all(|number| number.is_finite() && *number >= 0.0) && self.clump >= 1.0 && self.sway >= LEAST
    }

    fn add(&mut self, weight: f64, mean: f64, deviation: f64) {
        self.count += weight;
        self.means += weight * mean;
        self.squares += weight * mean * mean;
        self.ratios += weight * deviation / mean;
        self.deviations += weight * deviation;
    }

    fn solve(&mut self) {
        let Self { count, means, squares, ratios, deviations, .. } = *self;
        let determinant = count * squares - means * means;
        let mut clump = 1.0;
        if determinant > 0.05 * count * squares {
            let slope = (count * deviations - means * ratios) / determinant;
            clump = ((ratios - slope.max(LEAST) * means) / count).max(1.0);
        }
        let mut sway = ((deviations - clump * means) / squares).max(LEAST);
        if clump > MOST_CLUMP {
            clump = MOST_CLUMP;
            sway = ((deviations - clump * means) / squares).max(LEAST);
        }
        (self.clump, self.sway) = (clump, sway.min(MOST));
    }
}

/// A rate that sways by a tenth always may.
const LEAST: f64 = 0.01;
const MOST: f64 = 10.0;
const MOST_CLUMP: f64 = 1e6;
