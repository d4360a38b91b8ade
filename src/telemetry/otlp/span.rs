//! A request that has ended as spans of OpenTelemetry: one of kind SERVER for it and one of kind CLIENT for each attempt
//! upstream. Names are those of the HTTP and `GenAI` conventions.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use http::Version;
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::semconv as name;
use crate::audit::Record;
use crate::telemetry::trace::{Attempt, AttemptEnd, Ended, Trace, attempt_error, request_error};

/// Appends the spans of `ended`.
pub(super) fn of(ended: &Ended, scope: &InstrumentationScope, spans: &mut Vec<SpanData>) {
    spans.push(request(ended, scope));
    let attempts = ended.attempts.iter().enumerate();
    spans.extend(attempts.map(|(number, attempt)| client(ended, number, attempt, scope)));
}

/// Attributes and events under way to a span.
struct Draft {
    start: SystemTime,
    attributes: Vec<KeyValue>,
    events: Vec<Event>,
}

impl Draft {
    fn put(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        self.attributes.extend(value.map(|value| KeyValue::new(name, value)));
    }

    /// An event so long after the request's head arrived.
    fn event(&mut self, name: &'static str, after: Option<Duration>) {
        self.events.extend(after.map(|after| Event::new(name, self.start + after, Vec::new(), 0)));
    }

    fn into_span(self, span: Described<'_>, scope: &InstrumentationScope) -> SpanData {
        let Described { trace, id, parent, kind, name, started, ended, error } = span;
        let state = trace.state().and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default();
        let mut attributes = self.attributes;
        let status = match error {
            None => Status::Unset,
            Some(error) => {
                attributes.push(KeyValue::new(name::ERROR_TYPE, error));
                Status::error("") // what it was is in the attributes
            }
        };
        let mut events = SpanEvents::default();
        events.events = self.events;
        SpanData {
            span_context: SpanContext::new(trace.id(), id, trace.flags(), false, state),
            parent_span_id: parent.map_or(SpanId::INVALID, |(parent, _)| parent),
            parent_span_is_remote: parent.is_some_and(|(_, is_remote)| is_remote),
            span_kind: kind,
            name,
            start_time: self.start + started,
            end_time: self.start + ended,
            attributes,
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status,
            instrumentation_scope: scope.clone(),
        }
    }
}

/// What every span has.
struct Described<'e> {
    trace: &'e Trace,
    id: SpanId,
    /// The parent, and whether it is another process's.
    parent: Option<(SpanId, bool)>,
    kind: SpanKind,
    name: Cow<'static, str>,
    started: Duration,
    ended: Duration,
    error: Option<String>,
}

/// The request's own span.
fn request(ended: &Ended, scope: &InstrumentationScope) -> SpanData {
    let Ended { trace, record, route, .. } = ended;
    let mut draft = Draft { start: record.time, attributes: Vec::with_capacity(24), events: Vec::with_capacity(2) };
    let method = method(&record.method);
    draft.put(name::HTTP_REQUEST_METHOD, Some(method));
    draft.put(name::URL_SCHEME, Some(if route.is_tls { "https" } else { "http" }));
    draft.put(name::URL_PATH, Some(record.path.clone()));
    draft.put(name::HTTP_ROUTE, route.template);
    draft.put(name::NETWORK_PROTOCOL_NAME, Some("http"));
    draft.put(name::NETWORK_PROTOCOL_VERSION, version(route.version));
    draft.put(name::CLIENT_ADDRESS, record.client.map(|client| client.to_string()));
    draft.put(name::ENDUSER_ID, record.subject.clone());
    draft.put(name::HTTP_RESPONSE_STATUS_CODE, record.status.map(i64::from));
    draft.put(name::HTTP_REQUEST_BODY_SIZE, Some(whole(record.request_bytes)));
    draft.put(name::HTTP_RESPONSE_BODY_SIZE, Some(whole(record.response_bytes)));
    draft.put(name::CONVERSATION_ID, record.session_id.clone());
    draft.put(name::OWN_REQUEST_ID, Some(record.request_id.clone()));
    draft.put(name::OWN_DECISION, Some(record.decision.name()));
    draft.put(name::OWN_RULE, record.rule.clone());
    draft.put(name::OWN_REASON, record.reason);
    draft.put(name::OWN_CLOSED_BY, record.closed_by.map(crate::audit::Closer::name));
    draft.put(name::OWN_COST, record.cost_micro_usd.map(whole));
    let times = &record.timings;
    draft.event("portcullis.decided", times.decided_ms.map(duration));
    draft.event("portcullis.recorded", times.recorded_ms.map(duration));
    let shown = if method == OTHER_METHOD { "HTTP" } else { method };
    let name = match route.template {
        Some(template) => format!("{shown} {template}").into(),
        None => Cow::Borrowed(shown),
    };
    let described = Described {
        trace,
        id: trace.span(),
        parent: trace.parent().map(|parent| (parent, true)),
        kind: SpanKind::Server,
        name,
        started: Duration::ZERO,
        ended: times.total_ms.map(duration).unwrap_or_default(),
        error: request_error(record),
    };
    draft.into_span(described, scope)
}

