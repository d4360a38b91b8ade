use std::collections::{HashMap, VecDeque};

use super::*;
use crate::upstream::{ResolveFault, Resolved};

type Answer = Result<Resolved, ResolveFault>;

/// Gives the prepared answers of each name in turn, and none ever after.
#[derive(Default)]
struct Script {
    answers: Mutex<HashMap<String, VecDeque<Answer>>>,
}

impl Script {
    fn with(self, host: &str, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.answers.lock().unwrap().entry(host.to_owned()).or_default().extend(answers);
        self
    }
}

impl Resolve for Script {
    async fn lookup(&self, host: &str) -> Answer {
        let answer = self.answers.lock().unwrap().get_mut(host).and_then(VecDeque::pop_front);
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

/// An answer that is to be asked for again at once.
fn answer(addresses: &[&str]) -> Resolved {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Resolved { addresses, valid_for: Duration::ZERO }
}

fn discovery(endpoints: &[(&str, bool)], script: Script) -> Discovery<Script> {
    let endpoints = endpoints.iter().map(|(endpoint, preferred)| (endpoint.parse().unwrap(), *preferred)).collect();
    Discovery::new(endpoints, Networks::new(true, Vec::new()), script)
}

fn usable(found: &Found) -> Vec<(String, bool)> {
    found.usable.iter().map(|placed| (placed.address.to_string(), placed.preferred)).collect()
}

fn placed(list: &[(&str, bool)]) -> Vec<(String, bool)> {
    list.iter().map(|(address, preferred)| ((*address).to_owned(), *preferred)).collect()
}

/// Runs until `changes` changes were told, and returns what was found at each.
async fn changes<const N: usize>(discovery: &Discovery<Script>) -> [Found; N] {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let collected = async {
        let mut all = Vec::new();
        while all.len() < N {
            all.push(receiver.recv().await.unwrap());
        }
        all
    };
    tokio::select! {
        () = discovery.run(|found| sender.send(found.clone()).unwrap()) => panic!("it ended"),
        all = tokio::time::timeout(Duration::from_secs(20), collected) => all.unwrap().try_into().unwrap(),
    }
}

#[tokio::test]
async fn addresses_of_all_endpoints_are_sorted_and_the_preferred_of_two_equal_ones_stays() {
    let script = Script::default()
        .with("a.internal", [Ok(answer(&["10.0.0.3", "10.0.0.1", "::ffff:10.0.0.1"]))])
        .with("b.internal", [Ok(answer(&["10.0.0.3", "10.0.0.2"]))]);
    let endpoints =
        [("a.internal:443", false), ("b.internal:443", true), ("10.0.0.9:443", true), ("10.0.0.9:443", false)];
    let discovery = discovery(&endpoints, script);
    assert_eq!(usable(&discovery.current()), placed(&[("10.0.0.9:443", true)]));
    assert_eq!(discovery.current().faults, ["a.internal:443: not looked up yet", "b.internal:443: not looked up yet"]);
    discovery.resolve_once().await;
    let expected =
        placed(&[("10.0.0.1:443", false), ("10.0.0.2:443", true), ("10.0.0.3:443", true), ("10.0.0.9:443", true)]);
    assert_eq!((usable(&discovery.current()), &discovery.current().faults), (expected, &Vec::new()));
}

#[tokio::test]
async fn changes_are_told_and_nothing_else_is() {
    let script = Script::default().with(
        "api.internal",
        [
            Ok(answer(&["10.0.0.1"])),
            Ok(answer(&["10.0.0.1"])),
            Ok(answer(&["8.8.8.8"])),
            Ok(answer(&["8.8.8.8"])),
            Ok(answer(&["10.0.0.2", "8.8.8.8"])),
            Ok(answer(&["10.0.0.2"])),
        ],
    );
    let discovery = discovery(&[("api.internal:443", false), ("10.0.0.9:443", false)], script);
    let [first, public, mixed, good] = changes(&discovery).await;
    let other = ("10.0.0.9:443", false);
    assert_eq!(usable(&first), placed(&[("10.0.0.1:443", false), other]));
    assert_eq!(
        (usable(&public), public.faults),
        (placed(&[other]), vec!["api.internal:443: 8.8.8.8:443 is public".to_owned()])
    );
    assert_eq!((usable(&mixed), mixed.faults.len()), (placed(&[("10.0.0.2:443", false), other]), 1));
    assert_eq!((usable(&good), &good.faults), (placed(&[("10.0.0.2:443", false), other]), &Vec::new()));
    assert_eq!(*discovery.current(), good);
    assert_eq!((discovery.refused_total(), discovery.failures_total()), (3, 0));
}

#[tokio::test]
async fn one_name_that_fails_or_hangs_holds_up_no_other() {
    let script = Script::default()
        .with("gone.internal", [Err(ResolveFault::NoSuchName)])
        .with("api.internal", [Ok(answer(&["10.0.0.1"])), Ok(answer(&["10.0.0.2"]))]);
    let endpoints = [("hangs.internal:443", false), ("gone.internal:443", false), ("api.internal:443", true)];
    let discovery = discovery(&endpoints, script);
    let [.., last] = changes::<3>(&discovery).await;
    assert_eq!(usable(&last), placed(&[("10.0.0.2:443", true)]));
    assert_eq!(last.faults, ["hangs.internal:443: not looked up yet", "gone.internal:443: no such name"]);
    assert_eq!((discovery.refused_total(), discovery.failures_total()), (0, 1));
    let [hangs, gone, good] = <[EndpointState; 3]>::try_from(discovery.endpoints()).unwrap();
    assert_eq!((hangs.usable, hangs.fault, hangs.age), (0, None, None));
    assert_eq!((gone.usable, gone.fault.as_deref(), gone.age), (0, Some("no such name"), None));
    assert_eq!((good.name.as_str(), good.preferred, good.usable, good.refused), ("api.internal:443", true, 1, 0));
    assert!(good.fault.is_none() && good.age.is_some());
}

#[tokio::test]
async fn a_lookup_that_fails_leaves_the_last_addresses() {
    let script = Script::default()
        .with("api.internal", [Ok(answer(&["10.0.0.1"])), Err(ResolveFault::NoAnswer), Ok(answer(&["10.0.0.1"]))]);
    let discovery = discovery(&[("api.internal:443", false)], script);
    for faults in [&[][..], &["api.internal:443: no answer in time"], &[]] {
        discovery.resolve_once().await;
        assert_eq!(usable(&discovery.current()), placed(&[("10.0.0.1:443", false)]));
        assert_eq!(discovery.current().faults, faults);
    }
}

#[tokio::test]
async fn written_addresses_are_judged_too_and_keep_it_running() {
    let discovery = discovery(&[("10.0.0.1:443", false), ("8.8.8.8:443", false)], Script::default());
    assert_eq!(usable(&discovery.current()), placed(&[("10.0.0.1:443", false)]));
    assert_eq!(discovery.current().faults, ["8.8.8.8:443: 8.8.8.8:443 is public"]);
    assert_eq!(discovery.refused_total(), 1);
    let mut run = Box::pin(discovery.run(|found| panic!("{found:?}")));
    assert!(futures_util::poll!(run.as_mut()).is_pending());
}

#[test]
fn it_runs_on_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    let discovery = Discovery::new(Vec::new(), Networks::new(true, Vec::new()), Resolver::of(Vec::new()));
    is_send(&discovery.run(|_| {}));
    is_send(&discovery.resolve_once());
}
