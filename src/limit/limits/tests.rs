use std::net::{IpAddr, Ipv4Addr};
use std::task::{Context, Poll, Waker};

use smallvec::smallvec;

use super::super::rule::{OnExhausted, OnStoreFailure, Per};
use super::super::span::Unit;
use super::*;
use crate::claude::{Answer, Model, Tariff, Usage};
use crate::identity::Caller;
use crate::limit::Used;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_521_600)
}

/// Without a store nothing is waited for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("waits"),
    }
}

fn rule(per: Per, bounds: &[(Measure, u64, Span)]) -> Rule {
    Rule {
        name: per.name().into(),
        per,
        models: Vec::new(),
        teams: Vec::new(),
        bounds: bounds.iter().map(|&(measure, amount, span)| Bound { measure, amount, span }).collect(),
        on_store_failure: OnStoreFailure::Local,
        on_exhausted: OnExhausted::Finish,
    }
}

fn limits(rules: Vec<Rule>) -> Arc<Limits> {
    Limits::new(rules, Prices::builtin(), None, None)
}

fn caller(subject: &str) -> Caller {
    Caller::for_tests(subject, &[], IpAddr::V4(Ipv4Addr::LOCALHOST), now())
}

fn who(caller: &Caller) -> Who<'_> {
    Who { caller, session: None, agent: None, parent_agent: None }
}

fn demand(model: &str, input_tokens: u64, output_tokens: u64) -> CallDemand {
    let model = Model::parse(model).unwrap();
    CallDemand {
        parts: smallvec![Part { model, calls: 1, output_tokens, calls_without_max_tokens: 0 }],
        input_tokens,
        ..CallDemand::default()
    }
}

fn answer(input: u64, output: u64) -> Answer {
    Answer {
        model: Some("claude-opus-5-5".to_owned()),
        usage: Some(Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() }),
        complete: true,
        ..Answer::default()
    }
}

fn left(limits: &Limits, who: &Who<'_>) -> Vec<u64> {
    at_once(limits.standing_of(who, now())).iter().map(|standing| standing.remaining).collect()
}

const OPUS: &str = "claude-opus-5-5";
const MINUTE: Span = Span::Sliding(Unit::Minute);
const DAY: Span = Span::Calendar(Unit::Day);

#[test]
fn of_a_thousand_parallel_requests_exactly_as_many_pass_as_the_limit_says() {
    let limits = limits(vec![
        rule(Per::Subject, &[(Measure::Requests, 137, MINUTE), (Measure::InputTokens, 1_000_000, MINUTE)]),
        rule(Per::Everyone, &[(Measure::Requests, 500, MINUTE)]),
    ]);
    let passed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let (caller, demand) = (caller("one"), demand(OPUS, 10, 10));
                    let one = || at_once(limits.acquire(&who(&caller), &demand, now())).is_ok();
                    (0..125).filter(|_| one()).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 137);
    // A dropped reservation gives back its tokens, and never the request.
    assert_eq!(left(&limits, &who(&caller("one"))), [0, 1_000_000, 363]);
}

#[test]
fn what_was_really_used_takes_the_place_of_the_estimate() {
    let bounds = [(Measure::InputTokens, 1_000, MINUTE), (Measure::OutputTokens, 1_000, MINUTE)];
    let (limits, caller) = (limits(vec![rule(Per::Subject, &bounds)]), caller("one"));
    let who = who(&caller);
    let acquire = || at_once(limits.acquire(&who, &demand(OPUS, 400, 500), now()));
    let first = acquire().unwrap();
    assert_eq!(left(&limits, &who), [600, 500]);
    first.settle(Used::Answer(&answer(500, 20)), now());
    assert_eq!(left(&limits, &who), [500, 980]);
    acquire().unwrap().settle(Used::AsReserved, now());
    assert_eq!(left(&limits, &who), [100, 480]);
    let Err(Denial::LimitReached { limit, measure, retry_after }) = acquire() else { panic!("passed") };
    assert_eq!((&*limit, measure, retry_after), ("subject", Measure::InputTokens, Some(Duration::from_secs(62))));
    let above = at_once(limits.acquire(&who, &demand(OPUS, 1_001, 0), now())).err();
    assert!(matches!(above, Some(Denial::LimitReached { retry_after: None, .. })), "{above:?}");
}

