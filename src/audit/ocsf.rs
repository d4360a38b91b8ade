//! Records as events of the Open Cybersecurity Schema Framework: class API Activity (6003), with the profiles
//! `security_control`, `ai_operation` and `record_integrity`, and `trace` where a request is traced. docs/ocsf.md has the table.
//!
//! Refusals of a token stay in this class too: each is the refusal of an API request, and a sign-in happens elsewhere.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{Reading, RequestOutcome, VERSION};

/// Version of the schema that has all three profiles: `record_integrity` is not in a release yet.
pub const SCHEMA_VERSION: &str = "1.9.0-dev";
const CATEGORY: u64 = 6;
const CLASS: u64 = 6003;

/// The event of a request's line; `None` of a line of the log itself. `log` is whose log it is, host and chain, where that
/// is known. No text of a prompt or an answer is in it.
pub fn api_activity(line: &Reading, log: Option<&str>) -> Option<Value> {
    if !line.is_request() {
        return None;
    }
    let (activity, activity_name) = activity(line.text("method").unwrap_or_default());
    let (severity, severity_name) = severity(line);
    let (status, status_name) = match line.outcome() {
        None => (0, "Unknown"),
        Some(RequestOutcome::Allowed) => (1, "Success"),
        Some(RequestOutcome::Denied | RequestOutcome::Failed) => (2, "Failure"),
    };
    let duration = line.timing("total_ms");
    let start = millis(line.time().unwrap_or(OffsetDateTime::UNIX_EPOCH));
    // As f64 to i64: saturates, and a duration has no sign.
    #[allow(clippy::cast_possible_truncation)] // saturates
    let duration = duration.map(|duration| duration.round() as i64);
    let mut event = object(json!({
        "activity_id": activity,
        "activity_name": activity_name,
        "category_uid": CATEGORY,
        "category_name": "Application Activity",
        "class_uid": CLASS,
        "class_name": "API Activity",
        "type_uid": CLASS * 100 + activity,
        "type_name": format!("API Activity: {activity_name}"),
        "severity_id": severity,
        "severity": severity_name,
        "status_id": status,
        "status": status_name,
        "status_code": line.text("reason"),
        "status_detail": line.text("detail"),
        "time": start,
        "start_time": start,
        "end_time": duration.map(|duration| start.saturating_add(duration)),
        "duration": duration,
        "metadata": metadata(line, log),
        "actor": actor(line),
        "api": api(line),
        "src_endpoint": src_endpoint(line),
        "dst_endpoint": dst_endpoint(line),
        "http_request": { "http_method": line.text("method"), "url": { "path": line.text("path") },
            "body_length": line.number("request_bytes") },
        "http_response": line.number("status").map(|status| json!({ "code": status, "body_length": line.number("response_bytes") })),
        "trace": line.text("trace_id").map(|id| json!({ "uid": id })),
        "unmapped": unmapped(line),
        "attestation_list": [attestation(line, log)],
    }));
    event.extend(object(security_control(line)));
    event.extend(object(ai_operation(line)));
    Some(without_nulls(Value::Object(event)))
}

/// API Activity's own activities, by the HTTP method.
fn activity(method: &str) -> (u64, &'static str) {
    match method {
        "POST" => (1, "Create"),
        "GET" | "HEAD" => (2, "Read"),
        "PUT" | "PATCH" => (3, "Update"),
        "DELETE" => (4, "Delete"),
        _ => (99, "Other"),
    }
}

fn severity(line: &Reading) -> (u64, &'static str) {
    match line.outcome() {
        Some(RequestOutcome::Denied) => (2, "Low"),
        Some(RequestOutcome::Failed) if line.text("reason") != Some("client_left") => (3, "Medium"),
        None | Some(RequestOutcome::Allowed | RequestOutcome::Failed) => (1, "Informational"),
    }
}

fn metadata(line: &Reading, log: Option<&str>) -> Value {
    json!({
        "version": SCHEMA_VERSION,
        "product": { "name": "Portcullis", "vendor_name": "Portcullis", "version": env!("CARGO_PKG_VERSION") },
        "profiles": profiles(line),
        "uid": line.text("request_id").map(|id| format!("{id}/{}", line.event())),
        "correlation_uid": line.text("request_id"),
        "event_code": line.event(),
        "sequence": line.number("seq"),
        "log_name": "audit",
        "log_provider": log,
        "log_version": line.number("version").unwrap_or(VERSION.into()).to_string(),
    })
}

