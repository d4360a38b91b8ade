use std::time::Duration;

use proptest::prelude::*;

use super::super::tests::{at, federated, named, permit};
use super::super::{KeyUsage, Secret};
use super::*;

const OPUS: Family = Family::Opus;

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn ring(keys: Vec<NamedKey>) -> KeyRing {
    KeyRing::new(keys)
}

fn for_teams(name: &str, teams: &[&str]) -> NamedKey {
    NamedKey { teams: texts(teams), ..named(name) }
}

fn for_grants(name: &str, grants: &[&str]) -> NamedKey {
    NamedKey { grants: texts(grants), ..named(name) }
}

fn opus<'a>(teams: &'a [String], permit: &'a Permit) -> KeyClaim<'a> {
    KeyClaim { teams, permit, family: OPUS }
}

impl KeyRing {
    fn pick(
        &self,
        teams: &[&str],
        grants: &[&str],
        refused: &[KeyId],
        now: SystemTime,
    ) -> Result<Arc<UpstreamKey>, Denial> {
        self.choose(opus(&texts(teams), &permit(grants)), refused, now)
    }

    /// The names of the keys for the next calls of somebody with no team.
    fn next(&self, calls: usize, now: SystemTime) -> Vec<String> {
        (0..calls).map(|_| self.pick(&[], &["g"], &[], now).unwrap().name().to_owned()).collect()
    }

