//! Retries as a share of traffic, so that they never become a storm of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many retries there may be: a share of the requests, and a few per second in any case.
///
/// Every request deposits `share`, every retry withdraws 1. What is saved up is bounded by ten seconds of the floor and by
/// 100, whichever is more, so that a quiet hour does not buy a storm. There is no lock.
pub struct RetryBudget {
    /// In billionths of a retry, as are `cap` and `balance`.
    share: u64,
    cap: u64,
    balance: AtomicU64,
    /// The time between two retries of the floor, in nanoseconds; `None` when there is no floor.
    spacing: Option<u64>,
    origin: Instant,
    /// When the floor's last retry is paid for, in nanoseconds since the origin (GCRA's theoretical arrival time).
    paid: AtomicU64,
    exhausted: AtomicU64,
}

impl RetryBudget {
    /// A budget of `share` retries a request (0.1 is one in ten) and `floor` a second, with the floor's first second
    /// saved up. A share that is negative or no number is none; one above 1 is 1.
    pub fn new(share: f64, floor: u32) -> Self {
        let share = Duration::try_from_secs_f64(share.clamp(0.0, 1.0)).unwrap_or(Duration::ZERO);
        Self {
            share: u64::try_from(share.as_nanos()).unwrap_or(ONE),
            cap: (u64::from(floor) * 10).max(100) * ONE,
            balance: AtomicU64::new(0),
            spacing: SECOND.checked_div(u64::from(floor)).map(|spacing| spacing.max(1)),
            origin: Instant::now(),
            paid: AtomicU64::new(0),
            exhausted: AtomicU64::new(0),
        }
    }

    /// Counts a first attempt.
    pub fn request(&self) {
        if self.balance.load(Ordering::Relaxed) < self.cap {
            let deposit = |balance: u64| Some(balance.saturating_add(self.share).min(self.cap));
            let _ = self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, deposit);
        }
    }

    /// Takes one retry, if there is one to take.
    pub fn try_retry(&self, now: Instant) -> bool {
        let withdrawal = |balance: u64| balance.checked_sub(ONE);
        let granted =
            self.try_floor(now) || self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, withdrawal).is_ok();
        if !granted {
            self.exhausted.fetch_add(1, Ordering::Relaxed);
        }
        granted
    }

    fn try_floor(&self, now: Instant) -> bool {
        let Some(spacing) = self.spacing else { return false };
        // A second ahead of its origin, so that the first second's retries are there at once.
        let now = u64::try_from(now.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX);
        let now = now.saturating_add(SECOND);
        let next = |paid: u64| {
            let next = paid.max(now.saturating_sub(SECOND)).saturating_add(spacing);
            (next <= now).then_some(next)
        };
        self.paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// How many retries were refused.
    pub fn exhausted_total(&self) -> u64 {
        self.exhausted.load(Ordering::Relaxed)
    }
}

/// One retry of the balance.
const ONE: u64 = 1_000_000_000;
const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn granted(budget: &RetryBudget, tries: u32, now: Instant) -> usize {
        (0..tries).filter(|_| budget.try_retry(now)).count()
    }

    #[test]
    fn retries_are_a_share_of_requests_and_a_few_more() {
        let budget = RetryBudget::new(0.1, 3);
        let now = budget.origin;
        assert_eq!(granted(&budget, 10, now), 3);
        for _ in 0..100 {
            budget.request();
        }
        assert_eq!(granted(&budget, 20, now), 10);
        assert_eq!(granted(&budget, 20, now + Duration::from_millis(334)), 1);
        assert_eq!(granted(&budget, 20, now + Duration::from_secs(10)), 3);
        assert_eq!(budget.exhausted_total(), 7 + 10 + 19 + 17);
    }

    #[test]
    fn a_quiet_hour_does_not_buy_a_storm() {
        for (floor, cap) in [(0, 100), (3, 100), (50, 500)] {
            let budget = RetryBudget::new(1.0, floor);
            for _ in 0..10_000 {
                budget.request();
            }
            let hour = budget.origin + Duration::from_secs(3_600);
            assert_eq!(granted(&budget, 20_000, hour), cap + floor as usize);
        }
    }

    #[test]
    fn a_share_that_is_none_grants_none() {
        for share in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            let budget = RetryBudget::new(share, 0);
            for _ in 0..1_000 {
                budget.request();
            }
            let share = budget.share;
            assert_eq!((granted(&budget, 10, budget.origin), budget.exhausted_total()), (0, 10), "{share}");
        }
    }

    proptest! {
        #[test]
        fn never_more_than_share_and_floor(
            per_mille in 0..=1_000_u32,
            floor in 0..20_u32,
            steps in proptest::collection::vec((0..3_u8, 0..2_000_u64), 0..2_000),
        ) {
            let share = f64::from(per_mille) / 1_000.0;
            let budget = RetryBudget::new(share, floor);
            let (mut now, mut requests, mut retries) = (budget.origin, 0_u32, 0_u32);
            for (step, millis) in steps {
                match step {
                    0 => { budget.request(); requests += 1; }
                    1 => now += Duration::from_millis(millis / 10),
                    _ => retries += u32::from(budget.try_retry(now)),
                }
                let floor_so_far = f64::from(floor) * ((now - budget.origin).as_secs_f64() + 1.0);
                let most = share * f64::from(requests) + floor_so_far;
                prop_assert!(f64::from(retries) <= most + 1e-6, "{retries} of {most}");
            }
        }
    }
}
