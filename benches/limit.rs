//! Reserving and settling in memory, and the estimate of a body's tokens.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use criterion::{Criterion, Throughput};
use portcullis::claude::{Answer, Model, Prices, Usage, estimate_input_tokens};
use portcullis::limit::{
    Bound, CallDemand, Limits, Measure, OnExhausted, OnStoreFailure, Part, Per, Rule, Span, Unit, Used, Who,
};

use crate::support;

/// Without a store nothing is waited for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("memory does not wait"),
    }
}

fn rule(per: Per, bounds: &[(Measure, Span)]) -> Rule {
    let bound = |&(measure, span): &(Measure, Span)| Bound { measure, amount: Bound::MAX, span };
    Rule {
        name: format!("{per:?}").into(),
        per,
        models: vec!["claude-opus-*".parse().unwrap()],
        teams: Vec::new(),
        bounds: bounds.iter().map(bound).collect(),
        on_store_failure: OnStoreFailure::Local,
        on_exhausted: OnExhausted::Finish,
    }
}

/// Requests, both kinds of tokens, concurrency and a budget: five counts of three callers.
fn rules() -> Vec<Rule> {
    let minute = Span::Sliding(Unit::Minute);
    vec![
        rule(
            Per::Subject,
            &[(Measure::Requests, minute), (Measure::InputTokens, minute), (Measure::Concurrent, Span::UnderWay)],
        ),
        rule(Per::Session, &[(Measure::OutputTokens, minute)]),
        rule(Per::Everyone, &[(Measure::Cost, Span::Calendar(Unit::Month))]),
    ]
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("limit");
    let caller = support::caller();
    let who = Who { caller: &caller, session: Some("3f0c7f0a-session"), agent: None, parent_agent: None };
    let demand = |model: &str| CallDemand {
        parts: std::iter::once(Part {
            model: Model::parse(model).unwrap(),
            calls: 1,
            output_tokens: 1_024,
            calls_without_max_tokens: 0,
        })
        .collect(),
        input_tokens: 700,
        stream: true,
        ..CallDemand::default()
    };
    let answer = Answer {
        model: Some("claude-opus-5-5".to_owned()),
        usage: Some(Usage { input_tokens: Some(650), output_tokens: Some(300), ..Usage::default() }),
        complete: true,
        ..Answer::default()
    };
    let limits = Limits::new(rules(), Prices::builtin(), None, None);
    let (covered, uncovered) = (demand("claude-opus-5-5"), demand("claude-haiku-5-5"));
    let mut now = support::now();
    let acquire = |limits: &Arc<Limits>, demand: &CallDemand, now| at_once(limits.acquire(&who, demand, now)).unwrap();
    group.bench_function("acquire_and_settle_5_counts", |bencher| {
        bencher.iter(|| {
            now += std::time::Duration::from_millis(1);
            acquire(&limits, black_box(&covered), now).settle(Used::Answer(&answer), now);
        });
    });
    group.bench_function("acquire_that_no_rule_covers", |bencher| {
        bencher.iter(|| drop(acquire(&limits, black_box(&uncovered), now)));
    });
    let none = Limits::new(Vec::new(), Prices::builtin(), None, None);
    group.bench_function("acquire_without_rules", |bencher| {
        bencher.iter(|| drop(acquire(&none, black_box(&covered), now)));
    });
    let (text, image) = (support::message(1 << 20), format!(r#"{{"data":"{}"}}"#, "iVBORw0K".repeat(1 << 17)));
    for (name, body) in [("estimate_1mib_text", &*text), ("estimate_1mib_image", image.as_bytes())] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| estimate_input_tokens(black_box(body))));
    }
}
