//! Requests under way, counted so that a stop can wait for the last of them.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The number of requests under way.
#[derive(Debug, Default)]
pub struct InFlight {
    count: Mutex<usize>,
    changed: Condvar,
}

/// One request under way, until dropped.
#[derive(Debug)]
pub struct InFlightGuard(Arc<InFlight>);

impl InFlight {
    /// Counts one more, until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlightGuard {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        InFlightGuard(Arc::clone(self))
    }

    /// How many are under way.
    pub fn count(&self) -> usize {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until none is under way, `within` at most. Returns how many are left.
    pub fn wait_for_none(&self, within: Duration) -> usize {
        let end = Instant::now() + within;
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        while *count > 0 {
            let Some(left) = end.checked_duration_since(Instant::now()) else { break };
            count = self.changed.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *count
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut count = self.0.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count -= 1;
        if *count == 0 {
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_last_and_no_longer_than_told() {
        let in_flight = Arc::<InFlight>::default();
        assert_eq!(in_flight.wait_for_none(Duration::from_secs(60)), 0);
        let guard = in_flight.enter();
        assert_eq!(in_flight.wait_for_none(Duration::from_millis(1)), 1);
        let thread = std::thread::spawn(move || drop(guard));
        assert_eq!(in_flight.wait_for_none(Duration::from_secs(60)), 0);
        thread.join().unwrap();
    }
}
