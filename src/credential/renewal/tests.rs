use std::cell::Cell;
use std::future::ready;

use super::super::KeyUsage;
use super::super::tests::{at, federated, named};
use super::*;

#[test]
fn a_token_is_renewed_two_minutes_before_its_end_or_at_half_its_life() {
    for (life, wait) in [(3600, 3480), (600, 480), (240, 120), (100, 50), (1, 0)] {
        let mut renewals = Renewals::default();
        assert_eq!(renewals.wait(at(0)), Duration::ZERO, "the first is due at once");
        renewals.succeeded(at(0), Duration::from_secs(life));
        assert_eq!(renewals.wait(at(0)).as_secs(), wait, "{life}");
        assert_eq!(renewals.wait(at(wait + 1)), Duration::ZERO, "{life}");
        assert_eq!(renewals.wait(at(0) - Duration::from_secs(1)), Duration::ZERO, "the clock was set back");
    }
}

#[test]
fn a_failed_exchange_is_made_again_after_pauses_that_double() {
    let mut renewals = Renewals::default();
    let pauses: Vec<u64> = (0..9)
        .map(|_| {
            renewals.failed(at(0));
            renewals.wait(at(0)).as_secs()
        })
        .collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    renewals.succeeded(at(0), Duration::from_secs(600));
    renewals.failed(at(480));
    assert_eq!(renewals.wait(at(480)).as_secs(), 1);
}

#[test]
fn a_refused_token_is_renewed_before_its_time_but_not_without_pause() {
    let mut renewals = Renewals::default();
    renewals.hasten();
    assert_eq!(renewals.wait(at(0)), Duration::ZERO);
    renewals.succeeded(at(0), Duration::from_secs(600));
    renewals.hasten();
    assert_eq!(renewals.wait(at(10)).as_secs(), 20);
    assert_eq!(renewals.wait(at(30)), Duration::ZERO);
    renewals.failed(at(30));
    renewals.hasten();
    assert_eq!(renewals.wait(at(30)).as_secs(), 1, "after a failure, its own pause");
}

#[test]
fn the_old_token_serves_until_its_end_while_the_new_one_cannot_be_had() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "a.b.c").unwrap();
    let slot = Slot::new(0, federated(&folder.path().join("token")));
    let mut renewals = Renewals::default();
    let given = Cell::new(None);
    let send = |_| {
        let token = given.get().map(|token: &str| format!(r#"{{"access_token": "{token}", "expires_in": 600}}"#));
        ready(token.map(|token| Response::new(token.into())).ok_or("no route".to_owned()))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut renew = |now| {
        runtime.block_on(renew(&slot, &mut renewals, &send, at(now)));
        let state = slot.state(at(now));
        let mut headers = http::HeaderMap::new();
        if let Some(key) = slot.key().as_ref() {
            key.authenticate(&mut headers);
        }
        let token = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        (token.unwrap_or_default(), state.usage, state.rotations, state.faulty)
    };
    assert_eq!(renew(0), (String::new(), KeyUsage::Missing, 0, true));
    given.set(Some("first"));
    assert_eq!(renew(1), ("Bearer first".to_owned(), KeyUsage::InUse, 1, false));
    given.set(None);
    assert_eq!(renew(481), ("Bearer first".to_owned(), KeyUsage::InUse, 1, true));
    assert_eq!(renew(601), ("Bearer first".to_owned(), KeyUsage::Expired, 1, true));
    given.set(Some("second"));
    assert_eq!(renew(660), ("Bearer second".to_owned(), KeyUsage::InUse, 2, false));
}

#[test]
fn a_renewed_token_is_as_limited_as_the_old_and_not_set_aside() {
    let slot = Slot::new(0, named("one"));
    slot.limit(crate::claude::Family::Opus, at(60));
    slot.set_aside(at(0));
    slot.renew(super::super::UpstreamKey::bearer("one".into(), b"t", at(600)).unwrap());
    assert_eq!(slot.state(at(0)).usage, KeyUsage::Limited);
}

#[tokio::test]
async fn a_slot_without_federation_has_nothing_to_renew() {
    let send = |_| async { Err("it was asked".to_owned()) };
    let slot = Slot::new(0, named("one"));
    keep(&slot, &send).await;
    assert_eq!(slot.state(at(0)).rotations, 0);
}
