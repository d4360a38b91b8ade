//! A line of the audit log as a log record of OpenTelemetry.

use std::time::SystemTime;

use opentelemetry::Key;
use opentelemetry::logs::{AnyValue, LogRecord, Severity};
use serde_json::Value;

use super::semconv as name;
use crate::audit::{Reading, RequestOutcome};

/// Fills `record` from a line; `observed` is when we saw it. `prompt` and `response` are never read: content stays here, also
/// where the log keeps it.
pub(super) fn fill(record: &mut impl LogRecord, line: &Reading, observed: SystemTime) {
    record.set_event_name(event_name(line.event()));
    record.set_observed_timestamp(observed);
    if let Some(time) = line.time() {
        record.set_timestamp(time.into());
    }
    let (severity, text) = severity(line);
    record.set_severity_number(severity);
    record.set_severity_text(text);
    record.set_body(AnyValue::from(body(line)));
    let mut put = |name: &'static str, value: Option<AnyValue>| {
        if let Some(value) = value {
            record.add_attribute(name, value);
        }
    };
    if line.is_request() {
        request(line, &mut put);
    }
    for &member in OWN_MEMBERS {
        if let Some(value) = line.get(member).and_then(any_value) {
            record.add_attribute(format!("{}{member}", name::OWN), value);
        }
    }
    record.add_attribute(format!("{}hash", name::OWN), AnyValue::from(line.hash()));
}

/// Members that have no name in the conventions: each is `portcullis.audit.` and its own name. What is not listed is not sent.
pub(super) const OWN_MEMBERS: &[&str] = &[
    "action",
    "agent_id",
    "attempts",
    "cause",
    "certificate",
    "changed",
    "closed_by",
    "closes",
    "complete",
    "configuration",
    "containment",
    "cost_micro_usd",
    "decision",
    "detail",
    "endpoint",
    "event",
    "findings",
    "found",
    "from",
    "heads",
    "issuer",
    "key",
    "kind",
    "limits",
    "log",
    "lost",
    "mode",
    "models",
    "name",
    "parent_agent_id",
    "partial_deltas",
    "pid",
    "prev",
    "previous",
    "program",
    "prompt_hash",
    "public_key",
    "reason",
    "refused",
    "request_id",
    "response_hash",
    "root",
    "rule",
    "score",
    "seq",
    "sha256",
    "signal",
    "signature",
    "since",
    "size",
    "teams",
    "timings",
    "to",
    "token_id",
    "tools",
    "trace_id",
    "until",
    "upstream_request_id",
    "version",
];

fn request(line: &Reading, put: &mut impl FnMut(&'static str, Option<AnyValue>)) {
    let text = |member: &str| line.text(member).map(|text| AnyValue::from(text.to_owned()));
    let number = |member: &str| line.number(member).map(whole);
    put(name::CLIENT_ADDRESS, text("client"));
    put(name::ENDUSER_ID, text("subject"));
    put(name::HTTP_REQUEST_METHOD, text("method"));
    put(name::URL_PATH, text("path"));
    put(name::HTTP_RESPONSE_STATUS_CODE, number("status"));
    put(name::HTTP_REQUEST_BODY_SIZE, number("request_bytes"));
    put(name::HTTP_RESPONSE_BODY_SIZE, number("response_bytes"));
    put(name::ERROR_TYPE, text("error_type").or_else(|| text("reason")));
    if let Some(upstream) = line.upstream() {
        put(name::SERVER_ADDRESS, Some(AnyValue::from(upstream.ip().to_string())));
        put(name::SERVER_PORT, Some(AnyValue::from(i64::from(upstream.port()))));
    }
    put(name::CONVERSATION_ID, text("session_id"));
    let Some(asked) = line.texts("models").next() else { return };
    put(name::PROVIDER_NAME, Some(AnyValue::from(name::PROVIDER_ANTHROPIC)));
    if line.text("endpoint") == Some("messages") {
        put(name::OPERATION_NAME, Some(AnyValue::from(name::OPERATION_CHAT)));
    }
    put(name::REQUEST_MODEL, Some(AnyValue::from(asked.to_owned())));
    put(name::REQUEST_MAX_TOKENS, number("max_tokens"));
    put(name::REQUEST_STREAM, line.flag("stream").then_some(AnyValue::Boolean(true)));
    put(name::RESPONSE_MODEL, text("answered_by"));
    let stopped = line.text("stop_reason").map(|reason| list([AnyValue::from(reason.to_owned())]));
    put(name::RESPONSE_FINISH_REASONS, stopped);
    put(
        name::RESPONSE_TIME_TO_FIRST_CHUNK,
        line.timing("first_token_ms").map(|millis| AnyValue::Double(millis / 1000.0)),
    );
    put(name::USAGE_INPUT_TOKENS, line.all_input_tokens().map(whole));
    put(name::USAGE_OUTPUT_TOKENS, line.usage("output_tokens").map(whole));
    put(name::USAGE_CACHE_READ, line.usage("cache_read_input_tokens").map(whole));
    put(name::USAGE_CACHE_CREATION, line.usage("cache_creation_input_tokens").map(whole));
}

/// One name an event: log records have no other kind of name than a constant.
fn event_name(event: &str) -> &'static str {
    match event {
        "begin" => "portcullis.audit.begin",
        "end" => "portcullis.audit.end",
        "refused" => "portcullis.audit.refused",
        "answered" => "portcullis.audit.answered",
        "left" => "portcullis.audit.left",
        "started" => "portcullis.audit.started",
        "configured" => "portcullis.audit.configured",
        "stopped" => "portcullis.audit.stopped",
        "gap" => "portcullis.audit.gap",
        "contained" => "portcullis.audit.contained",
        "released" => "portcullis.audit.released",
        "checkpoint" => "portcullis.audit.checkpoint",
        _ => "portcullis.audit.other",
    }
}

