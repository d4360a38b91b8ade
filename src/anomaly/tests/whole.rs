//! The signals as the gateway uses them.

use std::time::{Duration, SystemTime};

use super::super::*;
use crate::claude::Family;

fn options() -> Options {
    Options {
        warm_up: Duration::from_secs(3600),
        top_teams: 3,
        top_subjects: 4,
        refused_tokens: 30,
        addresses: 4,
        ..Options::default()
    }
}

fn request<'a>(subject: &'a str, teams: &'a [String]) -> Observation<'a> {
    Observation {
        family: Some(Family::Sonnet),
        issuer: Some("okta"),
        subject: Some(subject),
        teams,
        address: Some([10, 0, 0, 1].into()),
        ended: Ended::Served,
        tokens: 2000,
        cost_micro_usd: 9000,
        findings: 0,
    }
}

struct Clock(SystemTime);

impl Clock {
    fn new() -> Self {
        Self(SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_601_600))
    }

    fn beat(&mut self, signals: &Signals) -> std::sync::Arc<Snapshot> {
        self.0 += Duration::from_secs(10);
        signals.beat(self.0)
    }
}

/// Two hours of alice's ten requests a beat.
fn learnt(clock: &mut Clock) -> Signals {
    let signals = Signals::new(options());
    let teams = ["red".to_owned()];
    for _ in 0..720 {
        (0..10).for_each(|_| signals.observe(&request("alice", &teams)));
        clock.beat(&signals);
    }
    signals
}

fn told(snapshot: &Snapshot) -> Vec<(Signal, String)> {
    let mut told: Vec<_> = snapshot.alarms.iter().map(|alarm| (alarm.signal, alarm.whom.to_string())).collect();
    told.sort();
    told
}

#[test]
fn a_spike_is_told_of_everyone_whom_it_is_of() {
    let mut clock = Clock::new();
    let signals = learnt(&mut clock);
    let calm = signals.snapshot();
    assert_eq!(told(&calm), []);
    let alice = calm.series.iter().find(|series| series.whom.to_string() == "okta/alice").unwrap();
    assert!((alice.expected - 60.0).abs() < 6.0 && !alice.learning, "{alice:?}");
    let teams = ["red".to_owned()];
    let mut snapshot = calm;
    for _ in 0..9 {
        (0..40).for_each(|_| signals.observe(&request("alice", &teams)));
        snapshot = clock.beat(&signals);
    }
    let told = told(&snapshot);
    for signal in [Signal::Requests, Signal::Tokens, Signal::Cost] {
        for name in ["all", "sonnet", "okta/red", "okta/alice"] {
            assert!(told.contains(&(signal, name.to_owned())), "{signal:?} {name}: {told:?}");
        }
    }
    assert!(!told.iter().any(|(signal, _)| *signal == Signal::Denials));
    assert!(snapshot.begun.contains(&(Signal::Requests, Kind::Subject, 1)), "{:?}", snapshot.begun);
    for _ in 0..60 {
        (0..10).for_each(|_| signals.observe(&request("alice", &teams)));
        snapshot = clock.beat(&signals);
    }
    assert_eq!(self::told(&snapshot), [], "it is over");
}

#[test]
fn refusals_and_findings_that_jump_are_told() {
    let mut clock = Clock::new();
    let signals = learnt(&mut clock);
    let mut snapshot = signals.snapshot();
    for _ in 0..6 {
        for _ in 0..10 {
            signals.observe(&Observation { ended: Ended::Refused, findings: 3, ..request("alice", &[]) });
        }
        snapshot = clock.beat(&signals);
    }
    let told = told(&snapshot);
    for expected in [(Signal::Denials, "all"), (Signal::Denials, "okta/alice"), (Signal::Findings, "all")] {
        assert!(told.contains(&(expected.0, expected.1.to_owned())), "{expected:?} {told:?}");
    }
    // What a containment refuses is no jump in refusals.
    let signals = learnt(&mut clock);
    for _ in 0..6 {
        (0..10).for_each(|_| signals.observe(&Observation { ended: Ended::Contained, ..request("alice", &[]) }));
        snapshot = clock.beat(&signals);
    }
    assert!(!self::told(&snapshot).iter().any(|(signal, _)| *signal == Signal::Denials));
}