/// The span of an attempt upstream.
fn client(ended: &Ended, number: usize, attempt: &Attempt, scope: &InstrumentationScope) -> SpanData {
    let Ended { trace, record, route, .. } = ended;
    let mut draft = Draft { start: record.time, attributes: Vec::with_capacity(24), events: Vec::with_capacity(3) };
    let method = method(&record.method);
    draft.put(name::HTTP_REQUEST_METHOD, Some(method));
    draft.put(name::URL_FULL, route.upstream.clone());
    draft.put(name::SERVER_ADDRESS, route.host.clone());
    draft.put(name::SERVER_PORT, attempt.address.map(|address| i64::from(address.port())));
    draft.put(name::NETWORK_PEER_ADDRESS, attempt.address.map(|address| address.ip().to_string()));
    draft.put(name::NETWORK_PEER_PORT, attempt.address.map(|address| i64::from(address.port())));
    draft.put(name::HTTP_REQUEST_RESEND_COUNT, (number > 0).then_some(whole(number as u64)));
    draft.put(name::HTTP_RESPONSE_STATUS_CODE, attempt.status.map(i64::from));
    draft.put(name::OWN_REQUEST_ID, Some(record.request_id.clone()));
    let asked = record.models.first();
    let is_chat = record.endpoint == Some("messages") && asked.is_some();
    draft.put(name::OPERATION_NAME, is_chat.then_some(name::OPERATION_CHAT));
    draft.put(name::PROVIDER_NAME, asked.map(|_| name::PROVIDER_ANTHROPIC));
    draft.put(name::REQUEST_MODEL, asked.cloned());
    draft.put(name::REQUEST_MAX_TOKENS, record.max_tokens.map(whole));
    draft.put(name::REQUEST_STREAM, record.stream.then_some(true));
    draft.event("portcullis.connected", attempt.connected);
    draft.event("portcullis.first_byte", attempt.first_byte);
    draft.event("portcullis.first_token", attempt.first_token);
    let error = match attempt.end {
        AttemptEnd::Again(why) => Some(attempt.status.map_or_else(|| why.to_owned(), |status| status.to_string())),
        AttemptEnd::Last => {
            answer(record, attempt, &mut draft);
            attempt_error(record, attempt.status)
        }
    };
    let name = match (asked, route.template) {
        (Some(model), _) if is_chat => format!("{} {model}", name::OPERATION_CHAT).into(),
        (_, Some(template)) => format!("{method} {template}").into(),
        (_, None) => Cow::Borrowed(method),
    };
    let described = Described {
        trace,
        id: trace.attempt(number),
        parent: Some((trace.span(), false)),
        kind: SpanKind::Client,
        name,
        started: attempt.started,
        ended: attempt.ended,
        error,
    };
    draft.into_span(described, scope)
}

/// What the upstream answered.
fn answer(record: &Record, attempt: &Attempt, draft: &mut Draft) {
    draft.put(name::OWN_KEY, record.key.clone());
    draft.put(name::OWN_UPSTREAM_REQUEST_ID, record.upstream_request_id.clone());
    if record.models.is_empty() {
        return;
    }
    draft.put(name::RESPONSE_MODEL, record.answered_by.clone());
    let stopped = record.stop_reason.clone().map(|reason| Value::Array(Array::String(vec![StringValue::from(reason)])));
    draft.put(name::RESPONSE_FINISH_REASONS, stopped);
    let first = attempt.first_token.map(|first| first.saturating_sub(attempt.started).as_secs_f64());
    draft.put(name::RESPONSE_TIME_TO_FIRST_CHUNK, first);
    let Some(usage) = &record.usage else { return };
    draft.put(name::USAGE_INPUT_TOKENS, usage.input_tokens_with_cache().map(whole));
    draft.put(name::USAGE_OUTPUT_TOKENS, usage.output_tokens.map(whole));
    draft.put(name::USAGE_CACHE_READ, usage.cache_read_input_tokens.map(whole));
    draft.put(name::USAGE_CACHE_CREATION, usage.cache_creation_input_tokens.map(whole));
}

/// A method that is registered, else [`OTHER_METHOD`]: a client may send any word.
fn method(method: &str) -> &'static str {
    const KNOWN: [&str; 10] = ["GET", "POST", "HEAD", "DELETE", "PUT", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QUERY"];
    KNOWN.into_iter().find(|&known| known == method).unwrap_or(OTHER_METHOD)
}

const OTHER_METHOD: &str = "_OTHER";

fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

/// Milliseconds as a record has them: none of them is negative.
fn duration(millis: f64) -> Duration {
    Duration::try_from_secs_f64(millis / 1000.0).unwrap_or_default()
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
