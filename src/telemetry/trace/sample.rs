//! A request that has ended, for tests.

use std::time::Duration;

use http::Version;

use super::{Attempt, AttemptEnd, Ended, Route, Trace, TraceParent};
use crate::audit::Record;
use crate::audit::sample::full;

/// `traceparent` of a caller.
pub(crate) const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A trace that a caller began.
pub(crate) fn trace() -> Trace {
    let parent = TraceParent::parse(PARENT.as_bytes()).unwrap();
    Trace {
        id: parent.trace,
        span: 0x1000_u64.into(),
        parent: Some(parent.span),
        state: Some("vendor=1".to_owned()),
        is_random: true,
        is_sampled: true,
    }
}

/// A request with this record and so many attempts, each 100 ms long, of which all but the last were connected in vain.
pub(crate) fn ended_with(record: Record, attempts: u32, subject: bool) -> Ended {
    let mut ended = Ended::new(trace(), record, subject);
    let millis = Duration::from_millis;
    ended.attempts = (0..attempts)
        .map(|number| {
            let started = millis(1 + 100 * u64::from(number));
            let is_last = number + 1 == attempts;
            Attempt {
                address: Some("10.9.8.7:443".parse().unwrap()),
                started,
                connected: Some(started + millis(5)),
                first_byte: is_last.then(|| started + millis(50)),
                first_token: is_last.then(|| started + millis(60)),
                ended: started + millis(100),
                status: is_last.then_some(200),
                end: if is_last { AttemptEnd::Last } else { AttemptEnd::Again("broken") },
            }
        })
        .collect();
    ended.route = Route {
        template: Some("/v1/messages"),
        is_tls: true,
        version: Version::HTTP_2,
        upstream: Some("https://api.anthropic.com/v1/messages".to_owned()),
        host: Some("api.anthropic.com".to_owned()),
    };
    ended
}

/// One with a full record.
pub(crate) fn ended(attempts: u32) -> Ended {
    ended_with(full(), attempts, false)
}
