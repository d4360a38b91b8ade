//! The endpoints as a client meets them, without sockets.

use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::serve::WireFault;
use super::*;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use http::request::Builder;

const KEY: &str = "sk-ant-standin";
const HI: &str = r#"{"model":"claude-x","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;

fn call(method: &str, path: &str) -> Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "standin.test")
        .header("x-api-key", KEY)
        .header("anthropic-version", "2023-06-01")
}

async fn send(standin: &Arc<Standin>, request: Builder, body: impl Into<Body>) -> Response {
    let router = TowerToHyperService::new(Arc::clone(standin).router());
    let Ok(response) = router.call(request.body(body.into()).unwrap()).await;
    response
}

async fn text(response: Response) -> String {
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn json_of(response: Response) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

#[tokio::test]
async fn only_the_key_and_a_version_admit() {
    let standin = Standin::new(KEY);
    let request = || Request::builder().method("POST").uri("/v1/messages");
    let bearer = request().header("authorization", format!("Bearer {KEY}"));
    let wrong = request().header("x-api-key", "sk-ant-other");
    for refused in [request(), bearer, wrong] {
        let response = send(&standin, refused, HI).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(json_of(response).await["error"]["message"], "invalid x-api-key");
    }
    let unversioned = send(&standin, request().header("x-api-key", KEY), HI).await;
    assert_eq!(unversioned.status(), StatusCode::BAD_REQUEST);
    let admitted = send(&standin, call("POST", "/v1/messages?beta=true"), HI).await;
    assert_eq!(admitted.status(), StatusCode::OK);
}

#[tokio::test]
async fn every_response_bears_the_apis_headers() {
    let standin = Standin::new(KEY);
    for (method, path) in [("GET", "/"), ("GET", "/v1/agents"), ("PUT", "/v1/messages"), ("GET", "/v1/models")] {
        let response = send(&standin, call(method, path), "").await;
        for header in ["request-id", "anthropic-organization-id", "anthropic-ratelimit-tokens-reset"] {
            assert!(response.headers().contains_key(header), "{path} {header}");
        }
    }
    let response = send(&standin, call("GET", "/v1/nothing"), "").await;
    let request_id = response.headers()["request-id"].to_str().unwrap().to_owned();
    let error = json_of(response).await;
    assert_eq!(error["error"]["type"], "not_found_error");
    assert_eq!(error["request_id"], request_id);
}

#[tokio::test]
async fn refusals_come_after_the_whole_request() {
    let standin = Standin::new(KEY);
    let response = send(&standin, call("POST", "/v1/messages").header("anthropic-standin", "close"), HI).await;
    assert!(matches!(response.extensions().get(), Some(WireFault::Close)));
    assert_eq!(standin.log.to_json()[0]["body_bytes"], HI.len());
}

#[tokio::test]
async fn the_record_knows_events_and_can_be_cleared() {
    let standin = Standin::new(KEY);
    let streamed = HI.replace("\"max_tokens\"", "\"stream\":true,\"max_tokens\"");
    let stream = send(&standin, call("POST", "/v1/messages").header("content-type", "application/json"), streamed);
    let events = text(stream.await).await.matches("event: ").count();
    let shown = json_of(send(&standin, call("GET", "/standin/requests"), "").await).await;
    assert_eq!(shown["requests"].as_array().unwrap().len(), 1, "its own calls are not in the record");
    assert_eq!(shown["requests"][0]["events"].as_array().unwrap().len(), events);
    assert!(shown["requests"][0]["finished_ms"].is_u64());
    let cleared = send(&standin, call("DELETE", "/standin/requests"), "").await;
    assert_eq!(cleared.status(), StatusCode::NO_CONTENT);
    assert_eq!(standin.log.to_json(), json!([]));
}

#[tokio::test]
async fn a_batch_ends_at_once_with_a_line_for_each_request() {
    let standin = Standin::new(KEY);
    let params: Value = serde_json::from_str(HI).unwrap();
    let mut failing = params.clone();
    failing["model"] = json!("claude-x-standin-status-500");
    let requests = json!({"requests": [{"custom_id": "a", "params": params}, {"custom_id": "b", "params": failing}]});
    let created = send(&standin, call("POST", "/v1/messages/batches"), requests.to_string()).await;
    let batch = json_of(created).await;
    assert_eq!(batch["processing_status"], "ended");
    let url = batch["results_url"].as_str().unwrap();
    let path = url.strip_prefix("https://standin.test").unwrap();
    let lines = text(send(&standin, call("GET", path), "").await).await;
    let results: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results.len(), 2);
    assert_eq!(results[0]["result"]["message"]["usage"]["service_tier"], "batch");
    assert_eq!(results[1]["result"]["error"]["error"]["type"], "api_error");
}

#[tokio::test]
async fn a_file_is_hashed_whole_and_kept_if_small() {
    let standin = Standin::new(KEY);
    for (size, downloadable) in [(3, true), (2_000_000, false)] {
        let form = format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n{}\r\n--b--\r\n",
            "x".repeat(size)
        );
        let upload = call("POST", "/v1/files").header("content-type", "multipart/form-data; boundary=b");
        let file = json_of(send(&standin, upload, form).await).await;
        assert_eq!(file["size_bytes"], size);
        assert_eq!(file["downloadable"], downloadable);
        let content = format!("/v1/files/{}/content", file["id"].as_str().unwrap());
        let response = send(&standin, call("GET", &content), "").await;
        let expected = if downloadable { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        assert_eq!(response.status(), expected);
    }
}

#[tokio::test]
async fn malformed_input_is_refused_in_the_apis_form() {
    let standin = Standin::new(KEY);
    let deep = "[".repeat(10_000);
    for (path, body) in [
        ("/v1/messages", "{"),
        ("/v1/messages", deep.as_str()),
        ("/v1/messages/count_tokens", "\u{fffd}"),
        ("/v1/messages/batches", r#"{"requests":[{}]}"#),
        ("/v1/files", "no form"),
        ("/v1/skills", "no form"),
    ] {
        let response = send(&standin, call("POST", path), body.to_owned()).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(json_of(response).await["error"]["type"], "invalid_request_error", "{path}");
    }
}