#[test]
fn a_stream_that_broke_off_counts_the_deltas_that_came() {
    let bounds = [(Measure::OutputTokens, 1_000, MINUTE), (Measure::Cost, 1_000_000_000, DAY)];
    let (limits, caller) = (limits(vec![rule(Per::Subject, &bounds)]), caller("one"));
    let who = who(&caller);
    for (answer, output, nanos) in [
        (Answer { complete: false, deltas: 30, ..answer(0, 1) }, 30, 600_000),
        (Answer { complete: false, deltas: 3, ..answer(0, 10) }, 10, 200_000),
        (Answer { error_type: Some("overloaded_error".to_owned()), ..Answer::default() }, 0, 0),
        (Answer::default(), 500, 10_000_000), // nothing is known: what was reserved stays
    ] {
        let before = left(&limits, &who);
        at_once(limits.acquire(&who, &demand(OPUS, 0, 500), now())).unwrap().settle(Used::Answer(&answer), now());
        let used: Vec<u64> = before.iter().zip(left(&limits, &who)).map(|(before, after)| before - after).collect();
        assert_eq!(used, [output, nanos], "{answer:?}");
    }
}

#[test]
fn a_budget_reserves_the_dearest_and_settles_the_price_of_the_answers_model() {
    let (limits, caller) = (limits(vec![rule(Per::Subject, &[(Measure::Cost, 2_000_000_000, DAY)])]), caller("one"));
    let who = who(&caller);
    let acquire = |model| at_once(limits.acquire(&who, &demand(model, 100_000, 10_000), now()));
    let reservation = acquire(OPUS).unwrap();
    assert_eq!(left(&limits, &who), [1_000_000_000]); // 0.1 million at 8 dollars and 0.01 million at 20
    let answer = Answer { model: Some("claude-haiku-4-5".to_owned()), ..answer(100_000, 10_000) };
    reservation.settle(Used::Answer(&answer), now());
    assert_eq!(left(&limits, &who), [1_850_000_000]);
    let unknown = acquire("claude-opus-99").err();
    assert!(matches!(unknown, Some(Denial::PriceUnknown { .. })), "{unknown:?}");
    acquire(OPUS).unwrap().settle(Used::AsReserved, now());
    let Some(Denial::LimitReached { measure: Measure::Cost, retry_after, .. }) = acquire(OPUS).err() else {
        panic!("passed")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(86_400 - 43_200)));
    let answer = Answer { model: Some("no-such-model".to_owned()), ..answer };
    acquire("claude-haiku-4-5").unwrap().settle(Used::Answer(&answer), now());
    assert_eq!(left(&limits, &who), [700_000_000]); // at the price of the model that was asked for
}

#[test]
fn counting_tokens_is_free_and_calls_without_a_model_are_requests() {
    let mut tokens = rule(
        Per::Subject,
        &[(Measure::Requests, 10, MINUTE), (Measure::InputTokens, 1, MINUTE), (Measure::Cost, 1, DAY)],
    );
    let limits_for_all = limits(vec![tokens.clone()]);
    let caller = caller("one");
    let free = CallDemand { free: true, ..demand("claude-unpriced-1", 1_000, 0) };
    assert!(at_once(limits_for_all.acquire(&who(&caller), &free, now())).is_ok());
    assert!(at_once(limits_for_all.acquire(&who(&caller), &CallDemand::default(), now())).is_ok());
    assert_eq!(left(&limits_for_all, &who(&caller)), [8, 1, 1]);
    tokens.models = vec!["claude-opus-*".parse().unwrap()];
    let limits_for_opus = limits(vec![tokens]);
    assert!(!limits_for_opus.wants_tokens(&who(&caller), &demand("claude-haiku-5-5", 0, 0).parts));
    assert!(limits_for_opus.wants_tokens(&who(&caller), &demand(OPUS, 0, 0).parts));
    for demand in [CallDemand::default(), demand("claude-haiku-5-5", 1_000, 0)] {
        assert!(at_once(limits_for_opus.acquire(&who(&caller), &demand, now())).is_ok());
    }
    assert_eq!(left(&limits_for_opus, &who(&caller)), [10, 1, 1]);
}

