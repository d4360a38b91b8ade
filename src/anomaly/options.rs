//! What is looked for, and from where on it is told.

use std::time::Duration;

/// The settings of [`Signals`](super::Signals).
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Time between two beats.
    pub beat: Duration,
    /// How long a series only learns.
    pub warm_up: Duration,
    /// The deviate, in standard deviations of a normal distribution, at which the score is 1.
    pub threshold: f64,
    /// The least multiple of what is expected that is an alarm.
    pub ratio: f64,
    /// Teams that have series of their own.
    pub top_teams: usize,
    /// Callers that have series of their own.
    pub top_subjects: usize,
    /// Refused tokens of one address within a minute.
    pub refused_tokens: u32,
    /// Addresses of one caller within five minutes.
    pub addresses: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            beat: Duration::from_secs(10),
            warm_up: Duration::from_secs(7 * 86_400),
            threshold: 4.3,
            ratio: 2.1,
            top_teams: 20,
            top_subjects: 50,
            refused_tokens: 60,
            addresses: 6,
        }
    }
}
