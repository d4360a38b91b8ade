//! Traffic as companies make it, by a seed: office hours and weekends, days that differ, a rate that sways, calls that come in
//! clumps, busy minutes, slow growth, a holiday; and spikes, whose times are known.

/// A deterministic source of chance (splitmix64).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 30.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.uniform(), 0.0);
        while product > limit {
            product *= self.uniform();
            count += 1.0;
        }
        count
    }
}

/// What traffic is like.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Events per second in office hours.
    pub busy: f64,
    /// What is left of it at night.
    pub night: f64,
    /// What is left of it on a weekend.
    pub weekend: f64,
    /// How days differ, as the deviation of a logarithm.
    pub days: f64,
    /// How the rate sways within half an hour.
    pub sway: f64,
    /// How many more events come with one, on average.
    pub clump: f64,
    /// Growth in a week.
    pub growth: f64,
    /// Busy quarters of an hour in a day, of 1.5 times the rate.
    pub bursts: f64,
    /// The day, from 0, that is a holiday: a fifth of the traffic.
    pub holiday: Option<u32>,
    /// Lognormal weight of an event, as the deviation of a logarithm; 0 counts events.
    pub weight: f64,
}

impl Shape {
    pub(crate) const OFFICE: Self = Self {
        busy: 1.0,
        night: 0.15,
        weekend: 0.3,
        days: 0.12,
        sway: 0.12,
        clump: 0.3,
        growth: 0.03,
        bursts: 2.0,
        holiday: Some(31),
        weight: 0.0,
    };
}

/// A spike: from when to when, in seconds from the start, and how often the rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spike {
    pub from: f64,
    pub to: f64,
    pub times: f64,
}

/// A row of counts, beat by beat.
pub(crate) struct Traffic {
    shape: Shape,
    chance: Chance,
    day: u32,
    of_day: f64,
    sway: f64,
    burst_until: f64,
}

pub(crate) const BEAT: f64 = 10.0;
pub(crate) const DAY: f64 = 86_400.0;

impl Traffic {
    pub(crate) fn new(shape: Shape, seed: u64) -> Self {
        Self { shape, chance: Chance::new(seed), day: u32::MAX, of_day: 1.0, sway: 0.0, burst_until: 0.0 }
    }

    /// The rate that the hour and the growth make: what a spike is a multiple of.
    pub(crate) fn usual(&self, at: f64) -> f64 {
        let shape = &self.shape;
        let (day, hour) = ((at / DAY).floor(), (at % DAY) / 3600.0);
        let office = (1.0 / (1.0 + (-(hour - 8.0) * 1.6).exp())) * (1.0 / (1.0 + ((hour - 18.0) * 1.2).exp()));
        let lunch = 1.0 - 0.25 * (-(hour - 12.5).powi(2) / 0.5).exp();
        let week = if day % 7.0 >= 5.0 { shape.weekend } else { 1.0 };
        shape.busy
            * (shape.night + (1.0 - shape.night) * office * lunch)
            * week
            * (1.0 + shape.growth).powf(at / (7.0 * DAY))
    }

    /// What is counted in the beat that ends at `at`, with the spike if it is its time.
    pub(crate) fn beat(&mut self, at: f64, spike: Option<&Spike>) -> f64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let day = (at / DAY) as u32;
        if day != self.day {
            self.day = day;
            self.of_day = (self.shape.days * self.chance.normal()).exp();
            if self.shape.holiday == Some(day) {
                self.of_day *= 0.2;
            }
        }
        let keep = (-BEAT / 1800.0).exp();
        self.sway = self.sway * keep + (1.0 - keep * keep).sqrt() * self.shape.sway * self.chance.normal();
        if self.chance.uniform() < self.shape.bursts * BEAT / DAY {
            self.burst_until = at + 900.0;
        }
        let burst = if at < self.burst_until { 1.5 } else { 1.0 };
        let inside = spike.map_or(0.0, |spike| (at.min(spike.to) - (at - BEAT).max(spike.from)).max(0.0));
        let seconds = BEAT + spike.map_or(0.0, |spike| inside * (spike.times - 1.0));
        let mean = self.usual(at) * self.of_day * self.sway.exp() * burst * seconds;
        let arrivals = self.chance.poisson(mean / (1.0 + self.shape.clump));
        let more = self.chance.poisson(arrivals * self.shape.clump);
        let events = arrivals + more;
        if self.shape.weight <= 0.0 {
            return events;
        }
        let mut sum = 0.0;
        let cap = 4.0 * (self.shape.weight.powi(2) / 2.0).exp(); // as the tally bounds it
        let drawn = events.min(200.0);
        let mut left = drawn;
        while left >= 1.0 {
            sum += (self.shape.weight * self.chance.normal()).exp().min(cap);
            left -= 1.0;
        }
        if drawn > 0.0 { sum * events / drawn } else { 0.0 }
    }
}
