//! What is told of a request that has ended, until its spans are made of it.

use std::net::SocketAddr;
use std::time::Duration;

use http::Version;

use super::Trace;
use crate::audit::{Digests, Event, Record};

/// A sampled request. Nothing in it is content, nor says who called unless the configuration asks for it.
pub struct Ended {
    /// As part of what trace.
    pub trace: Trace,
    /// Its record, but for what spans do not have.
    pub record: Record,
    /// The attempts upstream, in their order.
    pub attempts: Vec<Attempt>,
    /// How it came, and where it went.
    pub route: Route,
}

/// How a request came, and where it went.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// The endpoint's path with its parameters in braces.
    pub template: Option<&'static str>,
    /// It came over TLS.
    pub is_tls: bool,
    /// The version of HTTP that it came with.
    pub version: Version,
    /// Where it went: scheme, host and path, without the query.
    pub upstream: Option<String>,
    /// The host of that.
    pub host: Option<String>,
}

/// An attempt upstream. Times are since the request's head arrived.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The address.
    pub address: Option<SocketAddr>,
    /// When it began.
    pub started: Duration,
    /// When a connection was at hand.
    pub connected: Option<Duration>,
    /// When the answer's head came.
    pub first_byte: Option<Duration>,
    /// When a stream's first content came.
    pub first_token: Option<Duration>,
    /// When it was over.
    pub ended: Duration,
    /// What the upstream answered.
    pub status: Option<u16>,
    /// How it ended.
    pub end: AttemptEnd,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// Another one was made, for this reason.
    Again(&'static str),
    /// With the request: its record tells.
    Last,
}

impl Ended {
    pub(super) fn new(trace: Trace, record: Record, subject: bool) -> Self {
        let mut record = record;
        (record.prompt, record.response, record.detail) = (None, None, None);
        (record.tools, record.teams, record.limits) = (Vec::new(), Vec::new(), Vec::new());
        (record.sha256, record.findings) = (Digests::default(), std::collections::BTreeMap::new());
        (record.prompt_hash, record.response_hash) = (None, None);
        (record.token_id, record.certificate) = (None, None);
        if !subject {
            (record.subject, record.client) = (None, None);
        }
        Self { trace, record, attempts: Vec::new(), route: Route::default() }
    }

    /// Spans that it makes.
    pub fn spans(&self) -> usize {
        1 + self.attempts.len()
    }

    /// The memory that it takes, about.
    pub fn bytes(&self) -> usize {
        let record = &self.record;
        let texts = [
            self.trace.state(),
            self.route.upstream.as_deref(),
            self.route.host.as_deref(),
            Some(&record.path),
            Some(&record.method),
            Some(&record.request_id),
            record.subject.as_deref(),
            record.issuer.as_deref(),
            record.session_id.as_deref(),
            record.agent_id.as_deref(),
            record.parent_agent_id.as_deref(),
            record.rule.as_deref(),
            record.key.as_deref(),
            record.upstream_request_id.as_deref(),
        ];
        size_of::<Self>()
            + self.attempts.len() * size_of::<Attempt>()
            + texts.into_iter().flatten().map(str::len).sum::<usize>()
            + record.models.iter().map(|model| size_of::<String>() + model.len()).sum::<usize>()
    }
}

/// Why the request of this record failed, as its client's client would say; `None` when it did not. What the client did
/// wrong is no failure of the server (HTTP conventions, "Status"), and neither is that it left.
pub fn request_error(record: &Record) -> Option<String> {
    match record.status {
        Some(400..=499) => None,
        Some(status @ 500..) => Some(record.reason.map_or_else(|| status.to_string(), str::to_owned)),
        _ => broken(record),
    }
}

/// The same of its last attempt upstream, of which we are the client; `status` is what the upstream answered.
pub fn attempt_error(record: &Record, status: Option<u16>) -> Option<String> {
    match status {
        Some(status @ 400..) => Some(record.error_type.clone().unwrap_or_else(|| status.to_string())),
        _ => broken(record),
    }
}

/// An error within an answer that began well, or before there was one.
fn broken(record: &Record) -> Option<String> {
    let broke_off = || record.reason.filter(|&reason| reason != "client_left").map(str::to_owned);
    (record.event == Event::End).then(|| record.error_type.clone().or_else(broke_off)).flatten()
}
