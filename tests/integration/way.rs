//! The request's way: what is allowed goes through unchanged, with another credential.

use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{HAIKU, Sandbox, message, request_id, streamed, trusting, unique_id};

#[tokio::test]
async fn the_upstream_sees_the_injected_key_and_no_trace_of_the_token() {
    let sandbox = Sandbox::shared();
    let token = &sandbox.ready.token;
    let id = unique_id();
    let response = sandbox
        .request(Method::POST, "/v1/messages?beta=true")
        .header("x-api-key", token)
        .header("connection", "close, x-api-key, anthropic-version")
        .header("cookie", format!("token={token}"))
        .header("proxy-authorization", format!("Bearer {token}"))
        .header("x-forwarded-authorization", token)
        .header("anthropic-beta", "one-2026-01-01,two-2026-01-01")
        .header("anthropic-trace", format!("caller {token}"))
        .header("anthropic-test-id", &id)
        .body(message(HAIKU).to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);

    let seen = sandbox.seen(&id).await.unwrap();
    let key = std::fs::read_to_string(sandbox.folder.path().join("anthropic-key")).unwrap();
    assert_eq!(seen.headers["x-api-key"], [key]);
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str(), seen.query.as_deref()),
        ("POST", "/v1/messages", Some("beta=true"))
    );
    assert_eq!(seen.headers["anthropic-version"], ["2023-06-01"]);
    assert_eq!(seen.headers["anthropic-beta"], ["one-2026-01-01,two-2026-01-01"]);
    assert!(!seen.headers.contains_key("authorization"));
    let everything = format!("{:?}", seen.headers);
    assert!(!everything.contains(token), "{everything}");
}

#[tokio::test]
async fn the_key_is_nowhere_but_in_the_upstreams_request() {
    let sandbox = Sandbox::shared();
    let response = sandbox.post(&message(HAIKU)).await;
    let record = sandbox.record(&request_id(&response)).await;
    let headers = format!("{:?}", response.headers());
    let everything = format!("{headers}{}{record}{}", response.text().await.unwrap(), sandbox.metrics().await);
    let key = std::fs::read_to_string(sandbox.folder.path().join("anthropic-key")).unwrap();
    assert!(!everything.contains(&key));
    assert!(!everything.contains(&sandbox.ready.token));
    assert_eq!(record["key"], "sandbox");
}

#[tokio::test]
async fn a_model_outside_the_grants_never_reaches_the_upstream() {
    let sandbox = Sandbox::start(&["--plaintext"]);
    let response = sandbox.post(&message("claude-opus-5-5")).await;
    assert_eq!(response.status(), 403);
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["error"]["type"], "permission_error");
    assert_eq!(sandbox.seen_requests().await, 0);
    assert_eq!(sandbox.metric("portcullis_denied_total{reason=\"model_forbidden\"}").await, 1);

    // The same with a token that has the scope goes through.
    let opus = sandbox.token("claude:opus");
    let call = sandbox.anonymous(Method::POST, "/v1/messages").header("x-api-key", opus);
    assert_eq!(call.body(message("claude-opus-5-5").to_string()).send().await.unwrap().status(), 200);
    assert_eq!(sandbox.seen_requests().await, 1);
}

#[tokio::test]
async fn usage_in_the_record_is_what_the_upstream_sent() {
    let sandbox = Sandbox::shared();
    let mut call = message(HAIKU);
    call["system"] = json!([{ "type": "text", "text": "long", "cache_control": { "type": "ephemeral", "ttl": "1h" } }]);
    call["tools"] = json!([{ "type": "web_search_20250305", "name": "web_search" }]);
    let response = sandbox.post(&call).await;
    let id = request_id(&response);
    let sent: Value = response.json().await.unwrap();
    let record = sandbox.record(&id).await;
    assert_eq!(record["usage"], sent["usage"]);
    assert!(record["usage"]["cache_creation_input_tokens"].as_u64().unwrap() > 0, "{record}");
    assert!(record["usage"]["server_tool_use"]["web_search_requests"].as_u64().unwrap() > 0, "{record}");
    assert_eq!((&record["answered_by"], &record["stop_reason"]), (&sent["model"], &sent["stop_reason"]));

    call["stream"] = true.into();
    let response = sandbox.post(&call).await;
    let id = request_id(&response);
    let events = response.text().await.unwrap();
    let data = |name: &str| -> Value {
        let event = events.rsplit("\n\n").find(|event| event.starts_with(&format!("event: {name}\n"))).unwrap();
        serde_json::from_str(event.split_once("data: ").unwrap().1).unwrap()
    };
    let record = sandbox.record(&id).await;
    let (start, last) = (data("message_start"), data("message_delta"));
    for (name, total) in last["usage"].as_object().unwrap() {
        assert_eq!(&record["usage"][name], total, "{name}");
    }
    assert_eq!(record["usage"]["cache_creation"], start["message"]["usage"]["cache_creation"]);
    assert_eq!((record["stream"].as_bool(), record["complete"].as_bool()), (Some(true), Some(true)));
}

