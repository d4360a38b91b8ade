//! The state machine of one address: serving, ejected for a while, on probation, and back by a slow start.
//!
//! Plain values, the time included. Which addresses there are beside this one, and that the last one stays, is the pool's
//! to know: [`Health`] says when an address has earned its ejection, and the pool ejects it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When an address is ejected, and how it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthRules {
    /// Connections in a row that could not be made.
    pub connect_failures: u32,
    /// Connections in a row that broke before an answer, or answers in a row that broke off.
    pub resets: u32,
    /// Answers in a row with status 500, 502, 503 or 504.
    pub server_errors: u32,
    /// How long the first ejection lasts; each further one lasts twice as long.
    pub base_ejection: Duration,
    /// The longest ejection, but for up to 10 % of jitter.
    pub max_ejection: Duration,
    /// In which time the weight of an address that returns grows from 10 % to 100 %.
    pub slow_start: Duration,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self {
            connect_failures: 2,
            resets: 3,
            server_errors: 5,
            base_ejection: Duration::from_secs(5),
            max_ejection: Duration::from_secs(300),
            slow_start: Duration::from_secs(30),
        }
    }
}

/// What a request saw of the address that it went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// A new connection was made, its TLS handshake included.
    Connected,
    /// No connection was made: refused, unreachable, timed out, or the TLS handshake failed.
    ConnectFailed,
    /// The connection was reset or closed, went silent for too long, or carried garbage, before the answer or in it.
    Broken,
    /// An answer began, with this status.
    Answered(u16),
}

impl Report {
    /// What a single request shows by itself: that the address works, that it does not, or neither yet.
    pub(super) fn verdict(self) -> Option<Result<(), Cause>> {
        match self {
            Self::Connected => None,
            Self::ConnectFailed => Some(Err(Cause::Connect)),
            Self::Broken => Some(Err(Cause::Reset)),
            Self::Answered(status) if is_server_error(status) => Some(Err(Cause::ServerErrors)),
            Self::Answered(_) => Some(Ok(())),
        }
    }
}

/// 429 and 529 (`overloaded_error`) speak of load on the whole API, and would be the same from another address.
pub(super) fn is_server_error(status: u16) -> bool {
    matches!(status, 500 | 502 | 503 | 504)
}

/// Why an address was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Connections could not be made.
    Connect,
    /// Connections broke.
    Reset,
    /// Answers were server errors.
    ServerErrors,
    /// Active checks failed.
    Check,
}

impl Cause {
    /// Every cause, for metrics.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Reset, Self::ServerErrors, Self::Check];

    /// Its name in metrics and in the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::ServerErrors => "server_errors",
            Self::Check => "check",
        }
    }
}

/// A run of failures that has come to its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Earned {
    pub cause: Cause,
    /// Whether this failure brought the run to its bound, and not an earlier one. A longer run means that the address
    /// was the last one that served.
    pub first: bool,
}

/// Where an address stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It takes requests, by this weight in thousandths.
    Serving { weight: u32 },
    /// It takes none before this time, as nanoseconds of the clock.
    Ejected { until: u64 },
    /// The time of its ejection, which ended then, is over, and it has yet to prove itself.
    Probation { until: u64 },
}

/// A standing in one word, so that one load tells it. A word that has changed means that the address was ejected or
/// came back in between. Bit 0 says ejected; the rest is until when, or else since when it serves, 0 being forever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

impl Word {
    const FOREVER: Self = Self(0);

    fn serving(since: u64) -> Self {
        Self(since.max(1) << 1)
    }

    fn ejected(until: u64) -> Self {
        Self(until << 1 | 1)
    }

    pub fn is_serving(self) -> bool {
        self.0 & 1 == 0
    }

    /// Since when it serves, or until when it is ejected.
    fn time(self) -> u64 {
        self.0 >> 1
    }
}

/// The health of one address. Transitions ([`Health::eject`], [`Health::restore`]) are made by one thread at a time, as
/// the pool sees to; everything else by any, and a success costs two loads.
pub(super) struct Health {
    rules: HealthRules,
    origin: Instant,
    seed: u64,
    word: AtomicU64,
    runs: Runs,
    /// How often the length of an ejection has doubled.
    doublings: AtomicU32,
    ejections: AtomicU64,
}

impl Health {
    /// An address that serves. Times are counted from `origin`; `seed` decides the jitter of its ejections.
    pub fn new(rules: HealthRules, origin: Instant, seed: u64) -> Self {
        Self {
            rules,
            origin,
            seed,
            word: AtomicU64::new(Word::FOREVER.0),
            runs: Runs(AtomicU64::new(0)),
            doublings: AtomicU32::new(0),
            ejections: AtomicU64::new(0),
        }
    }

    pub fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Where it stands.
    pub fn standing(&self, now: Instant) -> (Word, Standing) {
        let word = self.word();
        if word == Word::FOREVER {
            return (word, Standing::Serving { weight: FULL_WEIGHT });
        }
        let (now, time) = (self.nanos(now), word.time());
        let standing = if word.is_serving() {
            Standing::Serving { weight: weight(now.saturating_sub(time), nanos(self.rules.slow_start)) }
        } else if now < time {
            Standing::Ejected { until: time }
        } else {
            Standing::Probation { until: time }
        };
        (word, standing)
    }

