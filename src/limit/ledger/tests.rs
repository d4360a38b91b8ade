use proptest::prelude::*;

use super::super::measure::Measure;
use super::super::rule::Per;
use super::super::span::Unit;
use super::*;

fn key(span: Span, who: u8) -> BucketKey {
    BucketKey { rule: 1, per: Per::Subject, measure: Measure::Requests, span, who: [who; 16] }
}

fn charge(span: Span, bound: u64, amount: u64) -> Charge {
    Charge { rule: 0, key: key(span, 1), bound, amount }
}

const MINUTE: Span = Span::Sliding(Unit::Minute);
const DAY: Span = Span::Calendar(Unit::Day);
const NOON: u64 = 1_795_521_600_000;

#[test]
fn a_refusal_says_when_it_would_fit() {
    let ledger = Ledger::new();
    for (amount, at) in [(4, 0), (5, 10_000)] {
        assert!(ledger.acquire(&[charge(MINUTE, 10, amount)], NOON + at).is_ok());
    }
    let wait = |amount| ledger.acquire(&[charge(MINUTE, 10, amount)], NOON + 20_000).unwrap_err().wait;
    assert_eq!(wait(2), Some(42_000)); // the first four are gone 62 seconds after noon, one slot late
    assert_eq!(wait(6), Some(52_000));
    assert_eq!(wait(11), None);
    assert!(ledger.acquire(&[charge(MINUTE, 10, 5)], NOON + 62_000).is_ok());
}

#[test]
fn a_budget_is_whole_again_with_the_calendar() {
    let ledger = Ledger::new();
    let midnight = NOON + 43_200_000;
    assert!(ledger.acquire(&[charge(DAY, 10, 10)], midnight - 1_000).is_ok());
    assert_eq!(ledger.acquire(&[charge(DAY, 10, 1)], midnight - 1_000).unwrap_err().wait, Some(1_000));
    assert!(ledger.acquire(&[charge(DAY, 10, 10)], midnight).is_ok());
}

#[test]
fn all_is_counted_or_nothing_and_the_longest_wait_is_told() {
    let ledger = Ledger::new();
    let both = |minute, day| [charge(MINUTE, 10, minute), charge(DAY, 10, day)];
    assert!(ledger.acquire(&both(10, 10), NOON).is_ok());
    assert_eq!(ledger.acquire(&both(1, 1), NOON), Err(Full { charge: 1, wait: Some(43_200_000) }));
    assert_eq!(ledger.acquire(&both(11, 1), NOON), Err(Full { charge: 0, wait: None }));
    ledger.correct(&key(DAY, 1), DAY.slot(NOON), -5, NOON);
    assert_eq!(ledger.acquire(&both(1, 1), NOON).unwrap_err().charge, 0);
    assert_eq!(ledger.used(&key(DAY, 1), NOON).used, 5);
}

#[test]
fn a_full_table_refuses_new_callers_and_forgets_idle_sessions() {
    let ledger = Ledger::new();
    let numbered = |per, number: usize| Charge {
        rule: 0,
        key: BucketKey { per, who: (number as u128).to_be_bytes(), ..key(MINUTE, 0) },
        bound: 1,
        amount: 1,
    };
    for per in [Per::Subject, Per::Session] {
        for number in 0..BUCKETS {
            assert!(ledger.acquire(&[numbered(per, number)], NOON + number as u64).is_ok());
        }
    }
    let now = NOON + BUCKETS as u64 - 90_000;
    assert!(ledger.acquire(&[numbered(Per::Session, BUCKETS)], now).is_ok());
    assert!(ledger.len() < 2 * BUCKETS);
    assert_eq!(ledger.acquire(&[numbered(Per::Subject, BUCKETS)], now).unwrap_err().wait, Some(1_000));
    // Those of the first minute are empty by now.
    assert!(ledger.acquire(&[numbered(Per::Subject, BUCKETS)], now + 30_000).is_ok());
}