    fn answer(&self, name: &str, status: u16, headers: &[(&'static str, &str)], now: SystemTime) {
        let headers =
            headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect();
        self.answered(&self.named(name).unwrap(), StatusCode::from_u16(status).unwrap(), &headers, OPUS, now);
    }

    fn slot(&self, name: &str) -> &Slot {
        self.slots.iter().find(|slot| &*slot.name == name).unwrap()
    }

    fn usage(&self, now: SystemTime) -> Vec<KeyUsage> {
        self.states(now).map(|state| state.usage).collect()
    }
}

#[test]
fn a_call_gets_a_key_of_the_first_group_that_is_named_for_it() {
    let ring = ring(vec![
        named("all"),
        for_teams("research", &["research", "labs"]),
        for_grants("batch", &["batch", "batch-long"]),
        NamedKey { grants: texts(&["nightly"]), ..for_teams("ops", &["ops"]) },
    ]);
    for (teams, grants, name) in [
        (&[] as &[&str], &["other"] as &[&str], "all"),
        (&["sales"], &["other"], "all"),
        (&["sales", "labs"], &["other"], "research"),
        (&["research"], &["batch"], "research"),
        (&["sales"], &["batch"], "batch"),
        (&["sales"], &["batch", "batch-long"], "batch"),
        (&["sales"], &["batch", "other"], "all"),
        (&["ops"], &["other"], "ops"),
        (&["sales"], &["nightly"], "ops"),
    ] {
        assert_eq!(ring.pick(teams, grants, &[], at(0)).unwrap().name(), name, "{teams:?} {grants:?}");
    }
}

#[test]
fn a_call_that_no_key_is_named_for_is_refused() {
    let ring = ring(vec![for_teams("research", &["research"]), for_grants("batch", &["batch"])]);
    let denial = ring.pick(&["sales"], &["other"], &[], at(0)).unwrap_err();
    assert!(matches!(denial, Denial::UpstreamKey(_)));
    assert!(!ring.has_other(opus(&texts(&["sales"]), &permit(&["other"])), &[], at(0)));
}

#[test]
fn a_call_never_goes_on_to_the_key_of_another_group() {
    let not_after = Some(at(100));
    let ring = ring(vec![NamedKey { not_after, ..for_teams("research", &["research"]) }, named("all")]);
    let pick = |refused: &[KeyId], now| ring.pick(&["research"], &["g"], refused, now).map(|key| key.name().to_owned());
    ring.answer("research", 429, &[], at(0));
    assert_eq!(pick(&[], at(1)).unwrap(), "research");
    ring.slot("research").set_aside(at(1));
    assert_eq!(pick(&[], at(2)).unwrap(), "research");
    assert!(pick(&[ring.named("research").unwrap().id()], at(2)).is_err());
    assert_eq!(pick(&[], at(99)).unwrap(), "research");
    assert!(pick(&[], at(100)).is_err());
}

#[test]
fn calls_are_spread_over_the_keys_of_a_group() {
    let ring = ring(vec![named("a"), for_teams("other", &["x"]), named("b"), named("c")]);
    assert_eq!(ring.next(7, at(0)), ["a", "b", "c", "a", "b", "c", "a"]);
    assert_eq!(ring.states(at(0)).map(|state| state.requests).collect::<Vec<_>>(), [3, 0, 2, 2]);
}

#[test]
fn a_limited_key_rests_for_its_family_while_another_serves() {
    let ring = ring(vec![named("a"), named("b")]);
    ring.answer("a", 429, &[("retry-after", "20")], at(0));
    assert_eq!(ring.next(3, at(19)), ["b", "b", "b"]);
    assert_eq!(ring.usage(at(19)), [KeyUsage::Limited, KeyUsage::InUse]);
    let permit = permit(&["g"]);
    let haiku = ring.choose(KeyClaim { family: Family::Haiku, ..opus(&[], &permit) }, &[], at(19)).unwrap();
    assert_eq!(haiku.name(), "a", "the limits of families are apart");
    ring.answer(
        "b",
        200,
        &[("anthropic-ratelimit-tokens-remaining", "0"), ("anthropic-ratelimit-tokens-reset", "2027-01-15T08:00:30Z")],
        at(0),
    );
    assert_eq!(ring.next(2, at(19)), ["a", "a"], "of two that are limited, the one that is so for less long");
    assert_eq!(ring.next(2, at(21)), ["a", "a"], "its limit is over");
    assert_eq!(ring.next(2, at(31)), ["b", "a"]);
}

#[test]
fn a_later_answer_does_not_shorten_a_limit() {
    let ring = ring(vec![named("a"), named("b")]);
    ring.answer("a", 429, &[("retry-after", "20")], at(0));
    ring.answer("a", 429, &[("retry-after", "1")], at(1));
    assert_eq!(ring.next(2, at(19)), ["b", "b"]);
}

#[test]
fn a_key_that_is_set_aside_serves_only_where_no_other_can() {
    let ring = ring(vec![named("a"), named("b")]);
    ring.slot("a").set_aside(at(0));
    assert_eq!(ring.next(2, at(1)), ["b", "b"]);
    assert_eq!(ring.usage(at(1)), [KeyUsage::SetAside, KeyUsage::InUse]);
    ring.answer("b", 429, &[], at(1));
    assert_eq!(ring.next(2, at(2)), ["b", "b"], "a limit ends by itself");
    ring.slot("b").set_aside(at(5));
    assert_eq!(ring.next(2, at(6)), ["b", "b"], "never nobody");
    ring.slot("a").restore();
    assert_eq!(ring.next(2, at(6)), ["a", "a"]);
}

#[test]
fn a_refusal_asks_for_a_trial_and_no_more() {
    for status in [401, 403] {
        let ring = ring(vec![named("a"), named("b")]);
        ring.answer("a", status, &[], at(0));
        assert!(ring.slot("a").wants_trial(at(0)) && !ring.slot("b").wants_trial(at(0)));
        assert_eq!(ring.next(2, at(1)), ["a", "b"]);
        assert_eq!(ring.states(at(1)).map(|state| state.refusals).collect::<Vec<_>>(), [1, 0]);
    }
    let ring = ring(vec![named("a")]);
    for status in [200, 400, 404, 500, 529] {
        ring.answer("a", status, &[], at(0));
    }
    assert!(!ring.slot("a").wants_trial(at(0)));
    assert_eq!(ring.usage(at(0)), [KeyUsage::InUse]);
}

#[test]
fn a_request_that_was_refused_goes_on_with_another_key() {
    let ring = ring(vec![named("a"), named("b"), named("c")]);
    let refused = [ring.pick(&[], &["g"], &[], at(0)).unwrap().id()];
    let has_other = |refused: &[KeyId]| ring.has_other(opus(&[], &permit(&["g"])), refused, at(0));
    assert!(has_other(&refused));
    let second = ring.pick(&[], &["g"], &refused, at(0)).unwrap();
    assert_eq!(second.name(), "b");
    let refused = [refused[0], second.id()];
    ring.answer("c", 429, &[], at(0));
    assert!(!has_other(&refused), "one that is limited is no help");
    assert_eq!(ring.pick(&[], &["g"], &refused, at(0)).unwrap().name(), "c");
}

#[test]
fn what_is_said_of_replaced_material_is_not_held_against_the_new() {
    let ring = ring(vec![named("a")]);
    let old = ring.named("a").unwrap();
    ring.answer("a", 429, &[], at(0));
    ring.slot("a").set_aside(at(0));
    let new = UpstreamKey::new("a", &Secret::new(b"sk-new".to_vec())).unwrap();
    ring.slot("a").rotate(new);
    assert_eq!(ring.usage(at(0)), [KeyUsage::InUse], "nor what is known of the old");
    for status in [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS] {
        ring.answered(&old, status, &HeaderMap::new(), OPUS, at(0));
    }
    assert_eq!(ring.usage(at(0)), [KeyUsage::InUse]);
    assert!(!ring.slot("a").wants_trial(at(0)));
    let again = ring.pick(&[], &["g"], &[old.id()], at(0)).unwrap();
    assert_ne!(again.id(), old.id(), "what was refused is the old one");
    assert_eq!(ring.states(at(0)).next().unwrap().rotations, 1);
}

#[test]
fn a_ring_is_ready_when_every_group_has_material() {
    let token = std::path::Path::new("token");
    assert!(ring(vec![named("a"), for_teams("b", &["x"])]).is_ready());
    assert!(!ring(vec![federated(token)]).is_ready());
    assert!(ring(vec![federated(token), named("a")]).is_ready());
    let federated = ring(vec![NamedKey { teams: texts(&["x"]), ..federated(token) }, named("a")]);
    assert!(!federated.is_ready());
    assert_eq!(federated.usage(at(0)), [KeyUsage::Missing, KeyUsage::InUse]);
    assert!(federated.pick(&["x"], &["g"], &[], at(0)).is_err());
    let bearer = UpstreamKey::bearer("federated".into(), b"t", at(60)).unwrap();
    federated.slot("federated").renew(bearer);
    assert!(federated.is_ready());
    assert_eq!(federated.pick(&["x"], &["g"], &[], at(59)).unwrap().name(), "federated");
    assert!(federated.pick(&["x"], &["g"], &[], at(60)).is_err(), "a token that has ended is not used");
    assert_eq!(federated.usage(at(60)), [KeyUsage::Expired, KeyUsage::InUse]);
}

#[test]
fn neither_the_ring_nor_its_states_show_a_secret() {
    let ring = ring(vec![named("a"), named("b")]);
    let shown = format!("{ring:?} {:?} {:?}", ring.states(at(0)).collect::<Vec<_>>(), named("a"));
    assert!(shown.contains("\"a\"") && !shown.contains("sk-"), "{shown}");
}

/// What may be true of one key.
#[derive(Debug, Clone)]
struct Condition {
    teams: Vec<&'static str>,
    grants: Vec<&'static str>,
    not_after: Option<u64>,
    set_aside: Option<u64>,
    limited: Option<u64>,
    refused: bool,
}

fn condition() -> impl Strategy<Value = Condition> {
    let some = |names: &'static [&'static str]| prop::sample::subsequence(names, 0..=names.len());
    let second = || prop::option::of(1..100u64);
    (some(&["s", "t"]), some(&["g", "h"]), second(), second(), second(), prop::bool::weighted(0.2)).prop_map(
        |(teams, grants, not_after, set_aside, limited, refused)| Condition {
            teams,
            grants,
            not_after,
            set_aside,
            limited,
            refused,
        },
    )
}

impl Condition {
    /// 0 where it is named for a team of the caller's, 1 for all the grants, 2 for nobody.
    fn group(&self, teams: &[&str], grants: &[&str]) -> Option<u8> {
        match self {
            _ if self.teams.iter().any(|team| teams.contains(team)) => Some(0),
            _ if !self.grants.is_empty() && grants.iter().all(|grant| self.grants.contains(grant)) => Some(1),
            _ if self.teams.is_empty() && self.grants.is_empty() => Some(2),
            _ => None,
        }
    }

