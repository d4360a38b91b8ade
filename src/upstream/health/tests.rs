use proptest::prelude::*;

use super::*;

const RULES: HealthRules = HealthRules {
    connect_failures: 2,
    resets: 3,
    server_errors: 5,
    base_ejection: Duration::from_secs(5),
    max_ejection: Duration::from_secs(300),
    slow_start: Duration::from_secs(30),
};

fn health() -> (Health, Instant) {
    let now = Instant::now();
    (Health::new(RULES, now, 7), now)
}

/// What the last of these reports leads to, before an answer.
fn note_all(health: &Health, reports: &[Report]) -> Option<Cause> {
    reports.iter().map(|report| health.note(*report, false)).last().flatten().map(|earned| earned.cause)
}

#[test]
fn runs_of_failures_earn_an_ejection_by_their_cause() {
    use Report::{Answered, Broken, ConnectFailed, Connected};
    for (reports, cause) in [
        (&[ConnectFailed][..], None),
        (&[ConnectFailed; 2], Some(Cause::Connect)),
        (&[ConnectFailed, Connected, ConnectFailed], None),
        (&[ConnectFailed, Broken, ConnectFailed], None),
        (&[Broken; 2], None),
        (&[Broken; 3], Some(Cause::Reset)),
        (&[Connected, Broken, Connected, Broken, Connected, Broken], Some(Cause::Reset)),
        (&[Broken, Broken, Answered(200), Broken], None),
        (&[Broken, Broken, Answered(503), Broken], None),
        (&[Answered(500), Answered(502), Answered(503), Answered(504)], None),
        (&[Answered(500), Answered(502), Answered(503), Answered(504), Answered(500)], Some(Cause::ServerErrors)),
        (
            &[Answered(503), Answered(503), Broken, Answered(503), Answered(503), Answered(503)],
            Some(Cause::ServerErrors),
        ),
        (&[Answered(503), Answered(503), Answered(400), Answered(503), Answered(503), Answered(503)], None),
        (&[Answered(529); 20], None),
        (&[Answered(429); 20], None),
        (&[Answered(501); 20], None),
    ] {
        assert_eq!(note_all(&health().0, reports), cause, "{reports:?}");
    }
}

#[test]
fn answers_that_break_off_count_though_each_began_well() {
    let (health, _) = health();
    let broken_off = || {
        assert_eq!(health.note(Report::Answered(200), false), None);
        health.note(Report::Broken, true).map(|earned| earned.cause)
    };
    assert_eq!([broken_off(), broken_off()], [None, None]);
    health.note_end();
    assert_eq!([broken_off(), broken_off(), broken_off()], [None, None, Some(Cause::Reset)]);
}

#[test]
fn checks_count_for_themselves() {
    let (health, _) = health();
    assert_eq!(health.note_check(false), None);
    assert_eq!(health.note_check(true), None);
    assert_eq!(note_all(&health, &[Report::ConnectFailed]), None);
    assert_eq!(health.note_check(true), None);
    assert_eq!(note_all(&health, &[Report::ConnectFailed]), Some(Cause::Connect), "a check cleared the run");
    assert_eq!(note_all(&health, &[Report::Answered(200)]), None);
    assert_eq!(health.note_check(false), None);
    let earned = [health.note_check(false), health.note_check(false)];
    assert_eq!(earned, [true, false].map(|first| Some(Earned { cause: Cause::Check, first })));
}

#[test]
fn ejections_double_to_their_cap_and_an_address_returns_slowly() {
    let (health, mut now) = health();
    for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
        let (least, length) = (Duration::from_secs(seconds), health.eject(now));
        assert!(length >= least && length <= least.mul_f64(1.1), "{length:?}");
        let until = health.ejected_until().unwrap();
        assert_eq!(until, now + length);
        assert!(matches!(health.standing(now + least.mul_f64(0.999)).1, Standing::Ejected { .. }));
        assert!(matches!(health.standing(until).1, Standing::Probation { .. }));
        now = until;
        health.restore(now);
    }
    let weights = [0, 15, 29, 30, 3_000].map(|seconds| health.standing(now + Duration::from_secs(seconds)).1);
    assert_eq!(weights, [100, 550, 970, 1_000, 1_000].map(|weight| Standing::Serving { weight }));
    assert_eq!(health.ejections(), 8);
}

#[test]
fn time_in_health_takes_doublings_back() {
    let (health, origin) = health();
    let now = origin + Duration::from_secs(1);
    let eject = |at| health.eject(at).as_secs();
    assert_eq!([eject(now), eject(now), eject(now)].map(|length| length / 5), [1, 2, 4]);
    health.restore(now);
    assert_eq!(eject(now + 2 * DECAY) / 5, 2, "two of three doublings are forgiven");
    health.restore(now);
    assert_eq!(eject(now + 100 * DECAY) / 5, 1);
}

#[test]
fn the_jitter_is_the_seeds() {
    let now = Instant::now();
    let length = |seed| Health::new(RULES, now, seed).eject(now);
    assert_eq!(length(1), length(1));
    assert_ne!(length(1), length(2));
}

proptest! {
    #[test]
    fn a_standing_survives_its_word(time in 0..=LATEST) {
        prop_assert!(Word::serving(time).is_serving() && !Word::ejected(time).is_serving());
        prop_assert_eq!((Word::serving(time).time(), Word::ejected(time).time()), (time.max(1), time));
        prop_assert_ne!(Word::serving(time), Word::FOREVER);
    }

    #[test]
    fn no_rules_and_no_times_overflow(
        base: u64, max: u64, slow: u64, after: u32, doublings in 0..200_u32, seed: u64,
    ) {
        let rules = HealthRules {
            base_ejection: Duration::from_secs(base),
            max_ejection: Duration::from_secs(max),
            slow_start: Duration::from_secs(slow),
            ..RULES
        };
        let origin = Instant::now();
            let health = Health::new(rules, origin, seed);
        health.doublings.store(doublings, Ordering::Relaxed);
        let now = origin + Duration::from_secs(after.into());
        let length = health.eject(now);
        prop_assert!(length <= rules.max_ejection.min(LONGEST_EJECTION).mul_f64(1.1));
        health.restore(now);
        let Standing::Serving { weight } = health.standing(now).1 else { panic!("it was restored") };
        prop_assert!((FIRST_WEIGHT..=FULL_WEIGHT).contains(&weight));
    }

    #[test]
    fn runs_never_touch_one_another(failures in proptest::collection::vec(0..5_usize, 0..9_000)) {
        let runs = Runs(AtomicU64::new(0));
        let all = [Run::Connect, Run::Reset, Run::Cut, Run::ServerErrors, Run::Check];
        let mut lengths = [0_u64; 5];
        for failure in failures {
            lengths[failure] = (lengths[failure] + 1).min(Run::LONGEST);
            prop_assert_eq!(runs.lengthen(all[failure]), lengths[failure]);
        }
        runs.clear(Run::Cut.mask());
        prop_assert_eq!([runs.lengthen(Run::Cut), runs.lengthen(Run::Connect)], [1, (lengths[0] + 1).min(Run::LONGEST)]);
    }
}
