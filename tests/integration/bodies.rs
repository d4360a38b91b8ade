//! Bodies: judged whole, of any size up to the bound, and forwarded byte for byte.

use aws_lc_rs::digest::{SHA256, digest};
use reqwest::{Body, Method, StatusCode};
use serde_json::{Value, json};

use super::harness::{HAIKU, Sandbox, request_id, trusting, unique_id};

/// A message whose `model` is its last key, after this much text.
fn model_last(model: &str, filler: usize) -> String {
    let text = "x".repeat(filler);
    format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}],"max_tokens":7,"model":"{model}"}}"#)
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn a_model_behind_a_megabyte_is_judged() {
    let sandbox = Sandbox::shared();
    for (model, expected) in [("claude-opus-5-5", 403), (HAIKU, 200)] {
        let id = unique_id();
        let body = model_last(model, 1 << 20);
        let call = sandbox.request(Method::POST, "/v1/messages").header("anthropic-test-id", &id);
        let response = call.body(body.clone()).send().await.unwrap();
        assert_eq!(response.status(), expected, "{model}");
        let seen = sandbox.seen(&id).await;
        assert_eq!(seen.map(|seen| seen.body_sha256), (expected == 200).then(|| sha256(body.as_bytes())));
    }
}

#[tokio::test]
async fn bodies_arrive_byte_for_byte_around_every_buffers_size() {
    let sandbox = Sandbox::shared();
    for filler in [0, 16_000, 65_400, 65_536, 70_000, 131_072, 20 << 20] {
        for chunked in [false, true] {
            let id = unique_id();
            // White space, key order and escapes are the client's own.
            let body = format!("{}  \n", model_last(HAIKU, filler).replacen("\"user\"", "\"\\u0075ser\"", 1));
            let call = sandbox.request(Method::POST, "/v1/messages").header("anthropic-test-id", &id);
            let sent = if chunked {
                let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
                    body.as_bytes().chunks(50_000).map(|piece| Ok(piece.to_vec())).collect();
                call.body(Body::wrap_stream(futures_util::stream::iter(pieces)))
            } else {
                call.body(body.clone())
            };
            assert_eq!(sent.send().await.unwrap().status(), 200, "{filler} {chunked}");
            let seen = sandbox.seen(&id).await.unwrap();
            assert_eq!(
                (seen.body_bytes, seen.body_sha256),
                (body.len() as u64, sha256(body.as_bytes())),
                "{filler} {chunked}"
            );
            assert_eq!(seen.headers["content-length"], [body.len().to_string()]);
        }
    }
}

#[tokio::test]
async fn a_large_body_arrives_over_http2() {
    let sandbox = Sandbox::start(&[]);
    let http2 = trusting(&sandbox.ready.ca_file).build().unwrap();
    let id = unique_id();
    let body = model_last(HAIKU, 20 << 20);
    let call = http2.post(format!("{}/v1/messages", sandbox.ready.base_url)).bearer_auth(&sandbox.ready.token);
    let call = call.header("anthropic-version", "2023-06-01").header("anthropic-test-id", &id);
    let response = call.body(body.clone()).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, reqwest::Version::HTTP_2));
    assert_eq!(sandbox.seen(&id).await.unwrap().body_sha256, sha256(body.as_bytes()));
}