    fn may_serve(&self, now: u64) -> bool {
        !self.refused && self.not_after.is_none_or(|end| end > now)
    }

    fn rank(&self, now: u64) -> u8 {
        match self {
            _ if self.set_aside.is_some() => 2,
            _ if self.limited.is_some_and(|until| until > now) => 1,
            _ => 0,
        }
    }
}

#[test]
fn a_key_that_stays_is_known_as_before() {
    let now = at(50);
    let before = ring(vec![named("a"), named("b"), for_teams("c", &["t"])]);
    let begun = before.pick(&[], &["g"], &[], now).unwrap();
    assert_eq!(begun.name(), "a");
    before.slot("c").set_aside(now);
    let after = before.succeeded_by(vec![for_teams("c", &["u"]), named("d"), named("b"), named("a")]);
    assert!(Arc::ptr_eq(&before.slots[0], &after.slots[3]) && !before.is_as(&after));
    assert!(before.is_as(&before.succeeded_by(vec![named("a"), named("b"), for_teams("c", &["t"])])));
    // What a request of before learns, those after know, whatever the order.
    before.answered(&begun, StatusCode::UNAUTHORIZED, &HeaderMap::new(), OPUS, now);
    assert!(after.slot("a").wants_trial(now));
    assert_eq!(after.usage(now), [KeyUsage::SetAside, KeyUsage::InUse, KeyUsage::InUse, KeyUsage::InUse]);
    assert_eq!(after.pick(&["u"], &["g"], &[], now).unwrap().name(), "c", "it serves others now");
    let ids: Vec<_> = after.slots.iter().map(|slot| slot.key().as_ref().unwrap().id()).collect();
    assert!(ids.iter().all(|id| ids.iter().filter(|other| *other == id).count() == 1), "{ids:?}");
}

proptest! {
    #[test]
    fn the_best_key_of_the_calls_own_group_serves(
        conditions in prop::collection::vec(condition(), 1..6),
        teams in prop::sample::subsequence(&["s", "t", "u"][..], 0..=3),
        grants in prop::sample::subsequence(&["g", "h"][..], 1..=2),
        now in 0..100u64,
    ) {
        let keys = conditions.iter().enumerate().map(|(index, condition)| NamedKey {
            teams: texts(&condition.teams),
            grants: texts(&condition.grants),
            not_after: condition.not_after.map(at),
            ..named(&index.to_string())
        });
        let ring = ring(keys.collect());
        for (slot, condition) in ring.slots.iter().zip(&conditions) {
            if let Some(since) = condition.set_aside {
                slot.set_aside(at(since));
            }
            if let Some(until) = condition.limited {
                slot.limit(OPUS, at(until));
            }
        }
        let refused: Vec<KeyId> = (0..conditions.len())
            .filter(|&slot| conditions[slot].refused)
            .map(|slot| KeyId { slot, rotation: 0 })
            .collect();
        let group = conditions.iter().filter_map(|condition| condition.group(&teams, &grants)).min();
        let in_group = |condition: &&Condition| group.is_some() && condition.group(&teams, &grants) == group;
        let usable = || conditions.iter().filter(in_group).filter(|condition| condition.may_serve(now));
        let key = ring.pick(&teams, &grants, &refused, at(now)).ok();
        prop_assert_eq!(key.is_some(), usable().next().is_some());
        if let Some(chosen) = key.map(|key| &conditions[key.id().slot]) {
            prop_assert!(in_group(&chosen) && chosen.may_serve(now));
            prop_assert_eq!(chosen.rank(now), usable().map(|condition| condition.rank(now)).min().unwrap());
            let mut alike = usable().filter(|other| other.rank(now) == chosen.rank(now));
            let is_best = match chosen.rank(now) {
                1 => alike.all(|other| other.limited >= chosen.limited),
                2 => alike.all(|other| other.set_aside <= chosen.set_aside),
                _ => true,
            };
            prop_assert!(is_best, "{:?}", chosen);
        }
        let good = usable().any(|condition| condition.rank(now) == 0);
        prop_assert_eq!(ring.has_other(opus(&texts(&teams), &permit(&grants)), &refused, at(now)), good);
    }

    #[test]
    fn keys_of_one_group_get_as_many_calls(keys in 1..6usize, calls in 0..40usize) {
        let ring = ring((0..keys).map(|index| named(&index.to_string())).collect());
        ring.next(calls, at(0) + Duration::from_millis(1));
        let requests: Vec<u64> = ring.states(at(0)).map(|state| state.requests).collect();
        prop_assert!(requests.iter().max().unwrap() - requests.iter().min().unwrap() <= 1, "{:?}", requests);
    }
}