#[test]
fn what_nobody_has_done_before_is_told() {
    let mut clock = Clock::new();
    let signals = learnt(&mut clock);
    signals.observe(&Observation { family: Some(Family::Opus), ended: Ended::Refused, ..request("alice", &[]) });
    assert_eq!(told(&clock.beat(&signals)), [], "what is refused is no use");
    signals.observe(&Observation { family: Some(Family::Opus), ..request("alice", &[]) });
    for last in 1..=4 {
        signals.observe(&Observation { address: Some([10, 0, 0, last].into()), ..request("alice", &[]) });
    }
    for _ in 0..30 {
        signals.observe(&Observation {
            issuer: None,
            subject: None,
            family: None,
            ended: Ended::TokenRefused,
            address: Some([192, 0, 2, 9].into()),
            ..request("", &[])
        });
    }
    let snapshot = clock.beat(&signals);
    let expected = [
        (Signal::FirstUse, "okta/alice".to_owned()),
        (Signal::RefusedTokens, "192.0.2.9".to_owned()),
        (Signal::ManyAddresses, "okta/alice".to_owned()),
    ];
    let told = told(&snapshot);
    assert!(expected.iter().all(|alarm| told.contains(alarm)), "{told:?}");
    assert!(snapshot.first_uses.contains(&(Family::Opus, 1)));
}

#[test]
fn names_are_bounded_and_the_rest_is_other() {
    let mut clock = Clock::new();
    let signals = Signals::new(options());
    let mut snapshot = signals.snapshot();
    for beat in 0..60 {
        for caller in 0..500 {
            let teams = [format!("team-{}", caller % 50)];
            signals.observe(&request(&format!("caller-{caller}"), &teams));
        }
        (0..30).for_each(|_| signals.observe(&request("heavy", &[])));
        snapshot = clock.beat(&signals);
        assert!(beat < 20 || snapshot.series.iter().any(|series| series.whom.to_string() == "okta/heavy"));
    }
    let count = |kind: Kind| snapshot.series.iter().filter(|series| series.whom.kind() == kind).count();
    assert_eq!((count(Kind::Team), count(Kind::Subject), count(Kind::Family)), (4 * 4, 5 * 4, 6 * 4));
    let other = snapshot.series.iter().find(|series| series.whom == Whom::Other(Kind::Subject)).unwrap();
    assert!(other.expected > 500.0, "{other:?}");
}

#[test]
fn what_was_learnt_outlives_a_restart() {
    let mut clock = Clock::new();
    let signals = learnt(&mut clock);
    let folder = tempfile::tempdir().unwrap();
    let file = StateFile::within(folder.path());
    file.save(&signals).unwrap();
    let (mut again, before) = (file.load(options()), signals.snapshot());
    again.beat(clock.0);
    let after = clock.beat(&again);
    for series in &before.series {
        let same = after.series.iter().find(|other| (other.signal, &other.whom) == (series.signal, &series.whom));
        let same = same.unwrap_or_else(|| panic!("{series:?} is gone"));
        if series.observed > 0.0 {
            assert!((same.expected - series.expected).abs() <= 0.25 * series.expected, "{series:?} {same:?}");
        }
        assert_eq!(same.learning, series.learning);
    }
    // Alice's families are known still.
    again.observe(&request("alice", &[]));
    assert_eq!(told(&clock.beat(&again)), []);

    for bad in [&b"garbage"[..], &zstd::encode_all(&b"{\"version\":1}"[..], 3).unwrap()] {
        std::fs::write(folder.path().join("anomaly.json.zst"), bad).unwrap();
        again = file.load(options());
        again.beat(clock.0);
        assert!(clock.beat(&again).series.iter().all(|series| series.learning));
        assert!(folder.path().join("anomaly.json.zst.damaged").exists());
        std::fs::remove_file(folder.path().join("anomaly.json.zst.damaged")).unwrap();
    }
    assert!(file.save(&again).is_ok() && file.load(options()).snapshot().series.is_empty());
}

#[test]
fn a_clock_that_jumps_raises_nothing() {
    let mut clock = Clock::new();
    let signals = learnt(&mut clock);
    let teams = ["red".to_owned()];
    for jump in [-7200_i64, 86_400, -86_400, 3600] {
        let by = Duration::from_secs(jump.unsigned_abs());
        clock.0 = if jump < 0 { clock.0 - by } else { clock.0 + by };
        // What was counted meanwhile came in no known time.
        (0..5000).for_each(|_| signals.observe(&request("alice", &teams)));
        assert_eq!(told(&clock.beat(&signals)), []);
        for _ in 0..60 {
            (0..10).for_each(|_| signals.observe(&request("alice", &teams)));
            assert_eq!(told(&clock.beat(&signals)), [], "{jump}");
        }
    }
}