#[tokio::test]
async fn a_body_above_the_bound_gets_413_also_when_it_is_not_announced() {
    let sandbox = Sandbox::shared();
    let body = model_last(HAIKU, 33 << 20);
    let announced = sandbox.request(Method::POST, "/v1/messages").body(body.clone());
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        body.as_bytes().chunks(1 << 20).map(|piece| Ok(piece.to_vec())).collect();
    let chunked =
        sandbox.request(Method::POST, "/v1/messages").body(Body::wrap_stream(futures_util::stream::iter(pieces)));
    for call in [announced, chunked] {
        let response = call.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let record = sandbox.record(&request_id(&response)).await;
        assert_eq!(record["reason"], "body_too_large");
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["type"], "request_too_large");
    }
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused() {
    let sandbox = Sandbox::shared();
    for (body, complaint) in [
        (r#"{"model":"claude-haiku-4-5","model":"claude-opus-5","messages":[]}"#, "model: is there twice"),
        (r#"{"model":"claude-haiku-4-5","mod\u0065l":"claude-opus-5"}"#, "model: is there twice"),
        (r#"{"MODEL":"claude-opus-5","model":"claude-haiku-4-5"}"#, "model: is spelled with other letter case"),
        (r#"{"model":["claude-haiku-4-5"]}"#, "model: must be a model's name"),
        (r#"{"messages":[]}"#, "model: is missing"),
        (r#"["model"]"#, "the body must be a JSON object"),
        (r#"{"model":"claude-haiku-4-5""#, "the body is not valid JSON"),
        ("", "the body is not valid JSON"),
    ] {
        let id = unique_id();
        let call = sandbox.request(Method::POST, "/v1/messages").header("anthropic-test-id", &id).body(body);
        let response = call.send().await.unwrap();
        assert_eq!(response.status(), 400, "{body}");
        let error: Value = response.json().await.unwrap();
        assert_eq!(
            (&error["error"]["type"], &error["error"]["message"]),
            (&json!("invalid_request_error"), &json!(complaint))
        );
        assert!(sandbox.seen(&id).await.is_none(), "{body}");
    }
    let encoded = sandbox.request(Method::POST, "/v1/messages").header("content-encoding", "gzip").body("x");
    assert_eq!(encoded.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn deep_nesting_harms_nothing() {
    let sandbox = Sandbox::shared();
    let deep = format!(r#"{{"x":{}{},"model":"{HAIKU}"}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let response = sandbox.request(Method::POST, "/v1/messages").body(deep).send().await.unwrap();
    assert_eq!(response.status(), 400); // the upstream's own refusal: the proxy passes over what policy does not read
    assert!(response.headers()["request-id"].to_str().unwrap().starts_with("req_standin"));
}

#[tokio::test]
async fn every_item_of_a_batch_is_judged() {
    let sandbox = Sandbox::shared();
    let item = |model: &str| json!({ "custom_id": model, "params": { "model": model, "max_tokens": 5, "messages": [{ "role": "user", "content": "x" }] } });
    let batch = json!({ "requests": [item(HAIKU), item("claude-opus-5-5")] });
    let call = sandbox.request(Method::POST, "/v1/messages/batches").body(batch.to_string());
    assert_eq!(call.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn uploads_are_streamed_through() {
    let sandbox = Sandbox::shared();
    let boundary = "part-of-a-test";
    let file = "y".repeat(3 << 20);
    let body = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\ncontent-type: text/plain\r\n\r\n{file}\r\n--{boundary}--\r\n"
    );
    let upload = |content_type: String, id: &str| {
        let call = sandbox.request(Method::POST, "/v1/files").header("anthropic-test-id", id);
        // The harness's JSON type is replaced, not joined by a second one.
        let mut request = call.body(body.clone()).build().unwrap();
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        request
    };
    let http = reqwest::Client::new();
    let id = unique_id();
    let response = http.execute(upload(format!("multipart/form-data; boundary={boundary}"), &id)).await.unwrap();
    assert_eq!(response.status(), 200);
    let ours = request_id(&response);
    let created: Value = response.json().await.unwrap();
    assert_eq!((created["filename"].as_str(), created["size_bytes"].as_u64()), (Some("a.txt"), Some(3 << 20)));
    assert_eq!(sandbox.seen(&id).await.unwrap().body_sha256, sha256(body.as_bytes()));
    assert_eq!(sandbox.record(&ours).await["request_bytes"], body.len());

    let response = http.execute(upload("application/json".to_owned(), &unique_id())).await.unwrap();
    assert_eq!(response.status(), 400);
}