fn severity(line: &Reading) -> (Severity, &'static str) {
    let is_damaged = line.get("found").is_some_and(|found| found.get("damaged").is_some());
    match (line.event(), line.outcome()) {
        ("gap", _) => (Severity::Error, "ERROR"),
        (_, Some(RequestOutcome::Failed)) if line.text("reason") != Some("client_left") => (Severity::Error, "ERROR"),
        (_, Some(RequestOutcome::Denied)) | ("contained", _) => (Severity::Warn, "WARN"),
        ("started", _) if is_damaged => (Severity::Warn, "WARN"),
        _ => (Severity::Info, "INFO"),
    }
}

/// A few words for people; everything in them is an attribute too.
fn body(line: &Reading) -> String {
    let who = line.text("subject").or_else(|| line.text("client")).unwrap_or("somebody");
    let what = line.model().or_else(|| line.text("endpoint")).or_else(|| line.text("path")).unwrap_or("nothing");
    let status = line.number("status").map_or_else(|| "no status".to_owned(), |status| status.to_string());
    let reason = line.text("reason").unwrap_or_default();
    match line.event() {
        "begin" => format!("{who} calls {what}"),
        "end" if reason.is_empty() => format!("{who} called {what}: {status}"),
        "end" => format!("{who} called {what}: {status}, {reason}"),
        "refused" => format!("{who} was refused {what}: {reason}"),
        "answered" => format!("{who} was answered {what}: {status}"),
        "left" => format!("{who} left before a decision on {what}"),
        "checkpoint" => {
            let (seq, root) = (line.number("seq").unwrap_or_default(), line.text("root").unwrap_or_default());
            format!("audit checkpoint {seq}: {root}")
        }
        other => format!("audit log {other}"),
    }
}

fn any_value(value: &Value) -> Option<AnyValue> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => AnyValue::Boolean(*flag),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(number), _) => whole(number),
            (None, Some(number)) => AnyValue::Double(number),
            (None, None) => return None,
        },
        Value::String(text) => AnyValue::from(text.clone()),
        Value::Array(elements) => list(elements.iter().filter_map(any_value)),
        Value::Object(members) => AnyValue::Map(Box::new(
            members.iter().filter_map(|(name, value)| Some((Key::from(name.clone()), any_value(value)?))).collect(),
        )),
    })
}

fn whole(number: u64) -> AnyValue {
    AnyValue::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn list(elements: impl IntoIterator<Item = AnyValue>) -> AnyValue {
    AnyValue::ListAny(Box::new(elements.into_iter().collect()))
}
