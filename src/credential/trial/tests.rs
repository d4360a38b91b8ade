use std::cell::RefCell;
use std::future::{Ready, ready};

use super::super::tests::{at, named};
use super::super::{KeyUsage, Secret};
use super::*;

/// An upstream that answers in order what it is told, and remembers what it was asked.
struct Upstream {
    answers: RefCell<Vec<Result<u16, &'static str>>>,
    asked: RefCell<Vec<Request<Bytes>>>,
}

impl Upstream {
    fn that_answers(answers: &[Result<u16, &'static str>]) -> Self {
        Self { answers: RefCell::new(answers.iter().rev().copied().collect()), asked: RefCell::default() }
    }

    fn answer(&self, request: Request<Bytes>) -> Ready<Result<Response<Bytes>, String>> {
        self.asked.borrow_mut().push(request);
        let answer = self.answers.borrow_mut().pop().expect("one trial too many");
        ready(match answer {
            Ok(status) => Ok(Response::builder().status(status).body(Bytes::new()).unwrap()),
            Err(error) => Err(error.to_owned()),
        })
    }
}

struct Tried {
    slot: Slot,
    trials: Trials,
    upstream: Upstream,
}

impl Tried {
    fn new(answers: &[Result<u16, &'static str>]) -> Self {
        let slot = Slot::new(0, named("one"));
        slot.refused();
        Self { slot, trials: Trials::default(), upstream: Upstream::that_answers(answers) }
    }

    /// The wait that follows, in seconds, and the trials so far.
    fn next(&mut self, now: u64) -> (u64, usize) {
        let send = |request| self.upstream.answer(request);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let wait = runtime.block_on(next(&self.slot, &mut self.trials, &send, at(now)));
        (wait.as_secs(), self.upstream.asked.borrow().len())
    }

    fn usage(&self) -> KeyUsage {
        self.slot.state(at(0)).usage
    }
}

#[test]
fn a_trial_asks_for_little_with_the_key() {
    let mut tried = Tried::new(&[Ok(200)]);
    tried.next(0);
    let asked = tried.upstream.asked.borrow();
    assert_eq!((asked[0].method(), asked[0].uri().to_string()), (&Method::GET, "/v1/models?limit=1".to_owned()));
    assert_eq!(asked[0].headers()["x-api-key"], "sk-one");
    assert_eq!(asked[0].headers()["anthropic-version"], "2023-06-01");
    assert!(asked[0].body().is_empty());
}

#[test]
fn a_suspect_that_the_upstream_takes_stays_in_use() {
    let mut tried = Tried::new(&[Ok(200), Ok(200)]);
    assert_eq!(tried.next(0), (0, 1));
    assert_eq!(tried.usage(), KeyUsage::InUse);
    assert_eq!(tried.next(0), (60, 1), "nothing is wanted");
    tried.slot.refused();
    assert_eq!(tried.next(1), (4, 1), "no trial within five seconds of the last");
    assert_eq!(tried.next(5), (0, 2));
}

#[test]
fn a_key_that_the_upstream_refuses_is_set_aside_until_it_takes_it() {
    let mut tried = Tried::new(&[Ok(401), Ok(403), Err("reset"), Ok(200)]);
    tried.next(0);
    assert_eq!(tried.usage(), KeyUsage::SetAside);
    assert_eq!(tried.next(0), (30, 1));
    assert_eq!(tried.next(30), (0, 2));
    assert_eq!(tried.next(30), (60, 2), "the pause doubles");
    assert_eq!(tried.next(90), (0, 3));
    assert_eq!(tried.usage(), KeyUsage::SetAside);
    assert_eq!(tried.next(209), (1, 3));
    assert_eq!(tried.next(210), (0, 4));
    assert_eq!(tried.usage(), KeyUsage::InUse);
    assert_eq!(tried.next(300), (60, 4));
}

#[test]
fn the_pause_is_ten_minutes_at_most() {
    let mut trials = Trials::default();
    for _ in 0..100 {
        trials.ended(&Verdict::Refused(StatusCode::UNAUTHORIZED), at(0));
    }
    assert_eq!(trials.wait(KeyId::default(), at(0)), MAX_BACKOFF);
    assert_eq!(trials.wait(KeyId::default(), at(0) - MAX_BACKOFF), MAX_BACKOFF, "the clock was set back");
}

#[test]
fn what_is_no_verdict_changes_nothing_and_is_asked_again() {
    for answer in [Ok(302), Ok(404), Ok(429), Ok(500), Ok(529), Err("no route")] {
        let mut tried = Tried::new(&[answer, Ok(401)]);
        tried.next(0);
        assert_eq!(tried.usage(), KeyUsage::InUse, "{answer:?}");
        assert_eq!(tried.next(29), (1, 1));
        assert_eq!(tried.next(30), (0, 2));
        assert_eq!(tried.usage(), KeyUsage::SetAside, "{answer:?}");
    }
}

#[test]
fn new_material_is_not_judged_by_the_trial_of_the_old() {
    let slot = Slot::new(0, named("one"));
    slot.refused();
    let new = || UpstreamKey::new("one", &Secret::new(b"sk-new".to_vec())).unwrap();
    let send = |_| {
        slot.rotate(new()); // while the trial is under way
        ready(Ok(Response::builder().status(401).body(Bytes::new()).unwrap()))
    };
    let mut trials = Trials::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(next(&slot, &mut trials, &send, at(0)));
    assert_eq!(slot.state(at(0)).usage, KeyUsage::InUse);
    assert!(!slot.wants_trial(at(0)));
    slot.refused();
    let id = slot.key().as_ref().unwrap().id();
    assert_eq!(trials.wait(id, at(0)), SPACING, "nor does it wait as long");
}

#[test]
fn a_key_past_its_end_is_not_tried() {
    let mut tried = Tried::new(&[]);
    tried.slot.not_after = Some(at(10));
    assert_eq!(tried.next(10), (60, 0));
}

#[test]
fn a_token_that_is_refused_is_renewed() {
    let mut slot = Slot::new(0, named("one"));
    slot.kind = KeyKind::Bearer;
    let key = Option::clone(&slot.key()).unwrap();
    heed(&slot, &key, &Verdict::Refused(StatusCode::UNAUTHORIZED), at(0));
    assert!(futures_util::FutureExt::now_or_never(slot.renewal.notified()).is_some());
}