#[test]
fn empty_counts_are_swept() {
    let ledger = Ledger::new();
    let _ = ledger.add(&[charge(MINUTE, 1, 1), charge(Span::UnderWay, 1, 1)], NOON);
    ledger.sweep(NOON + 59_000);
    assert_eq!(ledger.len(), 2);
    ledger.correct(&key(Span::UnderWay, 1), 0, -1, NOON);
    ledger.sweep(NOON + 62_000);
    assert_eq!(ledger.len(), 0);
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    /// The clock moves, back too.
    Tick(i64),
    Acquire(u64),
    /// Corrects the acquisition at this place in the history, if there is one.
    Correct(usize, i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_i64..40_000).prop_map(Step::Tick),
        1 => (-30_000_i64..0).prop_map(Step::Tick),
        1 => (-300_000_i64..300_000).prop_map(Step::Tick),
        6 => (1_u64..60).prop_map(Step::Acquire),
        3 => (0_usize..40, -60_i64..60).prop_map(|(at, delta)| Step::Correct(at, delta)),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    /// The model keeps every use with its time. It is told how the ledger takes a clock that goes back (time stands still, or,
    /// when it went back further than the window, all that still counts is of now), and that what no longer counts is
    /// forgotten for good; all else follows from the promise.
    #[test]
    fn no_window_ever_holds_more_than_the_bound_and_nothing_is_lost(steps in steps()) {
        const BOUND: u64 = 100;
        let ledger = Ledger::new();
        let mut now = NOON;
        let mut uses: Vec<(u64, u64)> = Vec::new(); // when, how much
        for step in steps {
            let newest = uses.iter().map(|&(at, _)| at).max().unwrap_or(0);
            match step {
                Step::Tick(by) => now = now.saturating_add_signed(by),
                Step::Correct(at, delta) => {
                    if let Some((at, amount)) = uses.get_mut(at) {
                        let held = i64::try_from(*amount).unwrap();
                        let delta = delta.max(-held);
                        let still_counts = MINUTE.slot(*at) + MINUTE.reach() >= MINUTE.slot(newest);
                        ledger.correct(&key(MINUTE, 1), MINUTE.slot(*at), delta, now);
                        if still_counts {
                            *amount = amount.saturating_add_signed(delta);
                        }
                    }
                }
                Step::Acquire(amount) => {
                    let still = MINUTE.slot(newest) > MINUTE.slot(now);
                    let is_far = still && MINUTE.slot(newest) - MINUTE.slot(now) > MINUTE.reach();
                    if is_far {
                        let counts = |at: u64| MINUTE.slot(at) + MINUTE.reach() >= MINUTE.slot(newest);
                        uses.retain(|&(at, _)| counts(at));
                        for (at, _) in &mut uses {
                            *at = now;
                        }
                    }
                    let at = if still && !is_far { newest } else { now };
                    uses.retain(|&(earlier, _)| MINUTE.slot(earlier) + MINUTE.reach() >= MINUTE.slot(at));
                    let in_window = |uses: &[(u64, u64)], end: u64| -> u64 {
                        uses.iter().filter(|&&(at, _)| at + 60_000 > end && at <= end).map(|&(_, amount)| amount).sum()
                    };
                    let outcome = ledger.acquire(&[charge(MINUTE, BOUND, amount)], now);
                    let counted: u64 = uses.iter().map(|&(_, amount)| amount).sum();
                    match outcome {
                        Ok(counts) => {
                            uses.push((at, amount));
                            prop_assert!(in_window(&uses, at) <= BOUND);
                            prop_assert_eq!(counts[0].used, counted + amount, "what was settled is what is counted");
                        }
                        Err(full) => {
                            prop_assert!(counted + amount > BOUND, "refused though it fits");
                            if let Some(wait) = full.wait {
                                prop_assert!(wait > 0 && amount <= BOUND);
                            }
                        }
                    }
                }
            }
        }
    }
}
