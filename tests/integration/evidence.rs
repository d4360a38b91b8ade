//! What the record proves of a call, and what it keeps and does not keep of what was said.

use portcullis::audit::to_hex;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::harness::{HAIKU, Proxy, Sandbox, lines_of, message, request_id, streamed, unique_id};

const EMAIL: &str = "jane.doe@example.com";
const CARD: &str = "4111 1111 1111 1111";

fn sha256(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

fn saying(words: &str, stream: bool) -> Value {
    let mut body = if stream { streamed(HAIKU) } else { message(HAIKU) };
    body["messages"] = json!([{"role": "user", "content": words}]);
    body
}

/// A call whose answer repeats what it says, in deltas of three bytes when it is a stream.
async fn echo(proxy: &Proxy, words: &str, stream: bool) -> Response {
    let token = &proxy.token;
    let call = proxy.request(Method::POST, "/v1/messages", token).header("anthropic-standin", "echo_cut=3");
    call.body(saying(words, stream).to_string()).send().await.unwrap()
}

#[tokio::test]
async fn a_call_leaves_a_receipt_of_what_was_received_and_sent() {
    let sandbox = Sandbox::shared();
    for body in [message(HAIKU), streamed(HAIKU)] {
        let (test_id, body) = (unique_id(), body.to_string());
        let call = sandbox.request(Method::POST, "/v1/messages").header("anthropic-test-id", &test_id);
        let response = call.body(body.clone()).send().await.unwrap();
        let id = request_id(&response);
        let answer = response.bytes().await.unwrap();
        let record = sandbox.record(&id).await;
        let receipt = &record["sha256"];
        assert_eq!(receipt["request_received"], sha256(body.as_bytes()));
        assert_eq!(receipt["request_sent"], receipt["request_received"]);
        assert_eq!(receipt["response_sent"], sha256(&answer));
        assert_eq!(receipt["response_received"], receipt["response_sent"]);
        assert_eq!(
            sandbox.seen(&test_id).await.unwrap().body_sha256,
            sha256(body.as_bytes()),
            "as the upstream saw it"
        );
        for name in ["prompt_hash", "response_hash"] {
            assert_eq!(record[name].as_str().unwrap().len(), 32, "{name}");
        }
        for name in ["prompt", "response", "findings"] {
            assert!(record.get(name).is_none(), "{name}: {record:#}");
        }
    }
}

#[tokio::test]
async fn a_begin_line_stands_before_the_end_and_says_who_asked_what() {
    let sandbox = Sandbox::shared();
    let mut body = message(HAIKU);
    body["tools"] = json!([{"name": "get_weather", "input_schema": {"type": "object"}}]);
    let response = sandbox.post(&body).await;
    let id = request_id(&response);
    let end = sandbox.record(&id).await;
    let lines = lines_of(&sandbox.ready.audit_directory);
    let of_call: Vec<&Value> = lines.iter().filter(|line| line["request_id"] == id.as_str()).collect();
    assert_eq!(of_call.len(), 2, "{of_call:#?}");
    let begin = of_call[0];
    assert_eq!((&begin["event"], &end["event"]), (&json!("begin"), &json!("end")));
    assert!(begin["seq"].as_u64() < end["seq"].as_u64());
    for name in ["subject", "issuer", "models", "tools", "rule", "endpoint", "prompt_hash", "request_bytes"] {
        assert_eq!(begin[name], end[name], "{name}");
    }
    assert_eq!(begin["tools"], json!(["get_weather"]));
    assert!(begin.get("status").is_none() && begin["timings"].get("total_ms").is_none(), "{begin:#}");
    let timings = &end["timings"];
    let at = |name: &str| timings[name].as_f64().unwrap_or_else(|| panic!("no {name}: {timings}"));
    assert!(at("decided_ms") <= at("recorded_ms") && at("recorded_ms") <= at("first_byte_ms"), "{timings}");
}

#[tokio::test]
async fn a_refusal_and_a_call_that_is_answered_here_leave_one_line() {
    let sandbox = Sandbox::shared();
    let refused = sandbox.post(&message("claude-opus-5")).await;
    let hello = sandbox.anonymous(Method::HEAD, "/api/hello").send().await.unwrap();
    for (response, event) in [(refused, "refused"), (hello, "answered")] {
        let id = request_id(&response);
        assert_eq!(sandbox.record(&id).await["event"], event);
        let lines = lines_of(&sandbox.ready.audit_directory);
        assert_eq!(lines.iter().filter(|line| line["request_id"] == id.as_str()).count(), 1, "{event}");
    }
}

#[tokio::test]
async fn equal_words_have_equal_hashes_whether_or_not_they_are_streamed() {
    let proxy = Proxy::with("evidence-hashes", "").await;
    let mut hashes = Vec::new();
    for stream in [false, true] {
        let response = echo(&proxy, "the same words", stream).await;
        let id = request_id(&response);
        response.bytes().await.unwrap();
        let record = proxy.record(&id).await;
        hashes.push((record["prompt_hash"].clone(), record["response_hash"].clone()));
    }
    assert!(hashes[0].0.is_string() && hashes[0].1.is_string(), "{hashes:?}");
    assert_eq!(hashes[0], hashes[1]);
}

#[tokio::test]
async fn what_is_kept_is_masked_wherever_events_cut_it() {
    let proxy = Proxy::start("evidence-masked", |text| text.replace("[audit]", "[audit]\ncontent = \"masked\""));
    proxy.until_ready().await;
    for stream in [false, true] {
        let response = echo(&proxy, &format!("Write to {EMAIL} and pay with {CARD}."), stream).await;
        let id = request_id(&response);
        let answer = response.text().await.unwrap();
        assert!(stream || answer.contains(EMAIL), "answers pass as they are: {answer}");
        let record = proxy.record(&id).await;
        let line = record.to_string();
        assert!(!line.contains("jane") && !line.contains("4111"), "{line}");
        assert!(record["response"].as_str().unwrap().starts_with("Write to [EMAIL:"), "{line}");
        let lines = lines_of(&proxy.audit);
        let begin = lines.iter().find(|line| line["request_id"] == id.as_str() && line["event"] == "begin").unwrap();
        assert_eq!(begin["prompt"], record["response"], "one value has one tag");
        assert!(!begin.to_string().contains("jane"), "{begin}");
    }
}

#[tokio::test]
async fn a_request_with_what_is_stopped_gets_400_and_its_content_stands_nowhere() {
    let rule = "[privacy]\nprompts = \"block\"\nblock = [\"CREDIT_CARD\"]\n";
    let proxy = Proxy::with("evidence-block", rule).await;
    let response = proxy.post(&proxy.token, &saying(&format!("charge {CARD} for {EMAIL}"), false)).await;
    let (status, id) = (response.status().as_u16(), request_id(&response));
    let error: Value = response.json().await.unwrap();
    assert_eq!((status, &error["error"]["type"]), (400, &json!("invalid_request_error")));
    let record = proxy.record(&id).await;
    assert_eq!((&record["event"], &record["reason"]), (&json!("refused"), &json!("content_forbidden")));
    assert_eq!(record["findings"], json!({"CREDIT_CARD": 1, "EMAIL": 1}));
    let metrics = proxy.metrics().await;
    assert!(metrics.contains("portcullis_privacy_findings_total{kind=\"CREDIT_CARD\"} 1"), "{metrics}");
    for (place, text) in [("answer", error.to_string()), ("record", record.to_string()), ("log", proxy.log())] {
        assert!(!text.contains("4111") && !text.contains("jane"), "{place}: {text}");
    }
    let flagged = proxy.post(&proxy.token, &saying(&format!("mail {EMAIL}"), false)).await;
    assert_eq!(flagged.status(), 200);
    let record = proxy.record(&request_id(&flagged)).await;
    assert_eq!(record["findings"], json!({"EMAIL": 1}));
    // Long enough to be listened to beside the requests.
    let long = format!("{} {CARD}", "word ".repeat(40_000));
    assert_eq!(proxy.post(&proxy.token, &saying(&long, false)).await.status(), 400);
}

#[tokio::test]
async fn who_has_no_room_is_not_listened_to_and_a_refusal_for_content_gives_all_back_but_the_request() {
    let rules = "[privacy]\nprompts = \"block\"\nblock = [\"CREDIT_CARD\"]\n[[limit]]\nname = \"room\"\nper = \"subject\"\nrequests = \"2/hour\"\noutput_tokens = \"100000/hour\"\nconcurrent = 1\n";
    let proxy = Proxy::with("evidence-reserve", rules).await;
    let token = Sandbox::shared().token_of("scanned", "claude:haiku");
    let words = saying(&format!("charge {CARD}"), false);
    for _ in 0..2 {
        assert_eq!(proxy.post(&token, &words).await.status(), 400);
    }
    let refused = proxy.post(&token, &words).await;
    assert_eq!(refused.status(), 429);
    let record = proxy.record(&request_id(&refused)).await;
    assert_eq!((&record["reason"], record.get("findings")), (&json!("limit_requests"), None));
    let metrics = proxy.metrics().await;
    assert!(metrics.contains("portcullis_privacy_findings_total{kind=\"CREDIT_CARD\"} 2"), "{metrics}");
    let left = proxy.whoami(&token).await["limits"].clone();
    let left: Vec<_> = left.as_array().unwrap().iter().map(|limit| (&limit["measure"], &limit["remaining"])).collect();
    for (measure, remaining) in [("requests", 0), ("output_tokens", 100_000), ("concurrent", 1)] {
        assert!(left.contains(&(&json!(measure), &json!(remaining))), "{measure}: {left:?}");
    }
}

#[tokio::test]
async fn a_long_answer_that_is_kept_has_one_end_also_when_its_client_leaves() {
    let proxy = Proxy::start("evidence-long", |text| text.replace("[audit]", "[audit]\ncontent = \"masked\""));
    proxy.until_ready().await;
    for leaves in [false, true] {
        let call =
            proxy.request(Method::POST, "/v1/messages", &proxy.token).header("anthropic-standin", "size=30000000");
        let mut response = call.body(message(HAIKU).to_string()).send().await.unwrap();
        let id = request_id(&response);
        response.chunk().await.unwrap().unwrap();
        if leaves {
            drop(response);
        } else {
            response.bytes().await.unwrap();
        }
        let record = proxy.record(&id).await;
        assert_eq!((&record["event"], &record["complete"]), (&json!("end"), &json!(!leaves)));
        assert!(record["response"].as_str().unwrap().len() > 10_000 && record["response_hash"].is_string());
        assert_eq!(lines_of(&proxy.audit).iter().filter(|line| line["request_id"] == id.as_str()).count(), 2);
    }
}
