//! Streams: relayed event by event, and honest about their end.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use reqwest::{Method, Response};

use super::harness::{HAIKU, Sandbox, message, request_id, streamed, unique_id};

async fn stream_with(sandbox: &Sandbox, scenario: &str, id: &str) -> Response {
    let call = sandbox
        .request(Method::POST, "/v1/messages")
        .header("anthropic-standin", scenario)
        .header("anthropic-test-id", id);
    call.body(streamed(HAIKU).to_string()).send().await.unwrap()
}

#[tokio::test]
async fn the_first_event_arrives_before_the_last_is_sent() {
    let sandbox = Sandbox::shared();
    let id = unique_id();
    let mut response = stream_with(sandbox, "events=8;gap=30", &id).await;
    let first = response.chunk().await.unwrap().unwrap();
    let arrived = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    assert!(first.starts_with(b"event: message_start\n"), "{first:?}");
    while response.chunk().await.unwrap().is_some() {}
    let seen = sandbox.seen(&id).await.unwrap();
    let (sent_first, sent_last) = (*seen.events.first().unwrap(), *seen.events.last().unwrap());
    assert!(u128::from(sent_first) <= arrived && arrived < u128::from(sent_last), "{sent_first} {arrived} {sent_last}");
}

#[tokio::test]
async fn framing_comments_and_unknown_events_pass_byte_for_byte() {
    let sandbox = Sandbox::shared();
    let response = stream_with(sandbox, "noisy", &unique_id()).await;
    let id = request_id(&response);
    let text = response.text().await.unwrap();
    assert!(text.contains("\r\n") && text.lines().any(|line| line.starts_with(':')), "{text}");
    let record = sandbox.record(&id).await;
    let last = text.rsplit("message_delta").next().unwrap();
    let output: u64 =
        last.split("\"output_tokens\":").nth(1).unwrap().split([',', '}']).next().unwrap().parse().unwrap();
    assert_eq!(record["usage"]["output_tokens"], output);
    assert_eq!(record["complete"], true);
}

#[tokio::test]
async fn fifty_streams_at_once_keep_apart() {
    let sandbox = Sandbox::shared();
    let calls = (0..50).map(|number| async move {
        let mut body = streamed(HAIKU);
        body["messages"][0]["content"] = format!("number {number}!").into();
        let call = sandbox.request(Method::POST, "/v1/messages").header("anthropic-standin", "events=20;gap=2");
        let text = call.body(body.to_string()).send().await.unwrap().text().await.unwrap();
        let said: String = text
            .lines()
            .filter_map(|line| {
                line.split_once("\"text_delta\",\"text\":\"").or_else(|| line.split_once("\"delta\":{\"text\":\""))
            })
            .filter_map(|(_, rest)| rest.split('"').next())
            .collect();
        assert!(said.contains(&format!("number {number}!")), "{number}: {said}");
    });
    join_all(calls).await;
}

#[tokio::test]
async fn a_stream_that_the_upstream_cuts_ends_in_an_error_event() {
    let sandbox = Sandbox::shared();
    let response = stream_with(sandbox, "cut=4;gap=5", &unique_id()).await;
    let id = request_id(&response);
    let text = response.text().await.unwrap();
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\""), "{text}");
    assert!(last.contains(&id) && !text.contains("message_stop"), "{text}");
    let record = sandbox.record(&id).await;
    assert_eq!((&record["complete"], &record["reason"]), (&false.into(), &"upstream_failed".into()));
    assert_eq!(record["decision"], "allowed");
    assert_eq!(record["usage"]["output_tokens"], 1, "what message_start said");
    assert!(record["partial_deltas"].as_u64().is_some());
}

#[tokio::test]
async fn the_same_over_http2() {
    let sandbox = Sandbox::start(&[]);
    let response = stream_with(&sandbox, "cut=4;gap=5", &unique_id()).await;
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    let text = response.text().await.unwrap();
    assert!(text.trim_end().rsplit("\n\n").next().unwrap().starts_with("event: error\n"), "{text}");
}

#[tokio::test]
async fn a_plain_answer_that_the_upstream_cuts_does_not_look_whole() {
    let sandbox = Sandbox::shared();
    let call = sandbox.request(Method::POST, "/v1/messages").header("anthropic-standin", "cut=1;size=5000");
    let response = call.body(message(HAIKU).to_string()).send().await.unwrap();
    let id = request_id(&response);
    assert!(response.bytes().await.is_err());
    let record = sandbox.record(&id).await;
    assert_eq!((&record["complete"], &record["reason"]), (&false.into(), &"upstream_failed".into()));
}

#[tokio::test]
async fn an_error_event_of_the_upstream_passes_and_is_noted() {
    let sandbox = Sandbox::shared();
    let response = stream_with(sandbox, "sse_error=3", &unique_id()).await;
    let id = request_id(&response);
    let text = response.text().await.unwrap();
    assert!(text.contains("event: error\n") && text.contains("overloaded_error"), "{text}");
    let record = sandbox.record(&id).await;
    assert_eq!(record["error_type"], "overloaded_error");
    assert_eq!(record["status"], 200);
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_is_on_record_and_the_upstream_is_let_go() {
    let sandbox = Sandbox::shared();
    let mut response = stream_with(sandbox, "events=2000;gap=20", &unique_id()).await;
    let id = request_id(&response);
    response.chunk().await.unwrap().unwrap();
    drop(response);
    let record = sandbox.record(&id).await;
    assert_eq!((&record["complete"], &record["reason"]), (&false.into(), &"client_left".into()));
    assert!(record["timings"]["total_ms"].as_f64().unwrap() < 20_000.0, "not after the stream's 40 seconds: {record}");
}

#[tokio::test]
async fn errors_of_the_upstream_pass_unchanged() {
    let sandbox = Sandbox::shared();
    for status in [400_u16, 401, 402, 403, 404, 409, 413, 422, 429, 500, 503, 504, 529] {
        let call =
            sandbox.request(Method::POST, "/v1/messages").header("anthropic-standin", format!("status={status}"));
        let response = call.body(streamed(HAIKU).to_string()).send().await.unwrap();
        assert_eq!(response.status(), status);
        assert!(response.headers()["request-id"].to_str().unwrap().starts_with("req_standin"));
        let id = request_id(&response);
        let error: serde_json::Value = response.json().await.unwrap();
        let record = sandbox.record(&id).await;
        assert_eq!(record["error_type"], error["error"]["type"], "{status}");
        assert_eq!((record["decision"].as_str(), record["status"].as_u64()), (Some("allowed"), Some(status.into())));
    }
    let call = sandbox.request(Method::POST, "/v1/messages").header("anthropic-standin", "html");
    let response = call.body(streamed(HAIKU).to_string()).send().await.unwrap();
    assert_eq!(response.status(), 502);
    assert!(response.text().await.unwrap().contains("<html"));
}
