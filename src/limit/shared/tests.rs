use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU64;
use std::time::{Instant, SystemTime};

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::ledger::Ledger;
use super::super::rule::{Bound, OnExhausted, OnStoreFailure, Per, Rule};
use super::super::{CallDemand, Limits, Measure, Reservation, Used, Who};
use super::*;
use crate::claude::{Answer, Prices, Usage};
use crate::config::{Layout, StoreConfig, StoreServer};
use crate::denial::Denial;
use crate::identity::Caller;
use redis_server::Redis;

#[allow(dead_code)] // it serves other tests too
#[path = "../../../tests/integration/harness/redis.rs"]
mod redis_server;

/// The store of tests that are not about time: the machine may be busy.
async fn store(redis: &Redis) -> Arc<Store> {
    store_within(redis, 1, LONG).await
}

async fn store_within(redis: &Redis, instances: u64, time: Duration) -> Arc<Store> {
    let config = StoreConfig {
        layout: Layout::Single,
        servers: vec![StoreServer { host: "127.0.0.1".to_owned(), port: redis.port() }],
        tls: None,
        database: 0,
        user: None,
        password: None,
        prefix: "portcullis".to_owned(),
        instances: NonZeroU64::new(instances).unwrap(),
    };
    let store = Arc::new(Store::new(&config).unwrap().with_time(time));
    let upkeep = Arc::clone(&store);
    tokio::spawn(async move { upkeep.upkeep().await });
    assert!(store.wait_until_up(LONG).await);
    store
}

/// One of the hosts that share a store.
async fn host(redis: &Redis, rules: Vec<Rule>) -> Arc<Limits> {
    run(Limits::new(rules, Prices::builtin(), Some(store(redis).await), None))
}

/// One of two hosts, which waits for the store no longer than hosts do.
async fn hasty_host(redis: &Redis, rules: Vec<Rule>) -> Arc<Limits> {
    let store = store_within(redis, 2, Duration::from_millis(50)).await;
    run(Limits::new(rules, Prices::builtin(), Some(store), None))
}

fn run(limits: Arc<Limits>) -> Arc<Limits> {
    let upkeep = Arc::clone(&limits);
    tokio::spawn(async move { upkeep.upkeep().await });
    limits
}

fn rule(name: &str, bounds: &[(Measure, u64, Span)], on_store_failure: OnStoreFailure) -> Rule {
    Rule {
        name: name.into(),
        per: Per::Subject,
        models: Vec::new(),
        teams: Vec::new(),
        bounds: bounds.iter().map(|&(measure, amount, span)| Bound { measure, amount, span }).collect(),
        on_store_failure,
        on_exhausted: OnExhausted::Finish,
    }
}

fn caller(subject: &str) -> Caller {
    Caller::for_tests(subject, &[], IpAddr::V4(Ipv4Addr::LOCALHOST), SystemTime::now())
}

async fn acquire(limits: &Arc<Limits>, caller: &Caller, demand: &CallDemand) -> Result<Reservation, Denial> {
    let who = Who { caller, session: None, agent: None, parent_agent: None };
    limits.acquire(&who, demand, SystemTime::now()).await
}

async fn left(limits: &Limits, caller: &Caller) -> Vec<u64> {
    let who = Who { caller, session: None, agent: None, parent_agent: None };
    limits.standing_of(&who, SystemTime::now()).await.iter().map(|standing| standing.remaining).collect()
}

/// Waits until what is left for `caller` is `expected`.
async fn left_becomes(limits: &Limits, caller: &Caller, expected: &[u64]) {
    let end = Instant::now() + LONG;
    while left(limits, caller).await != expected {
        assert!(Instant::now() < end, "{:?} is left, not {expected:?}", left(limits, caller).await);
        tokio::task::yield_now().await;
    }
}

fn tokens(input_tokens: u64, output_tokens: u64) -> CallDemand {
    let model = crate::claude::Model::parse("claude-opus-5-5").unwrap();
    let part = super::super::Part { model, calls: 1, output_tokens, calls_without_max_tokens: 0 };
    CallDemand { parts: smallvec::smallvec![part], input_tokens, ..CallDemand::default() }
}

fn answer(input: u64, output: u64) -> Answer {
    let usage = Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() };
    Answer { usage: Some(usage), complete: true, ..Answer::default() }
}

