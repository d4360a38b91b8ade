use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Longer than any ejection that these tests cause.
const LONG: Duration = Duration::from_secs(400);

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, u8::try_from(number).unwrap()], 443))
}

fn placed(numbers: impl IntoIterator<Item = usize>, preferred: usize) -> Vec<Placed> {
    numbers.into_iter().map(|number| Placed { address: address(number), preferred: number < preferred }).collect()
}

/// Addresses from 0, of which the first few are preferred.
fn pool(addresses: usize, preferred: usize, checked: bool) -> (Pool, Instant) {
    let pool = Pool::new(HealthRules::default(), checked);
    pool.replace(&placed(0..addresses, preferred));
    (pool, Instant::now())
}

/// A lease of this very address.
fn lease_of(pool: &Pool, number: usize, now: Instant) -> Lease {
    let others: Vec<_> =
        pool.states(now).iter().map(|state| state.address).filter(|other| *other != address(number)).collect();
    pool.choose(&others, now).unwrap()
}

fn fail(pool: &Pool, number: usize, now: Instant) {
    for _ in 0..2 {
        lease_of(pool, number, now).report(Report::ConnectFailed, now);
    }
}

fn serving(pool: &Pool, now: Instant) -> Vec<SocketAddr> {
    pool.states(now).into_iter().filter(|state| state.serving).map(|state| state.address).collect()
}

fn chosen(pool: &Pool, tried: &[SocketAddr], now: Instant) -> Option<SocketAddr> {
    pool.choose(tried, now).map(|lease| lease.address())
}

#[test]
fn an_empty_pool_has_nothing_to_choose() {
    let (pool, now) = pool(0, 0, false);
    assert!(pool.is_empty() && pool.choose(&[], now).is_none());
}

#[test]
fn three_equal_addresses_take_turns() {
    let (pool, now) = pool(3, 0, false);
    let mut counts = HashMap::new();
    for _ in 0..300 {
        *counts.entry(chosen(&pool, &[], now)).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [100, 100, 100]);
}

#[test]
fn two_of_three_share_evenly_while_one_is_ejected() {
    let (pool, now) = pool(3, 0, false);
    fail(&pool, 1, now);
    let of_first = (0..100).filter(|_| chosen(&pool, &[], now) == Some(address(0))).count();
    assert_eq!(of_first, 50);
}

#[test]
fn the_preferred_zone_spills_over_only_when_it_must() {
    let (pool, now) = pool(4, 2, false);
    let held: Vec<_> = (0..40).map(|_| pool.choose(&[], now).unwrap()).collect();
    assert!(held.iter().all(|lease| lease.address() < address(2)), "full is no reason to leave the zone");
    fail(&pool, 0, now);
    assert_eq!(chosen(&pool, &[], now), Some(address(1)));
    assert!(chosen(&pool, &[address(1)], now) > Some(address(1)), "a retry does not go to the ejected one");
    fail(&pool, 1, now);
    assert!(chosen(&pool, &[], now) > Some(address(1)));
}

#[test]
fn an_untried_address_comes_before_a_tried_one_and_any_is_better_than_none() {
    let (pool, now) = pool(2, 0, false);
    fail(&pool, 0, now);
    assert_eq!(chosen(&pool, &[address(1)], now), Some(address(0)));
    assert_eq!(chosen(&pool, &[address(0), address(1)], now), Some(address(1)));
}

#[test]
fn the_last_address_that_serves_stays_until_another_returns() {
    let (pool, now) = pool(2, 0, false);
    fail(&pool, 0, now);
    for _ in 0..10 {
        fail(&pool, 1, now);
    }
    assert_eq!(serving(&pool, now), [address(1)]);
    assert_eq!(pool.ejections_total(Cause::Connect), 1);
    let later = now + LONG;
    pool.choose(&[], later).unwrap().report(Report::Answered(200), later);
    assert_eq!(serving(&pool, later), [address(0), address(1)]);
    lease_of(&pool, 1, later).report(Report::ConnectFailed, later);
    assert_eq!(serving(&pool, later), [address(0)], "its run has gone on");
}

#[test]
fn one_request_at_a_time_tries_an_address_on_probation() {
    let (pool, now) = pool(2, 0, false);
    fail(&pool, 0, now);
    assert_eq!(chosen(&pool, &[], now), Some(address(1)), "the ejection is not over");
    let later = now + LONG;
    assert_eq!(chosen(&pool, &[address(2)], later), Some(address(1)), "a retry takes no chances");
    let trial = pool.choose(&[], later).unwrap();
    assert_eq!(trial.address(), address(0));
    assert_eq!(chosen(&pool, &[], later), Some(address(1)));
    trial.report(Report::Connected, later);
    drop(trial);
    let trial = pool.choose(&[], later).unwrap();
    assert_eq!(trial.address(), address(0), "a trial that nothing came of is over");
    trial.report(Report::Broken, later);
    assert_eq!((pool.ejections_total(Cause::Reset), pool.states(later)[0].ejections), (1, 2));
    let much_later = later + LONG;
    let trial = pool.choose(&[], much_later).unwrap();
    trial.report(Report::Answered(429), much_later);
    assert_eq!((serving(&pool, much_later).len(), pool.returns_total()), (2, 1));
    let weights: Vec<_> = pool.states(much_later).iter().map(|state| state.weight).collect();
    assert_eq!(weights, [0.1, 1.0]);
}

