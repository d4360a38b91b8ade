use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, Logger, LoggerProvider, Severity};
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLoggerProvider};

use super::*;
use crate::audit::sample::{full, line, minimal, own_lines};
use crate::audit::{Event, Reading, Record};

fn record(line: &serde_json::Value) -> SdkLogRecord {
    let mut record = SdkLoggerProvider::builder().build().logger("test").create_log_record();
    record::fill(&mut record, &Reading::parse(line.to_string().as_bytes()).unwrap(), SystemTime::now());
    record
}

fn attributes(record: &SdkLogRecord) -> HashMap<String, AnyValue> {
    record.attributes_iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
}

#[test]
fn a_full_record_has_the_names_of_the_conventions() {
    let sent = record(&line(&full()));
    let has = attributes(&sent);
    for (name, value) in [
        ("gen_ai.operation.name", AnyValue::from("chat")),
        ("gen_ai.provider.name", AnyValue::from("anthropic")),
        ("gen_ai.request.model", AnyValue::from("claude-opus-5")),
        ("gen_ai.response.model", AnyValue::from("claude-opus-5-20261001")),
        ("gen_ai.request.max_tokens", AnyValue::Int(1024)),
        ("gen_ai.request.stream", AnyValue::Boolean(true)),
        ("gen_ai.usage.input_tokens", AnyValue::Int(420)),
        ("gen_ai.usage.output_tokens", AnyValue::Int(50)),
        ("gen_ai.usage.cache_read.input_tokens", AnyValue::Int(300)),
        ("gen_ai.usage.cache_creation.input_tokens", AnyValue::Int(20)),
        ("gen_ai.response.finish_reasons", AnyValue::ListAny(Box::new(vec![AnyValue::from("end_turn")]))),
        ("gen_ai.response.time_to_first_chunk", AnyValue::Double(0.2505)),
        ("gen_ai.conversation.id", AnyValue::from("session-1")),
        ("client.address", AnyValue::from("10.1.2.3")),
        ("server.address", AnyValue::from("10.9.8.7")),
        ("server.port", AnyValue::Int(443)),
        ("enduser.id", AnyValue::from("alice")),
        ("error.type", AnyValue::from("overloaded_error")),
        ("http.request.method", AnyValue::from("POST")),
        ("http.response.status_code", AnyValue::Int(200)),
        ("portcullis.audit.seq", AnyValue::Int(7)),
        ("portcullis.audit.cost_micro_usd", AnyValue::Int(4250)),
    ] {
        assert_eq!(has.get(name), Some(&value), "{name}");
    }
    assert_eq!(sent.event_name(), Some("portcullis.audit.end"));
    assert_eq!(sent.timestamp(), Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_514_400_250)));
    assert!(sent.observed_timestamp().is_some());
}

#[test]
fn every_member_is_sent_or_is_content() {
    // Those that the conventions have a name for.
    const NAMED: &[&str] = &[
        "answered_by",
        "client",
        "error_type",
        "max_tokens",
        "method",
        "path",
        "request_bytes",
        "response_bytes",
        "session_id",
        "status",
        "stop_reason",
        "stream",
        "subject",
        "time",
        "upstream",
        "usage",
    ];
    const CONTENT: &[&str] = &["prompt", "response"];
    for line in own_lines().into_iter().chain([line(&full())]) {
        for name in line.as_object().unwrap().keys().map(String::as_str) {
            let ways = [NAMED, CONTENT, record::OWN_MEMBERS].iter().filter(|names| names.contains(&name)).count();
            assert_eq!(ways, 1, "{name}");
        }
    }
    let shown = format!("{:?}", record(&line(&full())));
    assert!(!shown.contains("[EMAIL:7f3a]") && !shown.contains("Done"), "{shown}");
}

#[test]
fn every_attribute_is_documented() {
    let documented = include_str!("../../../docs/telemetry.md");
    for line in own_lines().into_iter().chain([line(&full())]) {
        for name in attributes(&record(&line)).keys() {
            let name = name.strip_prefix(semconv::OWN).unwrap_or(name);
            assert!(documented.contains(&format!("`{name}`")), "{name}");
        }
    }
}

#[test]
fn severity_says_how_a_request_went() {
    let severity = |record: &Record| self::record(&line(record)).severity_number();
    assert_eq!(severity(&minimal(Event::Begin)), Some(Severity::Info));
    assert_eq!(severity(&minimal(Event::Refused)), Some(Severity::Warn));
    assert_eq!(severity(&full()), Some(Severity::Error));
    assert_eq!(severity(&minimal(Event::Left)), Some(Severity::Info));
    assert_eq!(severity(&Record { status: Some(200), ..minimal(Event::End) }), Some(Severity::Info));
    let [started, configured, stopped, gap, _, _, checkpoint] = own_lines().map(|line| record(&line).severity_number());
    assert_eq!((started, configured, stopped), (Some(Severity::Info), Some(Severity::Info), Some(Severity::Info)));
    assert_eq!((gap, checkpoint), (Some(Severity::Error), Some(Severity::Info)));
}

#[test]
fn signed_heads_leave_the_host() {
    let [.., checkpoint] = own_lines();
    let has = attributes(&record(&checkpoint));
    for name in ["seq", "root", "hash", "signature", "key", "public_key", "log", "size", "closes", "prev"] {
        assert!(has.contains_key(&format!("portcullis.audit.{name}")), "{name}");
    }
}