const LONG: Duration = Duration::from_secs(30);
const HOUR: Span = Span::Sliding(Unit::Hour);
const DAY: Span = Span::Calendar(Unit::Day);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_on_one_store_let_exactly_as_many_pass_as_the_limit_says() {
    let redis = Redis::start();
    let rules = || vec![rule("house", &[(Measure::Requests, 137, HOUR)], OnStoreFailure::Closed)];
    let hosts = [host(&redis, rules()).await, host(&redis, rules()).await];
    let calls = (0..1_000).map(|number| {
        let limits = Arc::clone(&hosts[number % 2]);
        tokio::spawn(async move {
            match acquire(&limits, &caller("alice@example.com"), &CallDemand::default()).await {
                Ok(_) => true,
                Err(Denial::LimitReached { .. }) => false,
                Err(denial) => panic!("{denial:?}"),
            }
        })
    });
    let passed = join_all(calls).await.into_iter().filter(|passed| *passed.as_ref().unwrap()).count();
    assert_eq!(passed, 137);
    for limits in &hosts {
        assert_eq!(left(limits, &caller("alice@example.com")).await, [0]);
        assert_eq!(left(limits, &caller("bob@example.com")).await, [137]);
    }
    let mut connection =
        redis::Client::open(format!("redis://127.0.0.1:{}", redis.port())).unwrap().get_connection().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    assert!(keys.iter().all(|key| key.starts_with("{portcullis}:") && !key.contains("alice")), "{keys:?}");
}