    /// Notes what a request saw of this address, which serves; `in_answer` says whether an answer had begun. Returns
    /// what it is to be ejected for, if it is.
    pub fn note(&self, report: Report, in_answer: bool) -> Option<Earned> {
        match report {
            Report::Connected => self.runs.clear(Run::Connect.mask()),
            Report::ConnectFailed => return self.failed(Run::Connect, self.rules.connect_failures, Cause::Connect),
            Report::Broken => {
                self.runs.clear(Run::Connect.mask());
                let run = if in_answer { Run::Cut } else { Run::Reset };
                return self.failed(run, self.rules.resets, Cause::Reset);
            }
            Report::Answered(status) if is_server_error(status) => {
                self.runs.clear(Run::Connect.mask() | Run::Reset.mask());
                return self.failed(Run::ServerErrors, self.rules.server_errors, Cause::ServerErrors);
            }
            Report::Answered(_) => {
                self.runs.clear(Run::Connect.mask() | Run::Reset.mask() | Run::ServerErrors.mask());
            }
        }
        None
    }

    /// Notes that an answer was not broken off. Only this ends a run of answers that were, for each of them began well.
    pub fn note_end(&self) {
        self.runs.clear(Run::Cut.mask());
    }

    /// Notes the outcome of an active check of this address, which serves. A check that passes proves nothing about
    /// requests, and leaves the other runs.
    pub fn note_check(&self, passed: bool) -> Option<Earned> {
        if passed {
            self.runs.clear(Run::Check.mask());
            return None;
        }
        self.failed(Run::Check, CHECK_FAILURES, Cause::Check)
    }

    fn failed(&self, run: Run, bound: u32, cause: Cause) -> Option<Earned> {
        let (length, bound) = (self.runs.lengthen(run), u64::from(bound).clamp(1, Run::LONGEST));
        (length >= bound).then_some(Earned { cause, first: length == bound })
    }

    /// Ejects it, and returns for how long.
    pub fn eject(&self, now: Instant) -> Duration {
        let (word, now) = (self.word(), self.nanos(now));
        let mut doublings = self.doublings.load(Ordering::Relaxed);
        if word.is_serving() {
            let healthy = now.saturating_sub(word.time()) / nanos(DECAY);
            doublings = doublings.saturating_sub(u32::try_from(healthy).unwrap_or(u32::MAX));
        }
        let ejections = self.ejections.fetch_add(1, Ordering::Relaxed);
        let length = ejection(&self.rules, doublings);
        let length = length + length.mul_f64(0.1 * fraction(self.seed, ejections));
        self.doublings.store(doublings.saturating_add(1), Ordering::Relaxed);
        self.store(Word::ejected(now.saturating_add(nanos(length)).min(LATEST)));
        length
    }

    /// Lets it return, by a slow start from now.
    pub fn restore(&self, now: Instant) {
        self.store(Word::serving(self.nanos(now)));
    }

    /// Lets it return as though its ejection were over, for want of another that serves.
    pub fn pardon(&self) {
        self.store(Word::serving(self.word().time()));
    }

    fn store(&self, word: Word) {
        self.runs.clear(u64::MAX);
        self.word.store(word.0, Ordering::Release);
    }

    /// How often it was ejected.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// When its ejection ends or has ended; `None` when it serves.
    pub fn ejected_until(&self) -> Option<Instant> {
        let word = self.word();
        if word.is_serving() { None } else { self.origin.checked_add(Duration::from_nanos(word.time())) }
    }

    fn nanos(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.origin)).min(LATEST)
    }
}

/// Lengths of runs of failures, 12 bits each, so that one load tells that there is none.
struct Runs(AtomicU64);

#[derive(Clone, Copy)]
enum Run {
    Connect = 0,
    /// Broken before the answer.
    Reset = 12,
    /// Broken in the answer.
    Cut = 24,
    ServerErrors = 36,
    Check = 48,
}

impl Run {
    const LONGEST: u64 = 0xfff;

    fn mask(self) -> u64 {
        Self::LONGEST << self as u64
    }
}

impl Runs {
    fn lengthen(&self, run: Run) -> u64 {
        let lengthened = |runs: u64| {
            let is_longest = runs & run.mask() == run.mask();
            if is_longest { runs } else { runs + (1 << run as u64) }
        };
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |runs| Some(lengthened(runs)));
        (lengthened(before.unwrap_or_else(|runs| runs)) & run.mask()) >> run as u64
    }

    fn clear(&self, mask: u64) {
        if self.0.load(Ordering::Relaxed) & mask != 0 {
            self.0.fetch_and(!mask, Ordering::Relaxed);
        }
    }
}

/// The length of an ejection before jitter: the base, doubled that often, and capped.
fn ejection(rules: &HealthRules, doublings: u32) -> Duration {
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    rules.base_ejection.saturating_mul(factor).min(rules.max_ejection).min(LONGEST_EJECTION)
}

fn weight(served: u64, slow_start: u64) -> u32 {
    if served >= slow_start {
        return FULL_WEIGHT;
    }
    let grown = u128::from(served) * u128::from(FULL_WEIGHT - FIRST_WEIGHT) / u128::from(slow_start);
    FIRST_WEIGHT + u32::try_from(grown).unwrap_or(0)
}

/// A number from 0 to 1 that differs from seed to seed and from turn to turn, and is the same every time (the finalizer
/// of `SplitMix64`).
pub(super) fn fraction(seed: u64, turn: u64) -> f64 {
    let mut mixed = seed.wrapping_add(turn.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let high = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0);
    f64::from(high) / f64::from(u32::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The weight of an address in its full strength, and with which one returns, in thousandths.
pub(super) const FULL_WEIGHT: u32 = 1_000;
const FIRST_WEIGHT: u32 = 100;
const CHECK_FAILURES: u32 = 2;
/// An address that served for that long has the length of its next ejection halved once.
const DECAY: Duration = Duration::from_secs(600);
/// Nobody configures this; it keeps the arithmetic exact.
const LONGEST_EJECTION: Duration = Duration::from_secs(86_400 * 365);
/// The last time that a word can hold: 292 years after the origin.
const LATEST: u64 = u64::MAX >> 1;

#[cfg(test)]
mod tests;
