//! What is written down of one request: a line before it goes upstream and one when it has ended, or one in all.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::claude::Usage;

/// Version of the records' layout; docs/audit.md and docs/audit.schema.json describe it.
pub const VERSION: u32 = 2;

/// What a line tells of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It is about to go upstream: on disk before its first byte leaves, where the log is durable.
    Begin,
    /// It was permitted and has ended, whatever became of it; each `begin` has one.
    End,
    /// It was refused here.
    Refused,
    /// It was answered here: no call, such as `HEAD /api/hello`.
    Answered,
    /// Its client left before there was a decision.
    Left,
}

impl Event {
    /// The event as lines have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::End => "end",
            Self::Refused => "refused",
            Self::Answered => "answered",
            Self::Left => "left",
        }
    }
}

/// One request. `None` is "not known" or "does not apply", and is left out.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// What this line tells.
    pub event: Event,
    /// [`VERSION`].
    pub version: u32,
    /// When the request arrived, RFC 3339 in UTC.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// Ours, as in `x-portcullis-request-id`.
    pub request_id: String,
    /// The trace that it is part of, 32 hex digits: on the last line of a request, where tracing is on and somebody may
    /// have the trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The client's address, after trusted proxies.
    pub client: Option<IpAddr>,
    /// The issuer's configured name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The token's `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The token's `jti`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// The token's teams.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<String>,
    /// SHA-256 of the client's certificate (DER), in lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The Claude Code session, as the client names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The Claude Code agent, as the client names it; the main loop has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The agent that started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_agent_id: Option<String>,
    /// The HTTP method.
    pub method: String,
    /// The path without its query; parts that no endpoint has are left out.
    pub path: String,
    /// The endpoint's group, as grants name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<&'static str>,
    /// Every model that the request names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// The model that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<String>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// The request's `max_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Names of the tools that the request brings, each once, in its order; at most [`MAX_TOOLS`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Keyed hash of the request's text: 32 hex digits. Equal texts have equal hashes; who lacks the key learns nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_hash: Option<String>,
    /// The same of the answer's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_hash: Option<String>,
    /// Personal data and secrets found in the request: how many of which type.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub findings: BTreeMap<&'static str, u64>,
    /// The request's text, masked and cut to a bound; only where `audit.content` is `"masked"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The answer's text, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// What was decided.
    pub decision: Decision,
    /// The rule that decided: the grant that allowed it, or the address rule, grant or limit that did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why it was refused or failed: a name from a closed list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What was left of the limits that cover the call when it was let through.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitLeft>,
    /// The name of the upstream key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Attempts to reach the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<usize>,
    /// The upstream's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The upstream's `request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_request_id: Option<String>,
    /// The status that the client got; absent when it left before one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The answer came to its end and the client took all of it.
    pub complete: bool,
    /// The type of an error in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// Why the model stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// What the answer used, in the API's own names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What that costs at the prices in force, in millionths of a US dollar; absent when the model's price is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_micro_usd: Option<u64>,
    /// Content deltas seen when a stream ended before its totals: a floor for the output tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_deltas: Option<u64>,
    /// Bytes of the request's body that were received.
    pub request_bytes: u64,
    /// Bytes of the answer's body that were sent to the client.
    pub response_bytes: u64,
    /// The receipt that nothing was altered on the way.
    pub sha256: Digests,
    /// Who ended an exchange that did not come to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<Closer>,
    /// How long things took.
    pub timings: Timings,
}

impl Record {
    /// Of a request of which nothing else is known.
    pub fn new(request_id: String, time: SystemTime) -> Self {
        Self {
            event: Event::Left,
            version: VERSION,
            time,
            request_id,
            trace_id: None,
            client: None,
            issuer: None,
            subject: None,
            token_id: None,
            teams: Vec::new(),
            certificate: None,
            session_id: None,
            agent_id: None,
            parent_agent_id: None,
            method: String::new(),
            path: String::new(),
            endpoint: None,
            models: Vec::new(),
            answered_by: None,
            stream: false,
            max_tokens: None,
            tools: Vec::new(),
            prompt_hash: None,
            response_hash: None,
            findings: BTreeMap::new(),
            prompt: None,
            response: None,
            decision: Decision::Undecided,
            rule: None,
            reason: None,
            detail: None,
            limits: Vec::new(),
            key: None,
            attempts: None,
            upstream: None,
            upstream_request_id: None,
            status: None,
            complete: false,
            error_type: None,
            stop_reason: None,
            usage: None,
            cost_micro_usd: None,
            partial_deltas: None,
            request_bytes: 0,
            response_bytes: 0,
            sha256: Digests::default(),
            closed_by: None,
            timings: Timings::default(),
        }
    }
}

/// Most names of tools in a record.
pub const MAX_TOOLS: usize = 64;

/// SHA-256 of bodies, in lower-case hex. What was received and what was sent are equal where nothing was altered or lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Digests {
    /// The request's body as the client sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_received: Option<String>,
    /// The request's body as the upstream was sent it, by the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_sent: Option<String>,
    /// The answer's body as the upstream sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_received: Option<String>,
    /// The answer's body as the client was sent it, an error event of ours included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_sent: Option<String>,
}

/// A limit when a call was let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitLeft {
    /// The limit's name.
    pub name: String,
    /// What it counts, as the configuration calls it.
    pub measure: &'static str,
    /// How much was left, in the measure's unit (cost: millionths of a US dollar).
    pub remaining: u64,
}

/// Who ended an exchange before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Closer {
    /// The client left.
    Client,
    /// The upstream broke off, or was not to be reached.
    Upstream,
    /// This proxy: a limit, a revocation, a time that ran out.
    Proxy,
}

impl Closer {
    /// The closer as lines have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
        }
    }
}

/// What was decided on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It went upstream.
    Allowed,
    /// It did not.
    Denied,
    /// It was answered here: no call, such as `HEAD /api/hello`.
    Answered,
    /// The client left before there was a decision.
    Undecided,
}

impl Decision {
    /// The decision as lines have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Answered => "answered",
            Self::Undecided => "undecided",
        }
    }
}

/// Milliseconds since the request's head arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Until policy had decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_ms: Option<f64>,
    /// Until the `begin` line was on record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_ms: Option<f64>,
    /// Until a connection to the upstream was at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_ms: Option<f64>,
    /// Until the answer's head came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
    /// Until a stream's first content came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<f64>,
    /// Until the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<f64>,
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = OffsetDateTime::from(*time).format(&Rfc3339).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}
