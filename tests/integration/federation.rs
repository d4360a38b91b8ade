//! Keys of workload identity federation: tokens of seconds, exchanged for the identity token in a file.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::harness::scene::Scene;
use super::harness::upstream::{Logged, TokenAnswer};
use super::harness::{HAIKU, Proxy, message};
use super::keys::expect_no_key;

const ORGANIZATION: &str = "4d7b4d5c-0000-4000-8000-000000000001";

/// A federated key, with these further entries of `federation`.
pub fn federated(scene: &Scene, more: &str) -> String {
    let file = scene.write("identity", "header.first.signature\n");
    format!(
        "[[upstream.key]]\nname = \"workload\"\nfederation = {{ token = {{ file = \"{file}\" }}, rule = \"fdrl_0123\", organization = \"{ORGANIZATION}\"{more} }}\n"
    )
}

/// A scene whose upstream takes no key but the tokens that it gives, each for so many seconds.
fn scene(name: &'static str, seconds: u64) -> Scene {
    let scene = Scene::with_keys(name, &["none"]);
    scene.upstream.answer_tokens(TokenAnswer::Fresh(seconds));
    scene
}

/// The requests for tokens so far.
fn exchanges(log: &[Logged]) -> Vec<&Logged> {
    log.iter().filter(|logged| logged.path == "/v1/oauth/token").collect()
}

fn assertion(exchange: &Logged) -> String {
    let body: Value = serde_json::from_slice(&exchange.body).unwrap();
    body["assertion"].as_str().unwrap().to_owned()
}

async fn readiness(proxy: &Proxy) -> (StatusCode, String) {
    let response = proxy.http.get(proxy.admin("readyz")).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

#[tokio::test]
async fn calls_bear_a_token_once_it_was_exchanged_as_the_sdks_do_it() {
    let scene = scene("federation", 600);
    scene.upstream.answer_tokens(TokenAnswer::Refused(503));
    let account = ", service_account = \"svac_0123\", workspace = \"wrkspc_0123\"";
    let section = scene.section("", &federated(&scene, account));
    let proxy = Proxy::start("federation", |text| Proxy::with_upstream(text, &section));
    proxy.until_faulty("workload", true).await;
    proxy.until_key("workload", "missing").await;
    let (status, missing) = readiness(&proxy).await;
    assert_eq!(status, 503, "{missing}");
    assert!(missing.contains("key"), "{missing}");
    scene.upstream.answer_tokens(TokenAnswer::Fresh(600));
    proxy.until_ready().await;
    proxy.until_faulty("workload", false).await;

    let call =
        proxy.request(Method::POST, "/v1/messages", &proxy.token).header("anthropic-beta", "files-api-2025-04-14");
    let call = call.header("anthropic-beta", "b,context-1m-2025-08-07").body(message(HAIKU).to_string());
    let response = call.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let log = scene.upstream.log();
    let [.., exchange, call] = &*log else { panic!("{log:#?}") };
    let betas: Vec<_> = call.headers.get_all("anthropic-beta").iter().map(|beta| beta.to_str().unwrap()).collect();
    let betas: Vec<_> = betas.iter().flat_map(|line| line.split(',')).collect();
    assert_eq!(betas, ["files-api-2025-04-14", "b", "context-1m-2025-08-07", "oauth-2025-04-20"]);
    assert_eq!(call.headers["authorization"], "Bearer sk-ant-oat01-test-1");
    assert!(!call.headers.contains_key("x-api-key"), "{call:?}");

    let asked = json!({
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "header.first.signature",
        "federation_rule_id": "fdrl_0123", "organization_id": ORGANIZATION,
        "service_account_id": "svac_0123", "workspace_id": "wrkspc_0123",
    });
    assert_eq!(serde_json::from_slice::<Value>(&exchange.body).unwrap(), asked);
    assert_eq!((&*exchange.method, &*exchange.path), ("POST", "/v1/oauth/token"));
    assert_eq!(exchange.headers["content-type"], "application/json");
    assert_eq!(exchange.headers["anthropic-beta"], "oauth-2025-04-20,oidc-federation-2026-04-01");
    assert_eq!(exchange.headers["host"], "api.anthropic.com");
    assert!(exchange.key.is_none() && exchange.client.is_some(), "mutual TLS, and no credential: {exchange:?}");
}

#[tokio::test]
async fn tokens_of_seconds_are_renewed_ahead_and_no_call_fails() {
    let scene = scene("federation-renewal", 4);
    let proxy = scene.proxy("", &federated(&scene, "")).await;
    let mut written = 0;
    while exchanges(&scene.upstream.log()).len() < 4 {
        scene.write("identity", &format!("header.{written}.signature"));
        written += 1;
        proxy.serves(16).await;
    }
    let log = scene.upstream.log();
    let asserted: Vec<_> = exchanges(&log).into_iter().map(assertion).collect();
    assert!(asserted.windows(2).all(|pair| pair[0] != pair[1]), "read anew for each: {asserted:?}");
    let used = scene.used();
    let tokens = ["sk-ant-oat01-test-1", "sk-ant-oat01-test-2", "sk-ant-oat01-test-3"];
    assert!(tokens.iter().all(|token| used.iter().any(|key| key == token)), "{used:?}");
    for pair in tokens.windows(2) {
        let (first, last) = (used.iter().position(|key| key == pair[1]), used.iter().rposition(|key| key == pair[0]));
        assert!(last.unwrap() < first.unwrap() + 8, "no old one but in calls under way: {used:?}");
    }
}

#[tokio::test]
async fn the_old_token_serves_to_its_end_when_no_other_is_given() {
    let scene = scene("federation-failing", 4);
    let proxy = scene.proxy("", &federated(&scene, "")).await;
    scene.upstream.answer_tokens(TokenAnswer::Refused(500));
    proxy.until_faulty("workload", true).await;
    proxy.serves(2).await;
    proxy.until_key("workload", "expired").await;
    let before = scene.used();
    assert!(before.iter().all(|key| key == "sk-ant-oat01-test-1"), "{before:?}");
    expect_no_key(&proxy, &proxy.token).await;
    assert_eq!(scene.used().len(), before.len());

    scene.upstream.answer_tokens(TokenAnswer::Fresh(600));
    proxy.until_faulty("workload", false).await;
    proxy.serves(4).await;
    assert!(!proxy.log().contains("header.") && !proxy.log().contains("sk-ant-oat"), "{}", proxy.log());
}
