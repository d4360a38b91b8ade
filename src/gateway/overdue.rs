//! Ends an exchange whose upstream takes too long.
//!
//! Pingora knows one bound for every read. An answer may take minutes to begin and must not pause for as long, so the time
//! is watched here, beside the wait for the client to leave. A ping of a stream is a byte like any other.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pingora::ErrorType;
use tokio::time::Sleep;

use crate::denial::Overdue;
use crate::upstream::Patience;

/// Carry what ran out through Pingora's error type, from the session that noticed it to `fail_to_proxy`.
const FIRST_BYTE: ErrorType = ErrorType::new("OverdueFirstByte");
const SILENCE: ErrorType = ErrorType::new("OverdueSilence");
const TOTAL: ErrorType = ErrorType::new("OverdueTotal");

/// How far an exchange has come, noted by the phases and read by [`OverdueWatch`].
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// Nanoseconds from `began` to the last step: a connection, or a piece of the answer.
    last: AtomicU64,
    /// Whether the answer has begun.
    begun: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), last: AtomicU64::new(0), begun: AtomicBool::new(false) })
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A connection is there, and an answer is waited for.
    pub(super) fn connected(&self) {
        self.begun.store(false, Ordering::Relaxed);
        self.last.store(self.elapsed(), Ordering::Relaxed);
    }

    /// The answer's head has come.
    pub(super) fn answered(&self) {
        self.begun.store(true, Ordering::Relaxed);
        self.last.store(self.elapsed(), Ordering::Relaxed);
    }

    /// A piece of the answer has come, and the client has taken it.
    fn continued(&self) {
        if self.begun.load(Ordering::Relaxed) {
            self.last.store(self.elapsed(), Ordering::Relaxed);
        }
    }

    /// How long ago the last step was.
    pub(super) fn waited(&self) -> Duration {
        Duration::from_nanos(self.elapsed().saturating_sub(self.last.load(Ordering::Relaxed)))
    }

    /// What runs out next, and when.
    fn due(&self, patience: &Patience) -> (Instant, Overdue) {
        let last = self.began + Duration::from_nanos(self.last.load(Ordering::Relaxed));
        let next = if self.begun.load(Ordering::Relaxed) {
            (last + patience.silence, Overdue::Silence)
        } else {
            (last + patience.first_byte, Overdue::FirstByte)
        };
        match patience.total.map(|total| self.began + total) {
            Some(total) if total < next.0 => (total, Overdue::Total),
            _ => next,
        }
    }
}

/// Waits until an exchange is overdue.
pub(super) struct OverdueWatch {
    progress: Arc<Progress>,
    patience: Patience,
    /// Kept from wait to wait: one is begun with every piece of an answer, and the timer is only set when it rings.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl OverdueWatch {
    pub(super) fn new(progress: Arc<Progress>, patience: Patience) -> Self {
        Self { progress, patience, alarm: None }
    }

    /// Notes that what has come was passed on. Only from here on the upstream is silent: how long the client took to read
    /// says nothing of the upstream.
    pub(super) fn passed_on(&self) {
        self.progress.continued();
    }

    /// Returns the error to end the exchange with when its time is over. May be dropped and called again.
    pub(super) async fn overdue(&mut self) -> ErrorType {
        loop {
            let alarm = self
                .alarm
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.progress.due(&self.patience).0.into())));
            alarm.as_mut().await;
            let (due, overdue) = self.progress.due(&self.patience);
            if due <= Instant::now() {
                return carrier(overdue);
            }
            alarm.as_mut().reset(due.into());
        }
    }
}

fn carrier(overdue: Overdue) -> ErrorType {
    match overdue {
        Overdue::FirstByte => FIRST_BYTE,
        Overdue::Silence => SILENCE,
        Overdue::Total => TOTAL,
    }
}

/// What ran out, of an error that an [`OverdueWatch`] made.
pub(super) fn overdue(kind: &ErrorType) -> Option<Overdue> {
    [Overdue::FirstByte, Overdue::Silence, Overdue::Total].into_iter().find(|overdue| carrier(*overdue) == *kind)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const PATIENCE: Patience =
        Patience { first_byte: Duration::from_secs(600), silence: Duration::from_secs(60), total: None };

    fn in_seconds(progress: &Progress, patience: &Patience) -> (u64, Overdue) {
        let (due, overdue) = progress.due(patience);
        ((due - progress.began).as_secs(), overdue)
    }

    #[test]
    fn an_answer_may_be_long_in_coming_and_must_not_pause() {
        let progress = Progress::new();
        progress.connected();
        assert_eq!(in_seconds(&progress, &PATIENCE), (600, Overdue::FirstByte));
        progress.answered();
        assert_eq!(in_seconds(&progress, &PATIENCE), (60, Overdue::Silence));
        progress.last.store(90_000_000_000, Ordering::Relaxed);
        assert_eq!(in_seconds(&progress, &PATIENCE), (150, Overdue::Silence));
        let bounded = Patience { total: Some(Duration::from_secs(100)), ..PATIENCE };
        assert_eq!(in_seconds(&progress, &bounded), (100, Overdue::Total));
        progress.connected();
        assert_eq!(in_seconds(&progress, &PATIENCE).1, Overdue::FirstByte, "another attempt begins anew");
    }

    #[test]
    fn silence_counts_from_when_the_client_took_the_last_piece() {
        let progress = Progress::new();
        progress.connected();
        let watch = OverdueWatch::new(Arc::clone(&progress), PATIENCE);
        let connected = progress.last.load(Ordering::Relaxed);
        watch.passed_on();
        assert_eq!(progress.last.load(Ordering::Relaxed), connected, "an interim answer is not the head");
        progress.answered();
        progress.last.store(1, Ordering::Relaxed);
        watch.passed_on();
        assert!(progress.last.load(Ordering::Relaxed) > connected);
    }

    #[tokio::test]
    async fn the_wait_can_be_dropped_and_begun_again_and_a_byte_puts_its_end_off() {
        let progress = Progress::new();
        let patience = Patience { silence: Duration::from_millis(20), ..PATIENCE };
        progress.answered();
        let mut watch = OverdueWatch::new(Arc::clone(&progress), patience);
        let _ = watch.overdue().now_or_never(); // the alarm is set
        let byte = Duration::from_millis(50); // comes later
        progress.last.store(u64::try_from(byte.as_nanos()).unwrap(), Ordering::Relaxed);
        assert_eq!(overdue(&watch.overdue().await), Some(Overdue::Silence));
        assert!(progress.began.elapsed() >= byte + patience.silence);
    }
}