#[tokio::test]
async fn what_one_host_settles_counts_for_the_other() {
    let redis = Redis::start();
    let bounds = [
        (Measure::InputTokens, 1_000, HOUR),
        (Measure::OutputTokens, 1_000, HOUR),
        (Measure::Cost, 1_000_000_000, DAY),
        (Measure::Concurrent, 2, Span::UnderWay),
    ];
    let rules = || vec![rule("house", &bounds, OnStoreFailure::Closed)];
    let (one, other) = (host(&redis, rules()).await, host(&redis, rules()).await);
    let caller = caller("alice");
    let reservation = acquire(&one, &caller, &tokens(400, 500)).await.unwrap();
    let stood: Vec<u64> = reservation.standing().iter().map(|standing| standing.remaining).collect();
    assert_eq!(stood, [600, 500, 986_800_000, 1]);
    assert_eq!(left(&other, &caller).await, stood);
    reservation.settle(Used::Answer(&answer(500, 20)), SystemTime::now());
    left_becomes(&other, &caller, &[500, 980, 997_600_000, 2]).await;
    drop(acquire(&other, &caller, &tokens(400, 500)).await.unwrap());
    left_becomes(&one, &caller, &[500, 980, 997_600_000, 2]).await;
    let held =
        [acquire(&one, &caller, &tokens(0, 0)).await.unwrap(), acquire(&other, &caller, &tokens(0, 0)).await.unwrap()];
    let refused = acquire(&one, &caller, &tokens(0, 0)).await.err();
    assert!(matches!(refused, Some(Denial::LimitReached { measure: Measure::Concurrent, .. })), "{refused:?}");
    drop(held);
    assert!(one.flush(LONG).await && other.flush(LONG).await);
    assert_eq!(left(&one, &caller).await, [500, 980, 997_600_000, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_each_rule_holds_as_it_says_and_nothing_is_lost() {
    let mut redis = Redis::start();
    let rules = vec![rule(
        "local",
        &[(Measure::Requests, 10, HOUR), (Measure::OutputTokens, 1_000, HOUR)],
        OnStoreFailure::Local,
    )];
    let local = hasty_host(&redis, rules).await;
    let open = hasty_host(&redis, vec![rule("open", &[(Measure::Requests, 1, HOUR)], OnStoreFailure::Open)]).await;
    let closed =
        hasty_host(&redis, vec![rule("closed", &[(Measure::Requests, 9, HOUR)], OnStoreFailure::Closed)]).await;
    let caller = caller("alice");
    let before = acquire(&local, &caller, &tokens(0, 100)).await.unwrap();
    for limits in [&local, &open, &closed] {
        drop(acquire(limits, &caller, &tokens(0, 0)).await.unwrap());
    }
    redis.kill();
    // This host's share is five, and two of them are used.
    let mut local_passed = 0;
    for _ in 0..8 {
        let asked = Instant::now();
        match acquire(&local, &caller, &tokens(0, 10)).await {
            Ok(reservation) => {
                reservation.settle(Used::Answer(&answer(0, 5)), SystemTime::now());
                local_passed += 1;
            }
            Err(denial) => assert!(matches!(denial, Denial::LimitReached { .. }), "{denial:?}"),
        }
        assert!(asked.elapsed() < Duration::from_millis(50) + SLACK, "waited {:?}", asked.elapsed());
    }
    assert_eq!(local_passed, 3);
    for _ in 0..4 {
        assert!(acquire(&open, &caller, &tokens(0, 0)).await.is_ok());
        let denial = acquire(&closed, &caller, &tokens(0, 0)).await.err();
        assert_eq!(denial, Some(Denial::StoreUnavailable { limit: "closed".to_owned() }));
    }
    before.settle(Used::Answer(&answer(0, 70)), SystemTime::now());
    let state = local.store_state().unwrap();
    assert!(!state.up && state.failures > 0 && state.local_decisions >= 8 && state.waiting > 0, "{state:?}");
    redis.revive();
    // The store came back empty; what was used while it was away arrives.
    left_becomes(&local, &caller, &[7, 985]).await;
    left_becomes(&open, &caller, &[0]).await;
    left_becomes(&closed, &caller, &[9]).await;
    assert!(acquire(&closed, &caller, &tokens(0, 0)).await.is_ok());
    assert!(local.flush(LONG).await);
    assert_eq!(local.store_state().unwrap().lost, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_killed_under_load_and_comes_back_makes_nobody_wait_and_loses_nothing() {
    let mut redis = Redis::start();
    let rules = || vec![rule("local", &[(Measure::Requests, 10_000_000, HOUR)], OnStoreFailure::Local)];
    let hosts = [hasty_host(&redis, rules()).await, hasty_host(&redis, rules()).await];
    let (passed, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..4)
        .map(|number| {
            let (limits, passed, stop) = (Arc::clone(&hosts[number % 2]), Arc::clone(&passed), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                while stop.load(Ordering::SeqCst) == 0 {
                    let asked = Instant::now();
                    let reservation = acquire(&limits, &caller("alice"), &CallDemand::default()).await;
                    longest = longest.max(asked.elapsed());
                    reservation.unwrap().settle(Used::Nothing, SystemTime::now());
                    passed.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
                longest
            })
        })
        .collect();
    let pass_more = async |more: u64| {
        let (start, end) = (passed.load(Ordering::SeqCst), Instant::now() + LONG);
        while passed.load(Ordering::SeqCst) < start + more {
            assert!(Instant::now() < end);
            tokio::task::yield_now().await;
        }
    };
    pass_more(100).await;
    redis.kill();
    pass_more(20).await; // whoever had asked before has an answer
    let before = passed.load(Ordering::SeqCst);
    pass_more(1_000).await;
    let without_store = passed.load(Ordering::SeqCst) - before;
    redis.revive();
    for limits in &hosts {
        assert!(limits.store_state().unwrap().local_decisions > 0);
        let end = Instant::now() + LONG;
        while !limits.store_state().unwrap().up {
            assert!(Instant::now() < end);
            tokio::task::yield_now().await;
        }
    }
    pass_more(100).await;
    stop.store(1, Ordering::SeqCst);
    for longest in join_all(load).await {
        let longest = longest.unwrap();
        assert!(longest < Duration::from_millis(50) + SLACK, "waited {longest:?}");
    }
    for limits in &hosts {
        assert!(limits.flush(LONG).await);
    }
    let patient = host(&redis, rules()).await;
    let counted = 10_000_000 - left(&patient, &caller("alice")).await[0];
    assert!(counted >= without_store, "{counted} of {without_store}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_costs_a_request_no_more_than_its_time() {
    let redis = Redis::start();
    let limits =
        hasty_host(&redis, vec![rule("local", &[(Measure::Requests, 1_000, HOUR)], OnStoreFailure::Local)]).await;
    redis.hang();
    let asked = Instant::now();
    let calls = (0..100).map(|_| {
        let limits = Arc::clone(&limits);
        tokio::spawn(async move { acquire(&limits, &caller("alice"), &CallDemand::default()).await.is_ok() })
    });
    assert!(join_all(calls).await.into_iter().all(|passed| passed.unwrap()));
    assert!(asked.elapsed() < Duration::from_millis(50) + SLACK, "waited {:?}", asked.elapsed());
    let asked = Instant::now();
    assert!(acquire(&limits, &caller("alice"), &CallDemand::default()).await.is_ok());
    assert!(
        asked.elapsed() < Duration::from_millis(50),
        "waited {:?} for a store that is known to be down",
        asked.elapsed()
    );
    redis.resume();
    let shared = limits.store_state();
    assert!(shared.is_some_and(|state| !state.up));
    let end = Instant::now() + LONG;
    while !limits.store_state().unwrap().up {
        assert!(Instant::now() < end);
        tokio::task::yield_now().await;
    }
}

/// What scheduling may add on a machine that is busy with other tests.
const SLACK: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_batch_that_is_sent_twice_counts_once_and_a_lost_lease_is_made_anew() {
    let redis = Redis::start();
    let store = store(&redis).await;
    let shared = Shared::new(Arc::clone(&store));
    let key = |measure, span| BucketKey { rule: 1, per: Per::Subject, measure, span, who: [1; 16] };
    let (cost, running) = (key(Measure::Cost, DAY), key(Measure::Concurrent, Span::UnderWay));
    let now = super::super::span::millis(SystemTime::now());
    shared.correct(&cost, DAY.slot(now), Origin::Store, 100, now);
    let batch = shared.pending().begin().unwrap();
    assert!(shared.pending().begin().is_none(), "one batch at a time");
    shared.pending().end(false);
    assert!(shared.flush(None).await);
    // The store had confirmed, and the confirmation was lost on its way.
    shared.pending().unconfirm(batch);
    shared.correct(&cost, DAY.slot(now), Origin::Store, 11, now);
    assert!(shared.flush(None).await);
    assert_eq!(shared.used(&[cost]).await.unwrap()[0].used, 111);
    shared.hold(&running, 7);
    shared.renew();
    assert!(shared.flush(None).await);
    assert_eq!(shared.used(&[running]).await.unwrap()[0].used, 1);
    shared.release(&running, 7);
    shared.renew();
    assert!(shared.flush(None).await);
    assert_eq!(shared.used(&[running]).await.unwrap()[0].used, 0);
}

#[tokio::test]
async fn leases_of_a_host_that_died_end_by_themselves() {
    let redis = Redis::start();
    let shared = Shared::new(store(&redis).await);
    let key =
        BucketKey { rule: 1, per: Per::Subject, measure: Measure::Concurrent, span: Span::UnderWay, who: [1; 16] };
    let charge = [Charge { rule: 0, key, bound: 1, amount: 1 }];
    let at = async |lease, now| shared.acquire(&charge, lease, Some(now)).await.unwrap();
    assert!(at(1, 1_000_000).await.is_ok());
    assert_eq!(at(2, 1_059_999).await, Err(Full { charge: 0, wait: Some(1_000) }));
    assert!(at(3, 1_060_000).await.is_ok());
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Tick(i64),
    Acquire(Vec<(usize, u64)>),
    Correct(usize, i64),
}

/// The script and the ledger take the same history to the same counts, answers and waits.
#[test]
fn the_script_counts_as_the_ledger_does() {
    let spans = [
        Span::Sliding(Unit::Second),
        Span::Sliding(Unit::Minute),
        Span::Sliding(Unit::Day),
        Span::Calendar(Unit::Hour),
        Span::Calendar(Unit::Day),
        Span::Calendar(Unit::Month),
    ];
    let scales = prop_oneof![Just(100_i64), Just(30_000), Just(3_000_000), Just(90_000_000), Just(3_000_000_000)];
    let ticks = (scales, -4_i64..16).prop_map(|(scale, times)| Step::Tick(scale * times));
    let charge = (0..spans.len(), 1_u64..60);
    let step = prop_oneof![
        3 => ticks,
        5 => proptest::collection::vec(charge, 1..4).prop_map(Step::Acquire),
        3 => (0_usize..30, -60_i64..60).prop_map(|(at, delta)| Step::Correct(at, delta)),
    ];
    let histories = proptest::collection::vec(step, 0..50);
    let redis = Redis::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let shared = Shared::new(runtime.block_on(store(&redis)));
    let history_number = std::cell::Cell::new(0);
    let outcome = TestRunner::new(Config { cases: 200, ..Config::default() }).run(&histories, |history| {
        history_number.set(history_number.get() + 1);
        let key = |span| BucketKey {
            rule: history_number.get(),
            per: Per::Subject,
            measure: Measure::Cost,
            span,
            who: [1; 16],
        };
        let ledger = Ledger::new();
        let mut now = 1_795_521_600_000_u64;
        let mut counted: Vec<(BucketKey, u64)> = Vec::new();
        for step in history {
            match step {
                Step::Tick(by) => now = now.saturating_add_signed(by),
                Step::Acquire(mut wanted) => {
                    wanted.sort_unstable();
                    wanted.dedup_by_key(|(span, _)| *span);
                    let charges: Vec<Charge> = wanted
                        .iter()
                        .map(|&(span, amount)| Charge { rule: 0, key: key(spans[span]), bound: 100, amount })
                        .collect();
                    let own = ledger.acquire(&charges, now);
                    let stored = runtime.block_on(shared.acquire(&charges, 1, Some(now))).unwrap();
                    prop_assert_eq!(&own, &stored);
                    if let Ok(counts) = own {
                        counted.extend(charges.iter().zip(counts).map(|(charge, counted)| (charge.key, counted.slot)));
                    }
                }
                Step::Correct(at, delta) => {
                    if let Some((key, slot)) = counted.get(at) {
                        ledger.correct(key, *slot, delta, now);
                        shared.correct(key, *slot, Origin::Store, delta, now);
                        prop_assert!(runtime.block_on(shared.flush(Some(now))));
                    }
                }
            }
        }
        Ok(())
    });
    outcome.unwrap();
}
