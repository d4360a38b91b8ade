use super::*;
use crate::anomaly::{Alarm, SeriesView};
use crate::containment::{ContainmentFile, LiftFile, Of};

fn rule(of: Of, action: Action) -> Rule {
    Rule {
        name: "r".to_owned(),
        mode: Mode::Enforce,
        signals: vec![Signal::Requests],
        of,
        names: Vec::new(),
        action,
        lasts: Duration::from_secs(900),
    }
}

fn subject(name: &str) -> Whom {
    Whom::Subject { issuer: "okta".into(), name: name.into() }
}

fn team(name: &str) -> Whom {
    Whom::Team { issuer: "okta".into(), name: name.into() }
}

fn alarm(whom: Whom) -> Alarm {
    Alarm { signal: Signal::Requests, whom, score: 2.0, family: None, since: at(0), fading: false }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_796_601_600 + seconds)
}

fn snapshot(alarms: Vec<Alarm>) -> Snapshot {
    let view = |whom: Whom, expected: f64| SeriesView {
        signal: Signal::Requests,
        whom,
        score: 0.0,
        expected,
        observed: 0.0,
        learning: false,
    };
    let series = vec![view(Whom::All, 100.0), view(team("red"), 20.0), view(team("Everyone"), 99.0)];
    Snapshot { series, alarms, ..Snapshot::default() }
}

fn ask(
    containments: &Containments,
    subject: &str,
    teams: &[&str],
    family: Family,
    now: SystemTime,
) -> Result<(), Denial> {
    let teams: Vec<String> = teams.iter().map(|team| (*team).to_owned()).collect();
    containments.admit(&Asking { issuer: "okta", subject, teams: &teams }, std::iter::once(family), || now)
}

fn reason(outcome: Result<(), Denial>) -> Option<&'static str> {
    outcome.err().map(|denial| denial.reason())
}

#[test]
fn whom_an_alarm_is_about_is_refused_for_a_while_and_nobody_else() {
    let containments = Containments::new(vec![rule(Of::Subject, Action::Refuse)], Vec::new());
    assert!(containments.active.load().is_none());
    let events = containments.beat(&snapshot(vec![alarm(subject("alice"))]), at(0));
    assert!(matches!(&events[..], [Event::Contained(held)] if held.target.name() == "alice"));
    assert_eq!(reason(ask(&containments, "alice", &[], Family::Haiku, at(10))), Some("contained"));
    assert_eq!(reason(ask(&containments, "bob", &["alice"], Family::Haiku, at(10))), None);
    assert!(containments.beat(&snapshot(vec![alarm(subject("alice"))]), at(10)).is_empty(), "once");
    assert_eq!(reason(ask(&containments, "alice", &[], Family::Haiku, at(901))), None);
    let events = containments.beat(&snapshot(Vec::new()), at(901));
    assert!(matches!(&events[..], [Event::Released(_, Released::Expired)]));
    assert!(containments.active.load().is_none());
}

#[test]
fn a_restriction_leaves_the_families_that_it_names() {
    let containments = Containments::new(vec![rule(Of::Team, Action::Restrict(vec![Family::Haiku]))], Vec::new());
    containments.beat(&snapshot(vec![alarm(team("red"))]), at(0));
    let asked = |teams: &[&str], family| reason(ask(&containments, "bob", teams, family, at(1)));
    assert_eq!(asked(&["blue", "red"], Family::Opus), Some("contained"));
    assert_eq!((asked(&["red"], Family::Haiku), asked(&["blue"], Family::Opus)), (None, None));
}

#[test]
fn a_throttle_lets_by_what_its_rate_allows() {
    let rate = "60/min".parse().unwrap();
    let containments = Containments::new(vec![rule(Of::Subject, Action::Throttle(rate))], Vec::new());
    containments.beat(&snapshot(vec![alarm(subject("alice"))]), at(0));
    let passed = (0..600).filter(|tenth| {
        let now = at(10) + Duration::from_millis(tenth * 100);
        ask(&containments, "alice", &[], Family::Haiku, now).is_ok()
    });
    let passed = passed.count();
    assert!((60..=66).contains(&passed), "{passed}");
    // A clock that is set back does not lock anybody out.
    assert!(ask(&containments, "alice", &[], Family::Haiku, at(1)).is_err());
    let denial = (0..9).find_map(|_| ask(&containments, "alice", &[], Family::Haiku, at(71)).err()).unwrap();
    assert_eq!((denial.reason(), denial.error_type().status()), ("contained_rate", 429));
    assert!(denial.retry_after().unwrap() >= Duration::from_secs(1));
}

#[test]
fn a_throttle_is_as_tight_as_it_says_at_any_rate() {
    for (rate, seconds, due) in [("501/s", 1, 500), ("3000/s", 1, 2_994), ("7/min", 60, 7), ("36000/hour", 1, 10)] {
        let limit: crate::limit::Rate = rate.parse().unwrap();
        let containments = Containments::new(vec![rule(Of::Subject, Action::Throttle(limit))], Vec::new());
        containments.beat(&snapshot(vec![alarm(subject("alice"))]), at(0));
        let passed = (0..10_000 * seconds).filter(|&tick| {
            let now = at(10) + Duration::from_micros(tick * 100);
            ask(&containments, "alice", &[], Family::Haiku, now).is_ok()
        });
        let (passed, burst) = (passed.count(), usize::try_from(limit.amount / 10).unwrap() + 1);
        assert!((due..=due + burst).contains(&passed), "{rate}: {passed}");
    }
}