#[tokio::test]
async fn records_say_who_asked_what_and_what_came_of_it() {
    let sandbox = Sandbox::shared();
    let response = sandbox.post(&message(HAIKU)).await;
    let id = request_id(&response);
    let upstream_id = response.headers()["request-id"].to_str().unwrap().to_owned();
    let sent = response.bytes().await.unwrap().len();
    let record = sandbox.record(&id).await;
    for (name, expected) in [
        ("issuer", json!("sandbox")),
        ("subject", json!("sandbox-user")),
        ("teams", json!(["sandbox"])),
        ("client", json!("127.0.0.1")),
        ("endpoint", json!("messages")),
        ("models", json!([HAIKU])),
        ("decision", json!("allowed")),
        ("rule", json!("claude:haiku")),
        ("status", json!(200)),
        ("complete", json!(true)),
        ("upstream_request_id", json!(upstream_id)),
        ("request_bytes", json!(message(HAIKU).to_string().len())),
        ("response_bytes", json!(sent)),
    ] {
        assert_eq!(record[name], expected, "{name}");
    }
    assert!(record.get("reason").is_none());
    assert!(!record.to_string().contains("Hello"), "a record holds no content");
}

#[tokio::test]
async fn the_alias_and_both_credential_headers_work() {
    let sandbox = Sandbox::shared();
    let id = unique_id();
    let response = sandbox
        .anonymous(Method::POST, "/claude/messages")
        .header("x-api-key", &sandbox.ready.token)
        .header("anthropic-test-id", &id)
        .body(message(HAIKU).to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(sandbox.seen(&id).await.unwrap().path, "/v1/messages");
}

#[tokio::test]
async fn http2_over_tls_goes_the_same_way() {
    let sandbox = Sandbox::start(&[]);
    assert!(sandbox.ready.base_url.starts_with("https://"));
    let http2 = trusting(&sandbox.ready.ca_file).build().unwrap();
    for body in [message(HAIKU), streamed(HAIKU)] {
        let call = http2.post(format!("{}/v1/messages", sandbox.ready.base_url)).bearer_auth(&sandbox.ready.token);
        let call = call.header("anthropic-version", "2023-06-01").body(body.to_string());
        let response = call.send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, reqwest::Version::HTTP_2));
        let id = request_id(&response);
        assert!(response.text().await.unwrap().contains("\"stop_reason\":\"end_turn\""));
        assert_eq!(sandbox.record(&id).await["complete"], true);
    }
}

#[tokio::test]
async fn the_warm_up_call_is_answered_here() {
    let sandbox = Sandbox::start(&["--plaintext"]);
    let response = sandbox.anonymous(Method::HEAD, "/api/hello").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let record = sandbox.record(&request_id(&response)).await;
    assert_eq!(record["decision"], "answered");
    assert_eq!(sandbox.seen_requests().await, 0);
}

#[tokio::test]
async fn links_to_batch_results_stay_on_this_side() {
    let sandbox = Sandbox::shared();
    let batch = json!({ "requests": [{ "custom_id": "a", "params": message(HAIKU) }] });
    let response = sandbox.request(Method::POST, "/v1/messages/batches").body(batch.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let created: Value = response.json().await.unwrap();
    let path = created["results_url"].as_str().unwrap();
    assert_eq!(path, format!("/v1/messages/batches/{}/results", created["id"].as_str().unwrap()));
    let results = sandbox.request(Method::GET, path).send().await.unwrap().text().await.unwrap();
    assert!(results.contains("\"custom_id\":\"a\"") && results.contains("\"succeeded\""), "{results}");
}

#[tokio::test]
async fn health_and_readiness_are_told() {
    let sandbox = Sandbox::shared();
    let http = trusting(&sandbox.ready.ca_file).build().unwrap();
    for (page, status, text) in [("healthz", 200, "ok"), ("readyz", 200, "ready"), ("nothing", 404, "/metrics")] {
        let response = http.get(format!("{}/{page}", sandbox.ready.admin_url)).send().await.unwrap();
        assert_eq!(response.status(), status, "{page}");
        assert!(response.text().await.unwrap().contains(text), "{page}");
    }
}

#[tokio::test]
async fn only_models_that_the_caller_may_use_are_listed() {
    let sandbox = Sandbox::shared();
    let list: Value = sandbox.request(Method::GET, "/v1/models?limit=1000").send().await.unwrap().json().await.unwrap();
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"claude-sonnet-5-5") && ids.iter().any(|id| id.contains("haiku")), "{ids:?}");
    assert!(ids.iter().all(|id| id.contains("haiku") || id.contains("sonnet")), "{ids:?}");
    assert_eq!(list["last_id"], *ids.last().unwrap());
}
