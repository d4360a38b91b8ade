//! Refusals: each with its status, the API's error shape, a metric and a record.

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::harness::{HAIKU, Sandbox, message, request_id};

/// What the whole of a refusal must look like.
async fn refused(sandbox: &Sandbox, call: RequestBuilder, status: u16, error_type: &str, reason: &str) -> Value {
    let counter = format!("portcullis_denied_total{{reason=\"{reason}\"}}");
    let before = sandbox.metric(&counter).await;
    let response = call.send().await.unwrap();
    assert_eq!(response.status(), status, "{reason}");
    let id = request_id(&response);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["request-id"], id.as_str());
    let challenge = response.headers().get("www-authenticate").cloned();
    assert_eq!(challenge.is_some(), status == 401, "{reason}");
    let error: Value = response.json().await.unwrap();
    assert_eq!((error["type"].as_str(), error["request_id"].as_str()), (Some("error"), Some(id.as_str())));
    assert_eq!(error["error"]["type"], error_type, "{reason}");
    let record = sandbox.record(&id).await;
    assert_eq!((record["decision"].as_str(), record["reason"].as_str()), (Some("denied"), Some(reason)));
    assert_eq!(record["status"], status);
    assert!(sandbox.metric(&counter).await > before, "{reason}");
    error
}

fn post(sandbox: &Sandbox) -> RequestBuilder {
    sandbox.anonymous(Method::POST, "/v1/messages").body(message(HAIKU).to_string())
}

#[tokio::test]
async fn every_credential_that_is_none_gets_401() {
    let sandbox = Sandbox::shared();
    let token = &sandbox.ready.token;
    let (head, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    let other_issuer = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL290aGVyLnRlc3QifQ.AAAA";
    for (call, reason) in [
        (post(sandbox), "credential_missing"),
        (post(sandbox).bearer_auth("invalid-jwt"), "credential_malformed"),
        (post(sandbox).header("authorization", "Basic YTpi"), "credential_malformed"),
        (post(sandbox).bearer_auth("a".repeat(1_000_000)), "credential_malformed"),
        (post(sandbox).header("authorization", b"Bearer \xff\xfe.\xff.\xff".as_slice()), "credential_malformed"),
        (post(sandbox).bearer_auth(token).header("x-api-key", other_issuer), "credential_conflict"),
        (post(sandbox).bearer_auth(token).bearer_auth(token), "credential_conflict"),
        (post(sandbox).bearer_auth("sk-ant-api03-stray"), "anthropic_credential"),
        (post(sandbox).bearer_auth(token).header("x-api-key", "sk-ant-api03-stray"), "anthropic_credential"),
        (post(sandbox).bearer_auth(&forged), "token_invalid"),
        (post(sandbox).bearer_auth(other_issuer), "issuer_unknown"),
    ] {
        let error = refused(sandbox, call, 401, "authentication_error", reason).await;
        let message = error["error"]["message"].as_str().unwrap();
        assert!(!message.contains("signature") && !message.contains("sk-ant-api03"), "{message}");
    }
}

#[tokio::test]
async fn what_policy_does_not_allow_gets_403_and_what_is_unknown_404() {
    let sandbox = Sandbox::shared();
    let token = &sandbox.ready.token;
    let nobody = sandbox.token("claude:nothing");
    let authorized = |method, path| sandbox.anonymous(method, path).bearer_auth(token);
    for (call, status, error_type, reason) in [
        (post(sandbox).bearer_auth(&nobody), 403, "permission_error", "endpoint_forbidden"),
        (authorized(Method::GET, "/v1/organizations/api_keys"), 403, "permission_error", "endpoint_forbidden"),
        (authorized(Method::POST, "/v1/agents"), 403, "permission_error", "endpoint_forbidden"),
        (authorized(Method::GET, "/v1/models/claude-opus-5-5"), 403, "permission_error", "model_forbidden"),
        (
            post(sandbox).bearer_auth(token).body(message("claude-zeus-1").to_string()),
            403,
            "permission_error",
            "model_forbidden",
        ),
        (authorized(Method::GET, "/v1/messages"), 404, "not_found_error", "endpoint_unknown"),
        (authorized(Method::POST, "/v1/complete"), 404, "not_found_error", "endpoint_unknown"),
        (authorized(Method::GET, "/"), 404, "not_found_error", "endpoint_unknown"),
        (authorized(Method::GET, "/v1/files/%2e%2e%2fmodels"), 404, "not_found_error", "endpoint_unknown"),
        (
            authorized(Method::POST, &format!("/v1/messages?key={token}")),
            400,
            "invalid_request_error",
            "credential_in_url",
        ),
        (authorized(Method::GET, "/v1/models?limit=0"), 400, "invalid_request_error", "request_malformed"),
        (authorized(Method::GET, "/v1/models").body("x"), 400, "invalid_request_error", "body_malformed"),
    ] {
        refused(sandbox, call, status, error_type, reason).await;
    }
}

#[tokio::test]
async fn a_token_in_a_url_is_not_written_down() {
    let sandbox = Sandbox::shared();
    let token = sandbox.token("claude:haiku");
    for path in [format!("/v1/{token}"), format!("/v1/messages?key={token}"), format!("/v1/models/{token}")] {
        for authorized in [true, false] {
            let call = sandbox.anonymous(Method::GET, &path);
            let response = if authorized { call.bearer_auth(&token) } else { call }.send().await.unwrap();
            assert!(response.status().is_client_error());
            let record = sandbox.record(&request_id(&response)).await;
            assert!(!record.to_string().contains(&token), "{record}");
            assert!(!response.text().await.unwrap().contains(&token));
        }
    }
}

#[tokio::test]
async fn a_ceiling_on_max_tokens_is_told() {
    let sandbox = Sandbox::shared();
    let opus = sandbox.token("claude:opus");
    let mut body = message("claude-opus-5-5");
    body["max_tokens"] = 32_001.into();
    let call = post(sandbox).bearer_auth(opus).body(body.to_string());
    let error = refused(sandbox, call, 403, "permission_error", "max_tokens_forbidden").await;
    assert!(error["error"]["message"].as_str().unwrap().contains("32000"), "{error}");
}