#[test]
fn a_batch_counts_with_each_of_its_items_and_a_rule_only_what_it_covers() {
    let mut opus = rule(Per::Subject, &[(Measure::Requests, 100, MINUTE), (Measure::OutputTokens, 1_000_000, MINUTE)]);
    opus.models = vec!["claude-opus-*".parse().unwrap()];
    let limits = limits(vec![opus, rule(Per::Everyone, &[(Measure::Cost, 100_000_000_000, DAY)])]);
    let mut batch = demand(OPUS, 1_000_000, 50_000);
    batch.parts[0].calls = 40;
    batch.parts[0].calls_without_max_tokens = 2;
    batch.parts.extend(demand("claude-haiku-4-5", 0, 1_000_000).parts);
    batch.tariff = Tariff { batch: true, ..Tariff::default() };
    let caller = caller("one");
    let reservation = at_once(limits.acquire(&who(&caller), &batch, now())).unwrap();
    // Output 306,000 at 20 and 1,000,000 at 5; input 1,000,000 at 8: half of it all.
    assert_eq!(left(&limits, &who(&caller)), [60, 694_000, 100_000_000_000 - 9_560_000_000]);
    reservation.settle(Used::AsReserved, now());
    assert_eq!(left(&limits, &who(&caller)), [60, 694_000, 100_000_000_000 - 9_560_000_000]);
}

#[test]
fn concurrency_comes_back_however_a_call_ends() {
    let bounds = [(Measure::Concurrent, 2, Span::UnderWay), (Measure::ConcurrentStreams, 1, Span::UnderWay)];
    let (limits, caller) = (limits(vec![rule(Per::Subject, &bounds)]), caller("one"));
    let who = who(&caller);
    let acquire = |stream| at_once(limits.acquire(&who, &CallDemand { stream, ..demand(OPUS, 1, 1) }, now()));
    let stream = acquire(true).unwrap();
    let refused = acquire(true).err();
    let expected = Denial::LimitReached {
        limit: "subject".to_owned(),
        measure: Measure::ConcurrentStreams,
        retry_after: Some(Duration::from_secs(1)),
    };
    assert_eq!(refused, Some(expected));
    let plain = acquire(false).unwrap();
    assert!(matches!(acquire(false).err(), Some(Denial::LimitReached { measure: Measure::Concurrent, .. })));
    drop(stream);
    plain.settle(Used::Nothing, now());
    assert_eq!(left(&limits, &who), [2, 1]);
}

#[test]
fn no_more_are_under_way_than_the_limit_says_and_all_come_back() {
    let limits = limits(vec![rule(Per::Everyone, &[(Measure::Concurrent, 5, Span::UnderWay)])]);
    let (under_way, most) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (limits, under_way, most) = (&limits, &under_way, &most);
            scope.spawn(move || {
                let caller = caller(&format!("caller-{thread}"));
                for turn in 0..500 {
                    let Ok(held) = at_once(limits.acquire(&who(&caller), &CallDemand::default(), now())) else {
                        continue;
                    };
                    most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    under_way.fetch_sub(1, Ordering::SeqCst);
                    if turn % 2 == 0 {
                        held.settle(Used::AsReserved, now());
                    }
                }
            });
        }
    });
    assert!((1..=5).contains(&most.into_inner()));
    assert_eq!(left(&limits, &who(&caller("anybody"))), [5]);
}

