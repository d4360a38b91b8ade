use std::collections::HashMap;

use super::*;
use crate::audit::Event as Line;
use crate::audit::sample::{full, minimal};
use crate::telemetry::trace::sample;

fn spans(ended: &Ended) -> Vec<SpanData> {
    let mut spans = Vec::new();
    of(ended, &InstrumentationScope::builder("test").build(), &mut spans);
    assert_eq!(spans.len(), ended.spans());
    spans
}

fn attributes(span: &SpanData) -> HashMap<String, Value> {
    span.attributes.iter().map(|pair| (pair.key.to_string(), pair.value.clone())).collect()
}

fn events(span: &SpanData) -> Vec<(&str, u128)> {
    let after = |event: &Event| event.timestamp.duration_since(span.start_time).unwrap().as_micros();
    span.events.iter().map(|event| (event.name.as_ref(), after(event))).collect()
}

#[test]
fn a_request_is_a_server_span_below_its_callers() {
    let span = spans(&sample::ended(1)).remove(0);
    assert_eq!((span.name.as_ref(), span.span_kind.clone()), ("POST /v1/messages", SpanKind::Server));
    assert_eq!(span.span_context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(span.parent_span_id.to_string(), "00f067aa0ba902b7");
    assert!(span.parent_span_is_remote);
    assert_eq!(span.span_context.trace_state().header(), "vendor=1");
    assert_eq!(span.end_time.duration_since(span.start_time).unwrap(), Duration::from_micros(1_875_500));
    assert_eq!(events(&span), [("portcullis.decided", 250), ("portcullis.recorded", 750)]);
    let has = attributes(&span);
    for (name, value) in [
        ("http.request.method", Value::from("POST")),
        ("http.route", "/v1/messages".into()),
        ("url.path", "/v1/messages".into()),
        ("url.scheme", "https".into()),
        ("network.protocol.version", "2".into()),
        ("http.response.status_code", 200.into()),
        ("error.type", "overloaded_error".into()),
        ("portcullis.request_id", "pcl_0199c0ffee00700080000000000000aa".into()),
        ("portcullis.decision", "allowed".into()),
        ("portcullis.rule", "claude:opus".into()),
        ("portcullis.closed_by", "upstream".into()),
        ("portcullis.cost_micro_usd", 4250.into()),
    ] {
        assert_eq!(has.get(name), Some(&value), "{name}");
    }
    assert!(matches!(span.status, Status::Error { .. }));
}

#[test]
fn each_attempt_is_a_client_span_below_it() {
    let spans = spans(&sample::ended(2));
    let [request, first, last] = spans.as_slice() else { panic!("{}", spans.len()) };
    for (number, span) in [first, last].into_iter().enumerate() {
        assert_eq!((span.name.as_ref(), span.span_kind.clone()), ("chat claude-opus-5", SpanKind::Client));
        assert_eq!(span.parent_span_id, request.span_context.span_id());
        assert!(!span.parent_span_is_remote);
        let began = span.start_time.duration_since(request.start_time).unwrap();
        assert_eq!(began, Duration::from_millis(1 + 100 * number as u64));
        assert_eq!(span.end_time.duration_since(span.start_time).unwrap(), Duration::from_millis(100));
    }
    assert_ne!(first.span_context.span_id(), last.span_context.span_id());
    let has = attributes(first);
    assert_eq!((has.get("http.request.resend_count"), &has["error.type"]), (None, &Value::from("broken")));
    assert!(!has.contains_key("gen_ai.usage.input_tokens"), "the first has no answer");
    let has = attributes(last);
    for (name, value) in [
        ("http.request.resend_count", Value::from(1)),
        ("url.full", "https://api.anthropic.com/v1/messages".into()),
        ("server.address", "api.anthropic.com".into()),
        ("server.port", 443.into()),
        ("network.peer.address", "10.9.8.7".into()),
        ("gen_ai.operation.name", "chat".into()),
        ("gen_ai.provider.name", "anthropic".into()),
        ("gen_ai.request.model", "claude-opus-5".into()),
        ("gen_ai.request.max_tokens", 1024.into()),
        ("gen_ai.request.stream", true.into()),
        ("gen_ai.response.model", "claude-opus-5-20261001".into()),
        ("gen_ai.response.time_to_first_chunk", 0.06.into()),
        ("gen_ai.usage.input_tokens", 420.into()),
        ("gen_ai.usage.output_tokens", 50.into()),
        ("portcullis.key", "prod-2026-11".into()),
        ("portcullis.upstream_request_id", "req_011".into()),
    ] {
        assert_eq!(has.get(name), Some(&value), "{name}");
    }
    assert_eq!(
        events(last),
        [("portcullis.connected", 5000), ("portcullis.first_byte", 50_000), ("portcullis.first_token", 60_000)]
    );
}

#[test]
fn who_called_is_told_on_request_only_and_what_was_said_never() {
    for subject in [false, true] {
        let ended = sample::ended_with(full(), 1, subject);
        let shown = format!("{:?}", spans(&ended));
        assert_eq!(shown.contains("alice"), subject);
        assert_eq!(shown.contains("10.1.2.3"), subject);
        for content in ["[EMAIL:7f3a]", "Done", "reset", "jti-1", "0123456789abcdef0123456789abcdef"] {
            assert!(!shown.contains(content), "{content}");
        }
    }
}

#[test]
fn what_is_no_call_of_a_model_has_http_names() {
    let mut ended = sample::ended_with(minimal(Line::Refused), 0, false);
    ended.record.method = "BREW".to_owned();
    ended.route.template = None;
    let span = spans(&ended).remove(0);
    assert_eq!(span.name, "HTTP");
    assert_eq!(attributes(&span)["http.request.method"], Value::from("_OTHER"));
    assert_eq!(span.status, Status::Unset);
    let mut listed = minimal(Line::End);
    listed.endpoint = Some("models");
    listed.method = "GET".to_owned();
    let mut ended = sample::ended_with(listed, 1, false);
    ended.route.template = Some("/v1/models");
    let span = spans(&ended).remove(1);
    assert_eq!(span.name, "GET /v1/models");
    assert!(!attributes(&span).keys().any(|name| name.starts_with("gen_ai.")));
}

#[test]
fn every_attribute_and_event_is_documented() {
    let documented = include_str!("../../../../docs/telemetry.md");
    for span in spans(&sample::ended_with(full(), 2, true)) {
        let events = span.events.iter().map(|event| event.name.to_string());
        for name in attributes(&span).into_keys().chain(events) {
            assert!(documented.contains(&format!("`{name}`")), "{name}");
        }
    }
}
