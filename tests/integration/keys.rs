//! Which key a call bears, and what becomes of keys that the upstream refuses or limits, that end, and that change.

mod rotation;
mod whose;

pub use whose::expect_no_key;

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::harness::scene::{Answer, Scene};
use super::harness::{HAIKU, Proxy, message, now, request_id};

/// The upstream's own error, as it sends it.
fn error(kind: &str, message: &str) -> Value {
    json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": "req_test" })
}

fn refused() -> Value {
    error("authentication_error", "invalid x-api-key")
}

fn limited() -> Value {
    error("rate_limit_error", "too many requests")
}

/// Expects the upstream's answer, as it sent it.
fn expect_passed_on(answer: &Answer, status: u16, body: &Value) {
    let found: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((answer.status, &found), (status, body));
}

/// So many seconds since 1970, as configurations and headers have it.
fn rfc3339(seconds: u64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds.try_into().unwrap()).unwrap().format(&Rfc3339).unwrap()
}

async fn call(proxy: &Proxy) -> Answer {
    proxy.answer(&proxy.token, &message(HAIKU)).await
}

/// A call that the upstream answers with this status, whatever its key.
async fn provoke(proxy: &Proxy, status: u16) -> Answer {
    let call = proxy.request(Method::POST, "/v1/messages", &proxy.token);
    let call = call.header("anthropic-test-status", status).body(message(HAIKU).to_string());
    let response = call.send().await.unwrap();
    let (headers, id) = (response.headers().clone(), request_id(&response));
    Answer { status: response.status().as_u16(), headers, body: response.text().await.unwrap(), id }
}

#[tokio::test]
async fn a_key_that_the_upstream_refuses_costs_no_call_and_is_set_aside_after_one_trial() {
    let scene = Scene::with_keys("keys-refused", &["one", "two", "three"]);
    let proxy = scene.proxy("", &scene.keys(&["one", "two"])).await;
    proxy.serves(40).await;
    tokio::join!(proxy.serves(200), async {
        scene.upstream.until_log(|log| log.len() >= 100).await;
        scene.refuse("one");
        proxy.until_key("one", "set_aside").await;
    });
    let before = scene.used().len();
    proxy.serves(40).await;
    assert_eq!(scene.used().split_off(before), ["two"; 40]);
    assert_eq!(scene.trials("one"), 1);

    scene.write("one", &scene.secret("three"));
    proxy.until_key("one", "in_use").await;
    let before = scene.used().len();
    proxy.serves(8).await;
    let used = scene.used().split_off(before);
    let bears = |key: &str| used.iter().any(|used| used == key);
    assert!(bears("three") && bears("two") && !bears("one"), "what is known of the old one is gone: {used:?}");
}

#[tokio::test]
async fn a_request_is_sent_again_in_full_with_another_key_and_an_upload_is_not() {
    let scene = Scene::with_keys("keys-again", &["two"]);
    let proxy = scene.proxy("", &scene.keys(&["one", "two"])).await;
    let mut body = message(HAIKU);
    body["messages"][0]["content"] = "x".repeat(300_000).into();
    let answer = proxy.answer(&proxy.token, &body).await;
    assert_eq!(answer.status, 200);
    let record = proxy.record(&answer.id).await;
    assert_eq!((&record["key"], &record["status"]), (&json!("two"), &json!(200)));
    assert_eq!(scene.used(), ["one", "two"]);
    let calls = scene.upstream.log().into_iter().filter(|logged| logged.path == "/v1/messages");
    assert!(calls.into_iter().all(|logged| logged.body == body.to_string()));
    proxy.until_metric("portcullis_upstream_retries_total{cause=\"key\"}", |retries| retries == 1).await;

    // Of a call's kind the proxy has nothing left that it could send again.
    let scene = Scene::with_keys("keys-upload", &["other"]);
    let proxy = scene.proxy("", &scene.keys(&["one", "two"])).await;
    let upload = proxy.http.post(format!("{}/v1/files", proxy.base_url)).bearer_auth(&proxy.token);
    let upload = upload.header("content-type", "multipart/form-data; boundary=x").body("--x--\r\n");
    assert_eq!(upload.send().await.unwrap().status(), 401);
    assert_eq!(scene.upstream.log().iter().filter(|logged| logged.path == "/v1/files").count(), 1);
}

