//! Traces at a collector: whose they are, which are sampled, and who is told of them.

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use reqwest::{Method, Response};
use serde_json::json;

use super::harness::collector::{Collector, Reply, attribute};
use super::harness::scene::Scene;
use super::harness::{HAIKU, Proxy, Sandbox, message, request_id, streamed, unique_id};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn to(collector: &Collector, traces: &str) -> String {
    format!(
        "[telemetry]\notlp = \"http://{}\"\ntimeout = \"1s\"\n[telemetry.traces]\nenabled = true\n{traces}",
        collector.address()
    )
}

/// A proxy that trusts the proxies of this host.
async fn trusting(name: &str, section: &str) -> Proxy {
    let proxies = "trusted_proxies = [\"127.0.0.0/8\"]\n\n[admin]";
    let proxy = Proxy::start(name, |text| format!("{}\n{section}", text.replace("[admin]", proxies)));
    proxy.until_ready().await;
    proxy
}

fn hex(id: &[u8]) -> String {
    portcullis::audit::to_hex(id)
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32)
}

fn event_names(span: &Span) -> Vec<&str> {
    span.events.iter().map(|event| event.name.as_str()).collect()
}

/// A call as part of a caller's trace.
async fn call_within(proxy: &Proxy, parent: &[u8], test_id: &str) -> Response {
    let request = proxy.request(Method::POST, "/v1/messages", &proxy.token).body(message(HAIKU).to_string());
    request
        .header("traceparent", parent)
        .header("tracestate", "vendor=1")
        .header("anthropic-test-id", test_id)
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_request_is_a_server_span_and_a_client_span() {
    let collector = Collector::start(None);
    let proxy = Proxy::with("traces", &to(&collector, "ratio = 1.0")).await;
    let answer = proxy.post(&proxy.token, &streamed(HAIKU)).await;
    let id = request_id(&answer);
    assert!(!answer.headers().contains_key("traceresponse"));
    assert!(answer.text().await.unwrap().contains("message_stop"));
    let spans = collector.spans_of(&id, 2).await;
    let [server, client] = spans.as_slice() else { panic!("{spans:#?}") };
    assert_eq!((server.name.as_str(), server.kind), ("POST /v1/messages", SpanKind::Server as i32));
    assert_eq!(client.name, format!("chat {HAIKU}"));
    assert_eq!(client.kind, SpanKind::Client as i32);
    assert!(server.parent_span_id.is_empty());
    assert_eq!((&client.parent_span_id, &client.trace_id), (&server.span_id, &server.trace_id));
    assert!(server.start_time_unix_nano < client.start_time_unix_nano);
    assert!(client.start_time_unix_nano < client.end_time_unix_nano);
    assert!(client.end_time_unix_nano <= server.end_time_unix_nano);
    assert_eq!(event_names(server), ["portcullis.decided", "portcullis.recorded"]);
    assert_eq!(event_names(client), ["portcullis.connected", "portcullis.first_byte", "portcullis.first_token"]);
    assert!(!is_error(server) && !is_error(client));

    let line = proxy.records_when(|records| records.iter().any(|line| line["event"] == "end")).await;
    let line = line.into_iter().find(|line| line["event"] == "end").unwrap();
    assert_eq!(line["trace_id"], hex(&server.trace_id));
    for (name, expected) in [
        ("http.response.status_code", json!(200)),
        ("http.route", json!("/v1/messages")),
        ("portcullis.request_id", json!(id)),
        ("portcullis.decision", json!("allowed")),
        ("enduser.id", json!(null)),
        ("client.address", json!(null)),
    ] {
        assert_eq!(attribute(&server.attributes, name), expected, "{name}");
    }
    for (name, expected) in [
        ("gen_ai.request.model", json!(HAIKU)),
        ("gen_ai.usage.output_tokens", line["usage"]["output_tokens"].clone()),
        ("server.address", json!("api.anthropic.com")),
        ("http.request.resend_count", json!(null)),
        ("portcullis.key", json!("sandbox")),
    ] {
        assert_eq!(attribute(&client.attributes, name), expected, "{name}");
    }
    let export = collector.exports().into_iter().find(|export| !export.traces.resource_spans.is_empty()).unwrap();
    assert_eq!(export.path, "/v1/traces");
    let shown = format!("{:?}", export.traces);
    assert!(!shown.contains("Hello") && !shown.contains(line["subject"].as_str().unwrap()), "{shown}");

    let refused = proxy.post("no token", &message(HAIKU)).await;
    let spans = collector.spans_of(&request_id(&refused), 1).await;
    assert!(!is_error(&spans[0]), "a refusal is no failure of the server");
    assert_eq!(attribute(&spans[0].attributes, "portcullis.reason"), "credential_malformed");
    proxy.until_metric("portcullis_otlp_spans_total{outcome=\"sent\"}", |sent| sent == 3).await;

    // What waits at the stop is sent.
    let last = request_id(&proxy.post(&proxy.token, &message(HAIKU)).await);
    proxy.stop();
    assert_eq!(collector.spans_of(&last, 2).await.len(), 2);
}

#[tokio::test]
async fn nothing_is_traced_until_it_is_asked_for() {
    let collector = Collector::start(None);
    let section = format!("[telemetry]\notlp = \"http://{}\"", collector.address());
    let proxy = trusting("traces-off", &section).await;
    let test_id = unique_id();
    let answer = call_within(&proxy, PARENT.as_bytes(), &test_id).await;
    let id = request_id(&answer);
    assert!(!answer.headers().contains_key("traceparent"));
    answer.bytes().await.unwrap();
    collector.record("portcullis.audit.end", &id).await;
    proxy.stop();
    assert!(collector.spans().is_empty());
    let seen = Sandbox::shared().seen(&test_id).await.unwrap();
    assert!(!seen.headers.contains_key("traceparent") && !seen.headers.contains_key("tracestate"));
}

#[tokio::test]
async fn a_trusted_proxys_trace_goes_on_here_and_upstream() {
    let collector = Collector::start(None);
    let traces = "ratio = 0\naccept = \"trusted_proxies\"\npropagate_upstream = true\nanswer_header = \"traceresponse\"\nsubject = true";
    let mut proxy = trusting("traces-trusted", &to(&collector, traces)).await;
    let test_id = unique_id();
    let answer = call_within(&proxy, PARENT.as_bytes(), &test_id).await;
    let id = request_id(&answer);
    let told = answer.headers()["traceresponse"].to_str().unwrap().to_owned();
    answer.bytes().await.unwrap();
    let spans = collector.spans_of(&id, 2).await;
    let [server, client] = spans.as_slice() else { panic!("{spans:#?}") };
    assert_eq!((hex(&server.trace_id).as_str(), hex(&server.parent_span_id).as_str()), (TRACE, "00f067aa0ba902b7"));
    assert_eq!(server.trace_state, "vendor=1");
    assert_eq!(told, format!("00-{TRACE}-{}-01", hex(&server.span_id)));
    let seen = Sandbox::shared().seen(&test_id).await.unwrap();
    assert_eq!(seen.headers["traceparent"], [format!("00-{TRACE}-{}-01", hex(&client.span_id))]);
    assert_eq!(seen.headers["tracestate"], ["vendor=1"]);
    assert_eq!(attribute(&server.attributes, "client.address"), "127.0.0.1");
    assert_eq!(attribute(&server.attributes, "enduser.id"), "sandbox-user");

    // Not sampled by its caller: not here either, and the record names the trace all the same.
    let test_id = unique_id();
    let answer = call_within(&proxy, PARENT.replace("-01", "-00").as_bytes(), &test_id).await;
    let id = request_id(&answer);
    answer.bytes().await.unwrap();
    let ended = |line: &serde_json::Value| line["request_id"] == id.as_str() && line["event"] == "end";
    let records = proxy.records_when(|records| records.iter().any(ended)).await;
    assert_eq!(records.into_iter().find(|line| ended(line)).unwrap()["trace_id"], TRACE);
    let seen = Sandbox::shared().seen(&test_id).await.unwrap();
    assert!(seen.headers["traceparent"][0].ends_with("-00"), "{seen:?}");

    // Refusals are told of the trace too.
    proxy.token = "no token".to_owned();
    let refused = call_within(&proxy, PARENT.as_bytes(), &unique_id()).await;
    assert_eq!(refused.status(), 401);
    assert!(refused.headers()["traceresponse"].to_str().unwrap().starts_with(&format!("00-{TRACE}-")));
}

#[tokio::test]
async fn what_a_stranger_sends_is_not_looked_at_and_what_breaks_the_rules_is_ignored() {
    let collector = Collector::start(None);
    let proxy = Proxy::with("traces-hostile", &to(&collector, "ratio = 1\npropagate_upstream = true")).await;
    let test_id = unique_id();
    let answer = call_within(&proxy, PARENT.as_bytes(), &test_id).await;
    let spans = collector.spans_of(&request_id(&answer), 2).await;
    assert!(hex(&spans[0].trace_id) != TRACE && spans[0].parent_span_id.is_empty());
    let seen = Sandbox::shared().seen(&test_id).await.unwrap();
    assert_eq!(seen.headers["traceparent"].len(), 1);
    assert!(!seen.headers["traceparent"][0].contains(TRACE) && !seen.headers.contains_key("tracestate"), "{seen:?}");
    proxy.stop();

    let section = to(&collector, "ratio = 0\non_error = false\naccept = \"always\"");
    let proxy = Proxy::with("traces-always", &section).await;
    let long = format!("{PARENT}-{}", "a".repeat(30_000));
    for hostile in [
        b"".as_slice(),
        b"00-\xff\xfe-\xff-01",
        PARENT.to_uppercase().as_bytes(),
        PARENT.replacen("00-", "ff-", 1).as_bytes(),
        PARENT.replace(TRACE, &"0".repeat(32)).as_bytes(),
        long.as_bytes(),
    ] {
        let answer = call_within(&proxy, hostile, &unique_id()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(proxy.record(&request_id(&answer)).await["trace_id"], json!(null));
    }
    let good = call_within(&proxy, PARENT.as_bytes(), &unique_id()).await;
    assert_eq!(hex(&collector.spans_of(&request_id(&good), 2).await[0].trace_id), TRACE);
    proxy.stop();
    assert_eq!(collector.spans().len(), 4, "of the hostile ones nothing was sampled");
}

#[tokio::test]
async fn a_failure_is_sampled_at_ratio_0_with_every_attempt() {
    let collector = Collector::start(None);
    let scene = Scene::with_keys("traces-failure", &["second"]);
    scene.refuse("first");
    let keys = format!("{}{}{}", scene.key("first", ""), scene.key("second", ""), to(&collector, "ratio = 0"));
    let proxy = scene.proxy("[upstream.health]\ncheck = \"none\"", &keys).await;

    // An attempt that was made again is no failure.
    let well = proxy.answer(&proxy.token, &message(HAIKU)).await;
    assert_eq!((well.status, scene.used()), (200, vec!["first".to_owned(), "second".to_owned()]));

    scene.accept("second", 529, &[]);
    let overloaded = proxy.answer(&proxy.token, &message(HAIKU)).await;
    assert_eq!(overloaded.status, 529);
    let spans = collector.spans_of(&overloaded.id, 2).await;
    assert!(spans.iter().all(is_error), "{spans:#?}");
    assert_eq!(attribute(&spans[1].attributes, "http.response.status_code"), 529);

    scene.upstream.stop().await;
    let unreachable = proxy.answer(&proxy.token, &message(HAIKU)).await;
    assert_eq!(unreachable.status, 502);
    let line = proxy.records_when(|records| records.iter().any(|line| line["status"] == 502)).await;
    let line = line.into_iter().find(|line| line["status"] == 502).unwrap();
    let attempts = usize::try_from(line["attempts"].as_u64().unwrap()).unwrap();
    assert!(attempts > 1);
    let spans = collector.spans_of(&unreachable.id, 1 + attempts).await;
    assert!(spans.iter().all(is_error), "{spans:#?}");
    assert_eq!(attribute(&spans[0].attributes, "error.type"), line["reason"]);
    for (number, span) in spans.iter().skip(1).enumerate() {
        let expected = if number == 0 { json!(null) } else { json!(number) };
        assert_eq!(attribute(&span.attributes, "http.request.resend_count"), expected);
        assert_eq!(span.parent_span_id, spans[0].span_id);
    }
    proxy.stop();
    let all = collector.spans();
    assert!(!all.iter().any(|span| attribute(&span.attributes, "portcullis.request_id") == well.id.as_str()));
}

#[tokio::test]
async fn each_attempt_tells_the_upstream_a_span_of_its_own() {
    let collector = Collector::start(None);
    let scene = Scene::with_keys("traces-attempts", &["second"]);
    scene.refuse("first");
    let traces = to(&collector, "ratio = 1\npropagate_upstream = true");
    let keys = format!("{}{}{traces}", scene.key("first", ""), scene.key("second", ""));
    let proxy = scene.proxy("", &keys).await;
    let answer = proxy.answer(&proxy.token, &message(HAIKU)).await;
    assert_eq!(answer.status, 200);
    let spans = collector.spans_of(&answer.id, 3).await;
    let [server, first, second] = spans.as_slice() else { panic!("{spans:#?}") };
    assert!(!is_error(server) && is_error(first) && !is_error(second));
    assert_eq!(attribute(&first.attributes, "http.response.status_code"), 401);
    assert_eq!(attribute(&second.attributes, "http.request.resend_count"), 1);
    assert!(first.end_time_unix_nano <= second.start_time_unix_nano);
    let calls = scene.upstream.log().into_iter().filter(|logged| logged.path == "/v1/messages");
    let told: Vec<_> = calls.map(|logged| logged.headers["traceparent"].to_str().unwrap().to_owned()).collect();
    let expected = |span: &Span| format!("00-{}-{}-03", hex(&span.trace_id), hex(&span.span_id));
    assert_eq!(told, [expected(first), expected(second)]);
}

#[tokio::test]
async fn a_collector_that_is_silent_costs_spans_and_no_request() {
    let collector = Collector::start(None);
    collector.reply(Reply::Status(500, 0));
    let proxy = Proxy::with("traces-refused", &to(&collector, "ratio = 1")).await;
    proxy.serves(4).await;
    proxy.until_metric("portcullis_otlp_spans_total{outcome=\"failed\"}", |failed| failed == 8).await;
    let log = proxy.log();
    assert_eq!(log.matches("spans do not reach the collector").count(), 1, "{log}");
    collector.reply(Reply::Silence);
    proxy.serves(1).await;
    proxy.until_metric("portcullis_otlp_queue_spans", |waiting| waiting == 2).await;
    collector.reply(Reply::Taken);
    proxy.until_metric("portcullis_otlp_queue_spans", |waiting| waiting == 0).await;
    proxy.stop();
}
