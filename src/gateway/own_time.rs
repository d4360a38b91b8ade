//! The proxy's own share of a request's time.

use std::time::{Duration, Instant};

/// A stopwatch that runs while the proxy is at work on a request, and rests while it waits for the client or the upstream.
///
/// At work it is from the head's arrival on, but for the waits for pieces of the body, until the decision (where that is a
/// refusal) or until an address is chosen, the wait for the record to be on disk and for a shared store included; then from
/// the connection to the whole request that goes up; and in each look at the answer's head and at a piece of its body.
/// Connecting, sending, the upstream's thinking and the client's reading are rest.
#[derive(Debug)]
pub(super) struct OwnTime {
    worked: Duration,
    /// Since when it works, or rests.
    since: Instant,
    works: bool,
}

impl OwnTime {
    /// At work since then.
    pub(super) fn at_work_since(since: Instant) -> Self {
        Self { worked: Duration::ZERO, since, works: true }
    }

    /// Goes to work; how long it has rested, nothing if it was at work.
    pub(super) fn work(&mut self) -> Duration {
        if self.works {
            return Duration::ZERO;
        }
        self.works = true;
        self.turn()
    }

    /// Rests. Does nothing at rest.
    pub(super) fn rest(&mut self) {
        if self.works {
            self.works = false;
            let worked = self.turn();
            self.worked += worked;
        }
    }

    /// The time at work up to the last rest: the end of a request is none of its phases.
    pub(super) fn total(&self) -> Duration {
        self.worked
    }

    fn turn(&mut self) -> Duration {
        let now = Instant::now();
        let past = now.saturating_duration_since(self.since);
        self.since = now;
        past
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes the watch's current span so much longer.
    fn pass(watch: &mut OwnTime, milliseconds: u64) {
        watch.since = watch.since.checked_sub(Duration::from_millis(milliseconds)).unwrap();
    }

    #[test]
    fn waits_do_not_count() {
        let mut watch = OwnTime::at_work_since(Instant::now());
        pass(&mut watch, 1_000);
        watch.rest();
        pass(&mut watch, 70_000);
        watch.rest();
        assert!(watch.work() >= Duration::from_secs(70));
        pass(&mut watch, 2_000);
        assert_eq!(watch.work(), Duration::ZERO);
        watch.rest();
        pass(&mut watch, 90_000);
        let total = watch.total();
        assert!((Duration::from_secs(3)..Duration::from_secs(70)).contains(&total), "{total:?}");
    }
}
