//! The operational log: how much it tells, and what it never does.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::harness::{HAIKU, Proxy, Sandbox, message, request_id, streamed};

const END: &str = "a request ended";

/// A proxy whose log is as its configuration says.
async fn proxy(name: &str, more: &str) -> Proxy {
    let proxy = Proxy::start_logging("", name, |text| format!("{text}\n{more}"));
    proxy.until_ready().await;
    proxy
}

/// Waits until the log has this.
async fn until_told(proxy: &Proxy, text: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !proxy.log().contains(text) {
        assert!(Instant::now() < deadline, "not told: {text}\n{}", proxy.log());
        tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline
    }
}

#[tokio::test]
async fn a_signal_turns_debug_lines_on_and_off() {
    let proxy = proxy("log-signal", "").await;
    let call = async || request_id(&proxy.post(&proxy.token, &message(HAIKU)).await);
    let silent = call().await;
    proxy.record(&silent).await;
    proxy.signal("USR1");
    until_told(&proxy, "debug lines on=true").await;
    let told = call().await;
    until_told(&proxy, &told).await;
    proxy.signal("USR1");
    until_told(&proxy, "debug lines on=false").await;
    let after = call().await;
    let stays = proxy.log();
    assert!(!stays.contains(&silent) && stays.contains(END), "{stays}");
    proxy.signal("USR1");
    let last = call().await;
    until_told(&proxy, &last).await;
    assert!(!proxy.log().contains(&after));
    proxy.stop(); // as ever
}

#[tokio::test]
async fn the_configuration_says_how_much_is_told() {
    let debug = proxy("log-debug", "[log]\nlevel = \"debug\"").await;
    let id = request_id(&debug.post(&debug.token, &message(HAIKU)).await);
    until_told(&debug, &id).await;
    // A level that is refused.
    let config = std::fs::read_to_string(Sandbox::shared().folder.path().join("log-debug.toml")).unwrap();
    let path = Sandbox::shared().folder.path().join("log-wrong.toml");
    std::fs::write(&path, config.replace("\"debug\"", "\"loud\"")).unwrap();
    let checked = super::harness::run(&["check", "--config", path.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&checked.stderr).contains("log.level: is not \"error\""), "{checked:?}");
    // The variable has the say.
    let quiet =
        Proxy::start_logging("warn,portcullis=info", "log-quiet", |text| format!("{text}\n[log]\nlevel = \"debug\""));
    quiet.until_ready().await;
    let id = request_id(&quiet.post(&quiet.token, &message(HAIKU)).await);
    quiet.record(&id).await;
    let log = quiet.stop_and_log().await;
    assert!(!log.contains(END), "{log}");
}

#[tokio::test]
async fn no_line_has_a_secret_or_what_was_said() {
    let proxy = proxy("log-secrets", "[log]\nlevel = \"debug\"").await;
    let folder = Sandbox::shared().folder.path();
    let key = std::fs::read_to_string(folder.join("anthropic-key")).unwrap().trim().to_owned();
    let mut body = message(HAIKU);
    body["messages"][0]["content"] = json!("the prompt that nobody may see");
    body["system"] = json!("the system prompt that nobody may see");
    let answer = proxy.answer(&proxy.token, &body).await;
    assert_eq!(answer.status, 200);
    let text: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let said = text["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(said.len() > 3);
    body["stream"] = true.into();
    assert_eq!(proxy.answer(&proxy.token, &body).await.status, 200);
    let token = proxy.token.clone();
    let (head, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    for token in [forged.as_str(), "sk-ant-api03-stray-credential", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.forged"] {
        assert_eq!(proxy.answer(token, &body).await.status, 401);
    }
    // In a path, a query, a header, and a body that is none.
    let hostile = [
        proxy.request(Method::GET, &format!("/v1/messages/{}", proxy.token), &proxy.token),
        proxy.request(Method::GET, &format!("/v1/models?after_id={}", proxy.token), &proxy.token),
        proxy.request(Method::POST, "/v1/messages", &proxy.token).header("x-note", "nobody may see"),
        proxy.request(Method::POST, "/v1/messages", &proxy.token).body("{\"model\": \"nobody may see\", \"mess"),
        proxy.request(Method::POST, "/v1/messages", &proxy.token).header("upgrade", "nobody-may-see"),
        proxy.request(Method::from_bytes(b"NOBODYMAYSEE").unwrap(), "/nobody/may/see?x=nobody-may-see", &proxy.token),
    ];
    let mut last = String::new();
    for request in hostile {
        if let Ok(response) = request.send().await {
            assert!(response.status().is_client_error(), "{response:?}");
            last = request_id(&response);
        }
    }
    // A client that leaves in the middle of a stream.
    let leaving = proxy.post(&proxy.token, &streamed(HAIKU)).await;
    drop(leaving);
    until_told(&proxy, &last).await;
    let log = proxy.stop_and_log().await;
    assert!(log.matches(END).count() >= 8, "{log}");
    let hostile = ["nobody may see", "nobody-may-see", "NOBODYMAYSEE", "sk-ant-", "forged", "Bearer"];
    for secret in hostile.into_iter().chain([signature, &key, &said]) {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
