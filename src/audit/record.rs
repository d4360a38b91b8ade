//! What is written down of one request. Prompts and answers are not.

use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::claude::Usage;

/// One request from its arrival to its end. `None` is "not known" or "does not apply", and is left out.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// Version of this layout.
    pub version: u32,
    /// When the request arrived, RFC 3339 in UTC.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// Ours, as in `x-portcullis-request-id`.
    pub request_id: String,
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
    /// What that costs at the prices in force, in US dollars; absent when the model's price is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Content deltas seen when a stream ended before its totals: a floor for the output tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_deltas: Option<u64>,
    /// Bytes of the request's body that were received.
    pub request_bytes: u64,
    /// Bytes of the answer's body that were sent to the client.
    pub response_bytes: u64,
    /// How long things took.
    pub timings: Timings,
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

/// Milliseconds since the request's head arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Until policy had decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_ms: Option<f64>,
    /// Until a connection to the upstream was at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_ms: Option<f64>,
    /// Until the answer's head came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
    /// Until the end.
    pub total_ms: f64,
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = OffsetDateTime::from(*time).format(&Rfc3339).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}