#[test]
fn a_stream_is_cut_only_when_its_limit_has_no_more_to_give() {
    let mut cut = rule(Per::Subject, &[(Measure::OutputTokens, 100, MINUTE)]);
    let (finish, caller) = (limits(vec![cut.clone()]), caller("one"));
    cut.on_exhausted = OnExhausted::Cut;
    let limits = limits(vec![cut]);
    let who = who(&caller);
    let so_far = |deltas| Answer { complete: false, deltas, ..answer(0, 1) };
    let mut reservation = at_once(limits.acquire(&who, &demand(OPUS, 0, 20), now())).unwrap();
    assert!(reservation.may_cut());
    assert_eq!(reservation.spent(&so_far(20), now()), None);
    assert_eq!(reservation.spent(&so_far(100), now()), None);
    assert_eq!(left(&limits, &who), [0]);
    let spent = reservation.spent(&so_far(101), now());
    assert_eq!(spent, Some(Denial::LimitSpent { limit: "subject".to_owned(), measure: Measure::OutputTokens }));
    reservation.settle(Used::Answer(&so_far(101)), now());
    assert!(at_once(limits.acquire(&who, &demand(OPUS, 0, 0), now())).is_err());
    let mut reservation = at_once(finish.acquire(&who, &demand(OPUS, 0, 20), now())).unwrap();
    assert!(!reservation.may_cut());
    assert_eq!(reservation.spent(&so_far(1_000), now()), None);
}

#[test]
fn callers_share_a_count_as_the_rule_says() {
    let at = |address: &str| address.parse::<IpAddr>().unwrap();
    let caller = |subject, address, teams| Caller::for_tests(subject, &[], at(address), now()).in_teams(teams);
    let (alice, bob) = (caller("a", "10.0.0.1", &["x", "y"][..]), caller("b", "10.0.0.2", &["y"]));
    let (carol, dan) = (caller("c", "2001:db8::1", &[]), caller("d", "2001:db8::2", &[]));
    let erin = caller("e", "::ffff:10.0.0.1", &["z"]);
    for (per, one, other, shared) in [
        (Per::Subject, &alice, &bob, false),
        (Per::Issuer, &alice, &bob, true),
        (Per::Everyone, &alice, &bob, true),
        (Per::Team, &alice, &bob, true),
        (Per::Team, &bob, &erin, false),
        (Per::Team, &carol, &dan, true), // nobody's team is one too
        (Per::Address, &alice, &bob, false),
        (Per::Address, &alice, &erin, true),
        (Per::Address, &carol, &dan, true),
    ] {
        let limits = limits(vec![rule(per, &[(Measure::Requests, 1, MINUTE)])]);
        assert!(at_once(limits.acquire(&who(one), &demand(OPUS, 0, 0), now())).is_ok());
        let second = at_once(limits.acquire(&who(other), &demand(OPUS, 0, 0), now()));
        assert_eq!(second.is_err(), shared, "{per:?} {} {}", one.subject(), other.subject());
    }
    let mut for_team = rule(Per::Team, &[(Measure::Requests, 1, MINUTE)]);
    for_team.teams = vec!["y".to_owned()];
    let limits = limits(vec![for_team]);
    assert_eq!(at_once(limits.standing_of(&who(&alice), now())).len(), 1);
    for (caller, passes) in [(&alice, true), (&erin, true), (&erin, true), (&bob, false)] {
        assert_eq!(at_once(limits.acquire(&who(caller), &demand(OPUS, 0, 0), now())).is_ok(), passes);
    }
}