fn profiles(line: &Reading) -> Vec<&'static str> {
    let trace = line.text("trace_id").map(|_| "trace");
    ["security_control", "ai_operation", "record_integrity"].into_iter().chain(trace).collect()
}

fn actor(line: &Reading) -> Value {
    let groups: Vec<_> = line.texts("teams").map(|team| json!({ "name": team })).collect();
    let user = match line.text("subject") {
        Some(subject) => json!({
            "uid": subject,
            "type_id": 99,
            "type": "Token subject",
            "credential_uid": line.text("token_id"),
            "groups": (!groups.is_empty()).then_some(groups),
        }),
        None => json!({ "name": "Unknown", "type_id": 0, "type": "Unknown" }),
    };
    json!({
        "user": user,
        "idp": line.text("issuer").map(|issuer| json!({ "name": issuer })),
        "session": line.text("session_id").map(|session| json!({ "uid": session, "issuer": line.text("issuer") })),
    })
}

fn api(line: &Reading) -> Value {
    let operation = line.text("endpoint").or_else(|| line.text("path")).unwrap_or("unknown");
    let error = line.text("error_type").or_else(|| line.text("reason"));
    json!({
        "operation": operation,
        "service": { "name": "Claude API" },
        "request": { "uid": line.text("request_id") },
        "response": line.number("status").map(|status| json!({
            "code": status,
            "error": error,
            "error_message": line.text("detail"),
        })),
    })
}

fn src_endpoint(line: &Reading) -> Value {
    match line.text("client") {
        Some(address) => json!({ "ip": address }),
        None => json!({ "name": "unknown" }),
    }
}

fn dst_endpoint(line: &Reading) -> Option<Value> {
    line.upstream().map(|upstream| json!({ "ip": upstream.ip().to_string(), "port": upstream.port() }))
}

/// Profile `security_control`.
fn security_control(line: &Reading) -> Value {
    let (action, action_name, disposition, disposition_name) = match line.event() {
        "begin" | "end" => (1, "Allowed", 1, "Allowed"),
        "refused" => (2, "Denied", 2, "Blocked"),
        "answered" => (3, "Observed", 17, "Logged"),
        _ => (0, "Unknown", 0, "Unknown"),
    };
    json!({
        "action_id": action,
        "action": action_name,
        "disposition_id": disposition,
        "disposition": disposition_name,
        "policy": line.text("rule").map(|rule| json!({ "name": rule })),
    })
}

/// Profile `ai_operation`: only of calls that name a model.
fn ai_operation(line: &Reading) -> Value {
    let Some(model) = line.model() else { return json!({}) };
    let (prompt, completion) = (line.all_input_tokens(), line.usage("output_tokens"));
    let total = prompt.zip(completion).map(|(prompt, completion)| prompt.saturating_add(completion));
    let context = json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total });
    json!({
        "ai_model": { "ai_provider": "Anthropic", "name": model },
        "message_context": (prompt.is_some() || completion.is_some()).then_some(context),
    })
}

/// Profile `record_integrity`: the line's place in the chain. The hashes are over lines and not over events, so they are of
/// no algorithm that the schema lists.
fn attestation(line: &Reading, log: Option<&str>) -> Value {
    let fingerprint = |hash: &str| json!({ "algorithm_id": 99, "algorithm": "SHA-256 over a zero byte and the line of the audit log", "value": hash });
    let before = line.number("seq").and_then(|seq| seq.checked_sub(1)).filter(|&before| before > 0);
    json!({
        "chain_uid": log,
        "fingerprint": fingerprint(&line.hash()),
        "prev_event": line.text("prev").map(|prev| json!({
            "uid": before.map(|before| before.to_string()),
            "fingerprint": fingerprint(prev),
        })),
    })
}

/// Members of ours that the class has no place for. `prompt` and `response` are not among them.
fn unmapped(line: &Reading) -> Value {
    let members = UNMAPPED.iter().filter_map(|&name| Some((name.to_owned(), line.get(name)?.clone())));
    Value::Object(members.collect())
}

const UNMAPPED: &[&str] = &[
    "agent_id",
    "attempts",
    "certificate",
    "closed_by",
    "complete",
    "cost_micro_usd",
    "findings",
    "key",
    "limits",
    "max_tokens",
    "models",
    "parent_agent_id",
    "partial_deltas",
    "prompt_hash",
    "response_hash",
    "sha256",
    "stop_reason",
    "stream",
    "timings",
    "tools",
    "upstream_request_id",
    "usage",
];