#[test]
fn an_address_that_returns_is_loaded_by_its_weight() {
    let (pool, now) = pool(2, 0, false);
    fail(&pool, 0, now);
    let later = now + LONG;
    pool.choose(&[], later).unwrap().report(Report::Answered(200), later);
    let held: Vec<_> = (0..110).map(|_| pool.choose(&[], later).unwrap()).collect();
    assert_eq!(held.iter().filter(|lease| lease.address() == address(0)).count(), 10);
    assert_eq!(pool.states(later)[1].in_flight, 100);
}

#[test]
fn a_report_on_an_earlier_standing_is_not_held_against_this_one() {
    let (pool, now) = pool(2, 0, false);
    let old: Vec<_> = (0..20).map(|_| pool.choose(&[], now).unwrap()).collect();
    fail(&pool, 0, now);
    for lease in &old {
        lease.report(Report::Answered(200), now);
    }
    assert_eq!(serving(&pool, now), [address(1)], "an old success is no return");
    let later = now + LONG;
    pool.choose(&[], later).unwrap().report(Report::Answered(200), later);
    for lease in old.iter().filter(|lease| lease.address() == address(0)) {
        lease.report(Report::ConnectFailed, later);
    }
    lease_of(&pool, 0, later).report(Report::ConnectFailed, later);
    assert_eq!(serving(&pool, later).len(), 2, "and old failures are no part of a new run");
}

#[test]
fn answers_that_break_off_eject_unless_one_comes_to_its_end() {
    let (pool, now) = pool(2, 0, false);
    let answer = |broken_off: bool| {
        let lease = lease_of(&pool, 0, now);
        lease.report(Report::Answered(200), now);
        if broken_off {
            lease.report(Report::Broken, now);
        }
    };
    [true, true, false, true, true].into_iter().for_each(answer);
    assert_eq!(pool.serving_count(), 2);
    answer(true);
    assert_eq!((pool.serving_count(), pool.ejections_total(Cause::Reset)), (1, 1));
}

#[test]
fn replacing_keeps_the_health_of_those_that_stay() {
    let (pool, now) = pool(3, 0, false);
    fail(&pool, 0, now);
    let held = lease_of(&pool, 1, now);
    pool.replace(&placed([0, 1, 4, 1], 1));
    let states: Vec<_> =
        pool.states(now).iter().map(|state| (state.address, state.preferred, state.serving, state.in_flight)).collect();
    assert_eq!(states, [(address(0), true, false, 0), (address(1), false, true, 1), (address(4), false, true, 0)]);
    pool.replace(&placed([4], 0));
    held.report(Report::ConnectFailed, now);
    held.report(Report::ConnectFailed, now);
    drop(held);
    assert_eq!((pool.len(), pool.ejections_total(Cause::Connect)), (1, 1), "it has left");
}

#[test]
fn when_only_ejected_addresses_stay_the_first_to_return_serves() {
    let (pool, now) = pool(3, 0, true);
    fail(&pool, 1, now + Duration::from_secs(1));
    fail(&pool, 0, now);
    pool.replace(&placed([0, 1], 0));
    assert_eq!((serving(&pool, now), pool.returns_total()), (vec![address(0)], 1));
}

#[test]
fn in_a_checked_pool_only_a_check_brings_an_address_back() {
    let (pool, now) = pool(2, 0, true);
    let refused = || Err("refused".to_owned());
    pool.note_check(address(0), refused(), now);
    pool.note_check(address(0), Ok(()), now);
    pool.note_check(address(0), refused(), now);
    assert_eq!(pool.serving_count(), 2);
    pool.note_check(address(0), refused(), now);
    assert_eq!((pool.serving_count(), pool.ejections_total(Cause::Check)), (1, 1));
    pool.note_check(address(0), Ok(()), now);
    assert_eq!(pool.serving_count(), 1, "the ejection is not over");
    let later = now + LONG;
    assert!((0..10).all(|_| chosen(&pool, &[], later) == Some(address(1))));
    let last_resort = pool.choose(&[address(1)], later).unwrap();
    last_resort.report(Report::Answered(200), later);
    pool.note_check(address(0), refused(), later);
    assert_eq!(pool.serving_count(), 1);
    pool.note_check(address(0), Ok(()), later);
    assert_eq!(pool.serving_count(), 2);
    for _ in 0..5 {
        pool.note_check(address(0), refused(), later);
        pool.note_check(address(1), refused(), later);
    }
    assert_eq!(serving(&pool, later), [address(1)], "checks leave the last one, too");
}