#[test]
fn what_another_process_has_in_force_is_adopted() {
    let first = Containments::new(vec![rule(Of::Subject, Action::Refuse)], Vec::new());
    let second = Containments::new(vec![rule(Of::Subject, Action::Refuse)], Vec::new());
    first.beat(&snapshot(vec![alarm(subject("alice"))]), at(0));
    assert!(ask(&second, "alice", &[], Family::Haiku, at(1)).is_ok());
    second.adopt(first.held());
    assert_eq!(reason(ask(&second, "alice", &[], Family::Haiku, at(1))), Some("contained"));
    assert!(second.beat(&snapshot(vec![alarm(subject("alice"))]), at(2)).is_empty(), "it is not begun again");
}

#[test]
fn nothing_is_about_everybody() {
    let rules =
        vec![rule(Of::Team, Action::Refuse), Rule { name: "s".to_owned(), ..rule(Of::Subject, Action::Refuse) }];
    let containments = Containments::new(rules, Vec::new());
    let other = Whom::Other(crate::anomaly::Kind::Subject);
    let unknown = team("just appeared");
    let alarms = [Whom::All, Whom::Family(Family::Opus), other, team("Everyone"), unknown].map(alarm).to_vec();
    assert!(containments.beat(&snapshot(alarms), at(0)).is_empty());
    let many: Vec<Alarm> = (0..200).map(|number| alarm(subject(&format!("caller-{number}")))).collect();
    assert_eq!(containments.beat(&snapshot(many), at(0)).len(), MOST);
    assert_eq!(containments.turned_away(), 200 - 64);
}

#[test]
fn a_rule_that_observes_refuses_nobody_and_tells() {
    let observing = Rule { mode: Mode::Observe, ..rule(Of::Subject, Action::Refuse) };
    let containments = Containments::new(vec![observing], Vec::new());
    assert_eq!(containments.beat(&snapshot(vec![alarm(subject("alice"))]), at(0)).len(), 1);
    assert_eq!(reason(ask(&containments, "alice", &[], Family::Haiku, at(1))), None);
}

#[test]
fn a_rule_is_for_the_names_and_signals_that_it_says() {
    let named = Rule { names: vec!["okta/ci-*".to_owned()], ..rule(Of::Subject, Action::Refuse) };
    assert!(named.target(&alarm(subject("ci-7"))).is_some());
    assert!(named.target(&alarm(subject("alice"))).is_none() && named.target(&alarm(team("ci-7"))).is_none());
    assert!(named.target(&Alarm { signal: Signal::Cost, ..alarm(subject("ci-7")) }).is_none());
}

#[test]
fn what_is_lifted_stays_lifted_while_its_alarm_goes_on() {
    let containments = Containments::new(vec![rule(Of::Subject, Action::Refuse)], Vec::new());
    let alarmed = snapshot(vec![alarm(subject("alice"))]);
    containments.beat(&alarmed, at(0));
    let id = containments.held()[0].id.clone();
    assert!(containments.lift(&["another".to_owned()], at(1)).is_empty());
    assert!(matches!(&containments.lift(std::slice::from_ref(&id), at(1))[..], [Event::Released(_, Released::Lifted)]));
    assert!(containments.lift(&[id], at(2)).is_empty(), "once");
    assert_eq!(reason(ask(&containments, "alice", &[], Family::Haiku, at(2))), None);
    for second in (10..3000).step_by(10) {
        assert!(containments.beat(&alarmed, at(second)).is_empty(), "{second}");
    }
    assert!(containments.beat(&snapshot(Vec::new()), at(3200)).is_empty());
    assert_eq!(containments.beat(&alarmed, at(3210)).len(), 1, "a new alarm is followed anew");
}

#[test]
fn a_restart_lifts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = ContainmentFile::within(folder.path());
    assert!(file.load().unwrap().is_empty());
    let rules = || {
        let rate = "6/min".parse().unwrap();
        let throttle = Rule { name: "t".to_owned(), ..rule(Of::Subject, Action::Throttle(rate)) };
        vec![rule(Of::Subject, Action::Refuse), throttle]
    };
    let containments = Containments::new(rules(), Vec::new());
    containments.beat(&snapshot(vec![alarm(subject("alice")), alarm(subject("bob"))]), at(0));
    let bobs: Vec<_> = containments.held().into_iter().filter(|held| held.target.name() == "bob").collect();
    containments.lift(&bobs.iter().map(|held| held.id.clone()).collect::<Vec<_>>(), at(1));
    file.save(&containments.held()).unwrap();

    let again = Containments::new(rules(), file.load().unwrap());
    assert_eq!(reason(ask(&again, "alice", &[], Family::Haiku, at(2))), Some("contained"));
    assert_eq!(reason(ask(&again, "bob", &[], Family::Haiku, at(2))), None);
    let actions: Vec<_> = again.held().iter().map(|held| (held.action.name(), held.action.to_what())).collect();
    assert!(actions.contains(&("throttle", Some("6/min".to_owned()))), "{actions:?}");

    let lifts = LiftFile::within(folder.path());
    lifts.add(&["gone".to_owned()], &again.held()).unwrap();
    let id = again.held()[0].id.clone();
    lifts.add(std::slice::from_ref(&id), &again.held()).unwrap();
    assert_eq!(LiftFile::parse(&std::fs::read(lifts.path()).unwrap()), [id], "what is over need not be lifted");
    for bad in ["", "{}", "{\"version\":9,\"lift\":[\"x\"]}"] {
        assert!(LiftFile::parse(bad.as_bytes()).is_empty());
    }
    std::fs::write(folder.path().join("containments.json"), "garbage").unwrap();
    assert!(file.load().is_err());
}
