//! Revocation: in force within a second, for tokens that were verified before and for streams under way.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{HAIKU, Proxy, Sandbox, message, now, request_id, streamed, unique_id};

/// A proxy that follows a file with nobody in it.
async fn following(name: &str, more: &str) -> Proxy {
    let file = format!("revoked-{name}.json");
    std::fs::write(Sandbox::shared().folder.path().join(&file), "{}").unwrap();
    Proxy::with(name, &format!("[revocation]\nfile = \"{file}\"\n{more}")).await
}

/// Replaces the file as careful editors do.
fn revoke(proxy: &Proxy, name: &str, list: &Value) {
    let file = proxy.folder.join(format!("revoked-{name}.json"));
    let draft = file.with_extension("draft");
    std::fs::write(&draft, list.to_string()).unwrap();
    std::fs::rename(draft, file).unwrap();
}

/// Calls until one is refused; how long that took, and the reason.
async fn until_refused(proxy: &Proxy, token: &str) -> (Duration, String) {
    let changed = Instant::now();
    loop {
        let answer = proxy.post(token, &message(HAIKU)).await;
        if answer.status() != 200 {
            let took = changed.elapsed();
            assert_eq!(answer.status(), 401);
            let reason = proxy.record(&request_id(&answer)).await["reason"].as_str().unwrap().to_owned();
            return (took, reason);
        }
        assert!(changed.elapsed() < Duration::from_secs(20), "never refused");
    }
}

#[tokio::test]
async fn each_kind_is_in_force_within_a_second_for_tokens_that_were_good() {
    let proxy = following("revoke-kinds", "").await;
    let sandbox = Sandbox::shared();
    let claims = |subject: &str| sandbox.claims(subject, "claude:haiku");
    let (one, two, three) = (claims("alice"), claims("bob"), claims("carol"));
    let lists = [
        json!({ "token_ids": [one["jti"]] }),
        json!({ "subjects": [{ "issuer": "sandbox", "subject": "bob" }] }),
        json!({ "issued_before": [{ "issuer": "sandbox", "subject": "carol", "before": now() + 1 }] }),
    ];
    let untouched = sandbox.token_of("dave", "claude:haiku");
    for (claims, list) in [one, two, three].into_iter().zip(lists) {
        let token = sandbox.sign(&claims);
        assert_eq!(proxy.post(&token, &message(HAIKU)).await.status(), 200);
        revoke(&proxy, "revoke-kinds", &list);
        let (took, reason) = until_refused(&proxy, &token).await;
        assert!(took < Duration::from_secs(1), "{list} took {took:?}");
        assert_eq!(reason, "token_revoked");
        assert_eq!(proxy.post(&untouched, &message(HAIKU)).await.status(), 200);
    }
}

#[tokio::test]
async fn a_file_that_is_broken_or_gone_leaves_the_last_list_in_force() {
    let proxy = following("revoke-broken", "").await;
    let sandbox = Sandbox::shared();
    let token = sandbox.token_of("alice", "claude:haiku");
    assert_eq!(proxy.post(&token, &message(HAIKU)).await.status(), 200);
    revoke(&proxy, "revoke-broken", &json!({ "subjects": ["alice"] }));
    until_refused(&proxy, &token).await;
    let file = proxy.folder.join("revoked-revoke-broken.json");
    std::fs::write(&file, "{ \"subjects\": [").unwrap();
    proxy.until_metric("portcullis_revocation_faulty", |faulty| faulty == 1).await;
    assert_eq!(proxy.post(&token, &message(HAIKU)).await.status(), 401);
    std::fs::remove_file(&file).unwrap();
    proxy.until_metric("portcullis_revocation_faulty", |faulty| faulty == 1).await;
    assert_eq!(proxy.post(&token, &message(HAIKU)).await.status(), 401);
    revoke(&proxy, "revoke-broken", &json!({}));
    proxy.until_metric("portcullis_revocation_faulty", |faulty| faulty == 0).await;
    assert_eq!(proxy.post(&token, &message(HAIKU)).await.status(), 200);
}

#[tokio::test]
async fn a_stream_under_way_is_cut_when_the_operator_chose_so() {
    for (name, choice, cut) in [("revoke-cut", "cut_streams = true", true), ("revoke-keep", "", false)] {
        let proxy = following(name, choice).await;
        let token = Sandbox::shared().token_of("alice", "claude:haiku");
        // Silent for longer than a revocation may take: nothing of the stream itself wakes the proxy.
        let scenario = if cut { "events=3;gap=8000" } else { "events=30;gap=100" };
        let call = proxy.request(Method::POST, "/v1/messages", &token).header("anthropic-standin", scenario);
        let mut response = call.body(streamed(HAIKU).to_string()).send().await.unwrap();
        let id = request_id(&response);
        response.chunk().await.unwrap().unwrap();
        let changed = Instant::now();
        revoke(&proxy, name, &json!({ "subjects": ["alice"] }));
        let text = response.text().await.unwrap();
        let record = proxy.record(&id).await;
        if cut {
            assert!(changed.elapsed() < Duration::from_secs(2), "{:?}", changed.elapsed());
            let last = text.trim_end().rsplit("\n\n").next().unwrap();
            assert!(
                last.starts_with(
                    "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"authentication_error\""
                ),
                "{text}"
            );
            assert_eq!((&record["complete"], &record["reason"]), (&json!(false), &json!("token_revoked")));
        } else {
            assert!(text.contains("message_stop"), "{text}");
            assert_eq!(record["complete"], true);
        }
    }
}

#[test]
fn a_file_that_does_not_load_is_a_fault_of_the_configuration() {
    let sandbox = Sandbox::shared();
    let text = std::fs::read_to_string(&sandbox.ready.config_file).unwrap();
    let check = |file: &Path| {
        let config = sandbox.folder.path().join(format!("{}.toml", unique_id()));
        std::fs::write(&config, format!("{text}\n[revocation]\nfile = \"{}\"\n", file.display())).unwrap();
        super::harness::run(&["check", "--config", config.to_str().unwrap()])
    };
    let file = sandbox.folder.path().join("revoked-check.json");
    let output = check(&file);
    assert!(
        !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("revocation.file"),
        "{output:?}"
    );
    std::fs::write(&file, r#"{"subject":["alice"]}"#).unwrap();
    assert!(!check(&file).status.success(), "an unknown key would revoke nobody");
    std::fs::write(&file, r#"{"subjects":["alice"]}"#).unwrap();
    assert!(check(&file).status.success());
}