fn millis(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, without_nulls(value)))
                .collect(),
        ),
        Value::Array(elements) => Value::Array(elements.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::sample::{HEAD, full, line, minimal, own_lines};
    use crate::audit::{Event, Record};

    fn event(record: &Record) -> Value {
        let line = Reading::parse(line(record).to_string().as_bytes()).unwrap();
        api_activity(&line, Some("edge-1/0")).unwrap()
    }

    const EVENTS: [Event; 5] = [Event::Begin, Event::End, Event::Refused, Event::Answered, Event::Left];

    #[test]
    fn every_event_has_what_the_class_requires() {
        let required = [
            "/activity_id",
            "/category_uid",
            "/class_uid",
            "/type_uid",
            "/severity_id",
            "/time",
            "/metadata/version",
            "/metadata/product/name",
            "/actor/user",
            "/api/operation",
            "/src_endpoint",
            "/action_id",
            "/disposition_id",
            "/attestation_list/0/fingerprint/value",
        ];
        for record in EVENTS.map(minimal).into_iter().chain([full(), Record { client: None, ..minimal(Event::Left) }]) {
            let event = event(&record);
            for pointer in required {
                assert!(event.pointer(pointer).is_some_and(|value| !value.is_null()), "{pointer}: {event:#}");
            }
            let profiles = event["metadata"]["profiles"].as_array().unwrap().len();
            assert_eq!(
                (profiles, event["trace"]["uid"].is_string()),
                if record.trace_id.is_some() { (4, true) } else { (3, false) }
            );
        }
    }

    #[test]
    fn a_type_is_its_class_and_activity() {
        for (method, activity) in [("POST", 1), ("GET", 2), ("HEAD", 2), ("PATCH", 3), ("DELETE", 4), ("BREW", 99)] {
            let event = event(&Record { method: method.to_owned(), ..minimal(Event::End) });
            assert_eq!(
                (&event["activity_id"], &event["type_uid"]),
                (&json!(activity), &json!(600_300 + activity)),
                "{method}"
            );
            assert_eq!((&event["class_uid"], &event["category_uid"]), (&json!(6003), &json!(6)));
        }
    }

    #[test]
    fn refusals_are_denied_whatever_the_reason() {
        for reason in ["model_forbidden", "token_expired", "credential_missing", "limit_requests"] {
            let event = event(&Record { reason: Some(reason), status: Some(403), ..minimal(Event::Refused) });
            assert_eq!((&event["action_id"], &event["disposition_id"]), (&json!(2), &json!(2)), "{reason}");
            assert_eq!((&event["class_uid"], &event["status_id"]), (&json!(6003), &json!(2)));
            assert_eq!(event["status_code"], reason);
        }
        for (kind, action) in [(Event::Begin, 1), (Event::End, 1), (Event::Answered, 3), (Event::Left, 0)] {
            assert_eq!(event(&minimal(kind))["action_id"], action, "{kind:?}");
        }
    }

    #[test]
    fn a_full_record_maps_in_full_but_for_content() {
        let event = event(&full());
        assert_eq!(event["time"], 1_795_514_400_250_u64);
        assert_eq!(event["end_time"], 1_795_514_402_126_u64);
        assert_eq!(event["actor"]["user"]["uid"], "alice");
        assert_eq!(event["ai_model"]["name"], "claude-opus-5-20261001");
        assert_eq!(
            event["message_context"],
            json!({ "prompt_tokens": 420, "completion_tokens": 50, "total_tokens": 470 })
        );
        assert_eq!(event["dst_endpoint"], json!({ "ip": "10.9.8.7", "port": 443 }));
        assert_eq!(event["attestation_list"][0]["prev_event"]["fingerprint"]["value"], HEAD);
        assert_eq!(event["attestation_list"][0]["chain_uid"], "edge-1/0");
        assert_eq!(event["policy"]["name"], "claude:opus");
        let text = event.to_string();
        assert!(!text.contains("[EMAIL:7f3a]") && !text.contains("Done") && !text.contains("null"), "{text}");
    }

    #[test]
    fn lines_of_the_log_itself_are_no_api_activity() {
        for line in own_lines() {
            assert_eq!(api_activity(&Reading::parse(line.to_string().as_bytes()).unwrap(), None), None);
        }
    }

    #[test]
    fn every_member_that_has_no_place_is_documented() {
        let documented = include_str!("../../docs/ocsf.md");
        for name in UNMAPPED {
            assert!(documented.contains(&format!("`{name}`")), "{name}");
        }
    }
}