#[tokio::test]
async fn what_a_client_provokes_sets_no_key_aside() {
    let scene = Scene::with_keys("keys-provoked", &["one", "two"]);
    let proxy = scene.proxy("", &scene.keys(&["one", "two"])).await;
    expect_passed_on(&provoke(&proxy, 403).await, 403, &error("permission_error", "not permitted"));
    assert_eq!(scene.used(), ["one"], "another key would change nothing");
    expect_passed_on(&provoke(&proxy, 401).await, 401, &refused());
    assert_eq!(scene.used(), ["one", "two", "one"], "each key once");
    scene.upstream.until_log(|_| scene.trials("one") > 0 && scene.trials("two") > 0).await;
    for key in ["one", "two"] {
        proxy.until_key(key, "in_use").await;
    }
    proxy.serves(8).await;
    let used = scene.used().split_off(3);
    assert!(used.iter().any(|key| key == "one") && used.iter().any(|key| key == "two"), "{used:?}");
}

#[tokio::test]
async fn a_lone_key_that_is_refused_goes_on_being_tried() {
    let scene = Scene::with_keys("keys-lone", &["other"]);
    let proxy = scene.proxy("", &scene.key("one", "")).await;
    for _ in 0..3 {
        let answer = call(&proxy).await;
        expect_passed_on(&answer, 401, &refused());
        let record = proxy.record(&answer.id).await;
        assert_eq!((&record["decision"], &record["key"]), (&json!("allowed"), &json!("one")));
        proxy.until_key("one", "set_aside").await;
    }
    assert_eq!(scene.used(), ["one"; 3]);
    scene.accept("one", 200, &[]);
    proxy.serves(4).await;
}

#[tokio::test]
async fn a_429_goes_to_its_client_and_later_calls_to_another_key() {
    let scene = Scene::with_keys("keys-429", &["one", "two"]);
    scene.accept("one", 429, &[("retry-after", "2")]);
    let proxy = scene.proxy("", &scene.keys(&["one", "two"])).await;
    let began = Instant::now();
    let answer = call(&proxy).await;
    expect_passed_on(&answer, 429, &limited());
    assert_eq!(answer.headers["retry-after"], "2");
    scene.accept("one", 200, &[]);
    let deadline = began + Duration::from_secs(20);
    let returned = loop {
        proxy.serves(1).await;
        if scene.used().split_off(1).iter().any(|key| key == "one") {
            break began.elapsed();
        }
        assert!(Instant::now() < deadline, "the limit does not end");
    };
    assert!(returned >= Duration::from_secs(2), "{returned:?}");
    assert_eq!(scene.trials("one"), 0, "a limit is no refusal");
}

#[tokio::test]
async fn load_moves_away_from_a_key_of_which_nothing_is_left() {
    let scene = Scene::with_keys("keys-remaining", &["two"]);
    let reset = rfc3339(now() + 600);
    let leave = |left: &str| {
        let limit = "anthropic-ratelimit-requests";
        let headers = [(&*format!("{limit}-remaining"), left), (&*format!("{limit}-reset"), &*reset)];
        scene.accept("one", 200, &headers);
    };
    leave("1");
    let proxy = scene.proxy("", &scene.keys(&["one", "two"])).await;
    for _ in 0..2 {
        proxy.serves(1).await;
    }
    leave("0");
    proxy.serves(1).await;
    proxy.until_key("one", "limited").await;
    let before = scene.used();
    assert_eq!(before.last().unwrap(), "one");
    proxy.serves(20).await;
    assert_eq!(scene.used().split_off(before.len()), ["two"; 20]);
    // The limit is that of a line of models.
    let token = super::harness::Sandbox::shared().token_of("alice", "claude:sonnet");
    assert_eq!(proxy.answer(&token, &message("claude-sonnet-4-5")).await.status, 200);
    assert_eq!(scene.used().last().unwrap(), "one");
}

#[tokio::test]
async fn a_key_past_its_end_is_not_used() {
    let scene = Scene::with_keys("keys-ended", &["old", "ending", "good"]);
    let (past, soon) = (now() - 60, now() + 3);
    let until = |seconds| format!("not_after = \"{}\"", rfc3339(seconds));
    let keys = [scene.key("old", &until(past)), scene.key("ending", &until(soon)), scene.key("good", "")].concat();
    let proxy = scene.proxy("", &keys).await;
    for (key, end) in [("old", past), ("ending", soon)] {
        let name = format!("portcullis_upstream_key_expiry_timestamp_seconds{{key=\"{key}\"}}");
        proxy.until_metric(&name, |value| value == end).await;
        proxy.until_key(key, "expired").await;
    }
    let before = scene.used().len();
    proxy.serves(10).await;
    assert_eq!(scene.used().split_off(before), ["good"; 10]);

    let scene = Scene::with_keys("keys-all-ended", &["old"]);
    let proxy = scene.proxy("", &scene.key("old", &until(past))).await;
    expect_no_key(&proxy, &proxy.token).await;
    assert!(scene.upstream.log().is_empty());
}
