//! The store that hosts share.

use super::clock::{self, Reading};
use super::finding::{Check, Finding};
use crate::config::StoreConfig;
use crate::store::{Examined, Store};

/// Whose clock, and what is checked.
const SUBJECT: &str = "redis";

/// The store, and its clock beside this host's; without a store neither.
pub(super) async fn examine(config: Option<StoreConfig>) -> Option<(Finding, Finding)> {
    let config = config?;
    let places: Vec<_> = config.servers.iter().map(|server| format!("{}:{}", server.host, server.port)).collect();
    let examined = match Store::new(&config) {
        Ok(store) => store.examine().await,
        Err(fault) => Err(fault),
    };
    let places = places.join(", ");
    Some(match examined {
        Ok(Examined { round_trip, time, between }) => (
            Check::Store.passes(places, format!("answers in {:.1} ms and can be written", round_trip.as_secs_f64() * 1e3)),
            clock::judge(SUBJECT, Some(Reading::of(time, between)), ""),
        ),
        Err(fault) => (
            Check::Store.fails(
                places,
                fault,
                "see that this host reaches store.redis and that user, password, tls and cluster or sentinel are the servers'",
            ),
            clock::judge(SUBJECT, None, "not asked: store fails"),
        ),
    })
}