#[test]
fn threads_that_fail_everything_leave_one_serving_and_nothing_in_flight() {
    let (pool, start) = pool(5, 2, false);
    thread::scope(|scope| {
        for thread in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                for step in 0..2_000_u32 {
                    let now = start + Duration::from_secs(u64::from(step));
                    let lease = pool.choose(&[], now).unwrap();
                    let report = if (step + thread) % 7 == 0 { Report::Answered(200) } else { Report::ConnectFailed };
                    lease.report(report, now);
                    assert_ne!(pool.serving_count(), 0);
                }
            });
        }
    });
    assert!(pool.states(start).iter().all(|state| state.in_flight == 0));
    assert_ne!(pool.ejections_total(Cause::Connect), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Choose { tried: Vec<usize> },
    Report { lease: usize, report: Report },
    Drop { lease: usize },
    Check { address: usize, passes: bool },
    Wait(u64),
    Replace { addresses: Vec<usize>, preferred: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let report = prop_oneof![
        1 => Just(Report::Connected),
        3 => Just(Report::ConnectFailed),
        2 => Just(Report::Broken),
        2 => Just(Report::Answered(503)),
        1 => Just(Report::Answered(200)),
    ];
    prop_oneof![
        4 => proptest::collection::vec(0..6_usize, 0..5).prop_map(|tried| Step::Choose { tried }),
        8 => (0..50_usize, report).prop_map(|(lease, report)| Step::Report { lease, report }),
        2 => (0..50_usize).prop_map(|lease| Step::Drop { lease }),
        1 => (0..6_usize, any::<bool>()).prop_map(|(address, passes)| Step::Check { address, passes }),
        1 => (0..20_000_u64).prop_map(Step::Wait),
        1 => (proptest::collection::vec(0..6_usize, 1..6), 0..6_usize)
            .prop_map(|(addresses, preferred)| Step::Replace { addresses, preferred }),
    ]
}

/// The addresses among which [`Pool::choose`] may choose now, by its own documentation.
fn allowed(pool: &Pool, tried: &[SocketAddr], checked: bool, now: Instant) -> Vec<SocketAddr> {
    let states = pool.states(now);
    let ejected = pool.ejected();
    let on_probation = ejected.into_iter().filter(|(_, until)| until.is_some_and(|until| until <= now));
    let trials: Vec<_> = on_probation.map(|(address, _)| address).filter(|_| tried.is_empty() && !checked).collect();
    let untried: Vec<_> = states.iter().filter(|state| !tried.contains(&state.address)).collect();
    let among = if untried.is_empty() { states.iter().collect() } else { untried };
    let tier = |serving: bool, preferred: Option<bool>| -> Vec<SocketAddr> {
        let fits = |state: &&&AddressState| state.serving == serving && preferred.is_none_or(|p| p == state.preferred);
        among.iter().filter(fits).map(|state| state.address).collect()
    };
    let best = [tier(true, Some(true)), tier(true, Some(false)), tier(false, None)];
    best.into_iter().find(|tier| !tier.is_empty()).unwrap_or_default().into_iter().chain(trials).collect()
}

proptest! {
    #[test]
    fn whatever_happens_one_serves_the_best_is_chosen_and_all_is_given_back(
        checked: bool,
        addresses in 1..6_usize,
        preferred in 0..6_usize,
        steps in proptest::collection::vec(step(), 0..300),
    ) {
        let (pool, mut now) = pool(addresses, preferred, checked);
        let mut leases: Vec<Lease> = Vec::new();
        for step in steps {
            match step {
                Step::Choose { tried } => {
                    let tried: Vec<_> = tried.into_iter().map(address).collect();
                    let allowed = allowed(&pool, &tried, checked, now);
                    let lease = pool.choose(&tried, now).unwrap();
                    prop_assert!(allowed.contains(&lease.address()), "{} of {allowed:?}", lease.address());
                    leases.push(lease);
                }
                Step::Report { lease, report } => {
                    if let Some(lease) = leases.get(lease) {
                        lease.report(report, now);
                    }
                }
                Step::Drop { lease } if lease < leases.len() => drop(leases.swap_remove(lease)),
                Step::Drop { .. } => {}
                Step::Check { address: number, passes } => {
                    let outcome = if passes { Ok(()) } else { Err("refused".to_owned()) };
                    pool.note_check(address(number), outcome, now);
                }
                Step::Wait(millis) => now += Duration::from_millis(millis),
                Step::Replace { addresses, preferred } => pool.replace(&placed(addresses, preferred)),
            }
            prop_assert_ne!(pool.serving_count(), 0);
            for state in pool.states(now) {
                let held = leases.iter().filter(|lease| lease.address() == state.address).count();
                prop_assert!(state.in_flight <= held);
            }
        }
        leases.clear();
        prop_assert!(pool.states(now).iter().all(|state| state.in_flight == 0));
    }

    #[test]
    fn equal_addresses_are_loaded_evenly(addresses in 1..8_usize, holds in proptest::collection::vec(any::<bool>(), 0..200)) {
        let (pool, now) = pool(addresses, 0, false);
        let mut held = Vec::new();
        for hold in holds {
            let lease = pool.choose(&[], now).unwrap();
            if hold {
                held.push(lease);
            }
            let in_flight: Vec<_> = pool.states(now).iter().map(|state| state.in_flight).collect();
            prop_assert!(in_flight.iter().max().unwrap() - in_flight.iter().min().unwrap() <= 1, "{in_flight:?}");
        }
    }
}