#[test]
fn sessions_and_agents_are_within_their_subject() {
    let (a, b, long) = (caller("a"), caller("b"), "s".repeat(10_000));
    let in_session = |caller, session, agent, parent_agent| Who { caller, session, agent, parent_agent };
    let passes =
        |limits: &Arc<Limits>, who: Who<'_>| at_once(limits.acquire(&who, &CallDemand::default(), now())).is_ok();
    let sessions = limits(vec![rule(Per::Session, &[(Measure::Requests, 1, MINUTE)])]);
    for (who, expected) in [
        (in_session(&a, Some("s"), None, None), true),
        (in_session(&a, Some("s"), Some("agent"), None), false),
        (in_session(&b, Some("s"), None, None), true),
        (in_session(&a, None, None, None), true),
        (in_session(&a, Some("-"), None, None), false),
        (in_session(&a, Some(&long), None, None), true),
    ] {
        assert_eq!(passes(&sessions, who), expected, "{:?}", who.session);
    }
    let agents = limits(vec![rule(Per::Agent, &[(Measure::Requests, 1, MINUTE)])]);
    for (who, expected) in [
        (in_session(&a, Some("s"), Some("one"), None), true),
        (in_session(&a, Some("s"), Some("child"), Some("one")), false),
        (in_session(&a, Some("s"), Some("grandchild"), Some("child")), false),
        (in_session(&a, Some("s"), Some("two"), None), true),
        (in_session(&a, Some("s"), None, None), true),
        (in_session(&a, Some("t"), Some("one"), None), true),
        (in_session(&b, Some("s"), Some("one"), None), true),
    ] {
        assert_eq!(passes(&agents, who), expected, "{:?}", who.agent);
    }
}

#[test]
fn other_rules_keep_what_was_used_under_their_name() {
    let requests = |amount| vec![rule(Per::Subject, &[(Measure::Requests, amount, MINUTE)])];
    let (limits, caller) = (limits(requests(2)), caller("one"));
    let acquire = |limits: &Arc<Limits>| at_once(limits.acquire(&who(&caller), &CallDemand::default(), now()));
    let before = acquire(&limits).unwrap();
    let more = limits.succeeded_by(requests(3), Prices::builtin());
    before.settle(Used::Nothing, now());
    assert_eq!(left(&more, &who(&caller)), [2]);
    assert_eq!(acquire(&more).unwrap().standing()[0].remaining, 1);
    assert_eq!(left(&limits, &who(&caller)), [0], "a request that began before is bounded as it was");
    assert!(acquire(&more.succeeded_by(Vec::new(), Prices::builtin())).unwrap().standing().is_empty());
}

#[tokio::test]
async fn budgets_outlive_a_restart_and_a_damaged_file_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("limits.json");
    let rules = || vec![rule(Per::Subject, &[(Measure::Cost, 2_000_000_000, DAY), (Measure::Requests, 5, MINUTE)])];
    let start = || Limits::new(rules(), Prices::builtin(), None, Some(file.clone()));
    let caller = Caller::for_tests("alice@example.com", &[], IpAddr::V4(Ipv4Addr::LOCALHOST), now());
    let limits = start();
    let reservation = limits.acquire(&who(&caller), &demand(OPUS, 100_000, 10_000), now()).await.unwrap();
    reservation.settle(Used::Answer(&answer(100_000, 0)), now());
    assert!(limits.flush(Duration::from_secs(5)).await);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("alice") && text.contains("calendar-day"), "{text}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(left(&start(), &who(&caller)), [1_600_000_000, 5]);
    for damaged in [text.get(..text.len() / 2).unwrap().to_owned(), text.replace("calendar-day", "week")] {
        std::fs::write(&file, &damaged).unwrap();
        assert_eq!(left(&start(), &who(&caller)), [2_000_000_000, 5]);
        assert_eq!(std::fs::read_to_string(folder.path().join("limits.json.damaged")).unwrap(), damaged);
        assert!(!file.exists());
    }
    assert_eq!(left(&start(), &who(&caller)), [2_000_000_000, 5]);
}
