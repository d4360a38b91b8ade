//! Keys that are for some callers only.

use serde_json::{Value, json};

use super::{expect_passed_on, limited, refused};
use crate::harness::scene::Scene;
use crate::harness::{HAIKU, Proxy, Sandbox, message};

const SONNET: &str = "claude-sonnet-4-5";

fn token(scope: &str, teams: &[&str]) -> String {
    let sandbox = Sandbox::shared();
    let mut claims = sandbox.claims("alice", scope);
    claims["groups"] = json!(teams);
    sandbox.sign(&claims)
}

/// Expects that a call of haiku is refused for want of a key, with a record.
pub async fn expect_no_key(proxy: &Proxy, token: &str) {
    let answer = proxy.answer(token, &message(HAIKU)).await;
    let error: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((answer.status, &error["type"], &error["error"]["type"]), (503, &json!("error"), &json!("api_error")));
    assert_eq!(error["request_id"], json!(answer.id));
    let record = proxy.record(&answer.id).await;
    let told = (&record["reason"], &record["status"], &record["complete"]);
    assert_eq!(told, (&json!("upstream_key"), &json!(503), &json!(false)), "{record}");
    assert!(record.get("key").is_none(), "{record}");
}

/// `research` for a team, `haiku` for a grant, and nothing for others.
fn keys(scene: &Scene) -> String {
    scene.key("research", "teams = [\"research\"]") + &scene.key("haiku", "grants = [\"claude:haiku\"]")
}

#[tokio::test]
async fn a_call_bears_the_key_of_its_team_else_of_its_grant_else_the_rest() {
    let scene = Scene::with_keys("whose", &["research", "haiku", "rest"]);
    let proxy = scene.proxy("", &(keys(&scene) + &scene.key("rest", ""))).await;
    let scopes = "claude:haiku claude:sonnet";
    for (teams, model, key) in [
        (vec!["research"], HAIKU, "research"),
        (vec!["sales", "research"], SONNET, "research"),
        (vec!["sales"], HAIKU, "haiku"),
        (vec![], HAIKU, "haiku"),
        (vec!["sales"], SONNET, "rest"),
        (vec!["Research"], SONNET, "rest"),
    ] {
        let token = token(scopes, &teams);
        for _ in 0..3 {
            let answer = proxy.answer(&token, &message(model)).await;
            assert_eq!(answer.status, 200);
            assert_eq!(scene.used().last().unwrap(), key, "{teams:?} {model}");
            assert_eq!(proxy.record(&answer.id).await["key"], key);
        }
    }
}

#[tokio::test]
async fn a_call_never_bears_the_key_of_others() {
    let scene = Scene::with_keys("whose-only", &["haiku"]);
    let proxy = scene.proxy("", &keys(&scene)).await;
    let (researcher, seller) = (token("claude:haiku", &["research"]), token("claude:haiku", &["sales"]));
    for (status, headers, body) in
        [(401, vec![], refused()), (429, vec![("retry-after", "60")], limited()), (401, vec![], refused())]
    {
        if status == 429 {
            scene.accept("research", status, &headers);
        } else {
            scene.refuse("research");
        }
        let before = scene.used().len();
        for _ in 0..3 {
            expect_passed_on(&proxy.answer(&researcher, &message(HAIKU)).await, status, &body);
        }
        assert_eq!(scene.used().split_off(before), ["research"; 3]);
        assert_eq!(proxy.answer(&seller, &message(HAIKU)).await.status, 200, "others are served meanwhile");
        assert_eq!(scene.used().last().unwrap(), "haiku");
    }
}

#[tokio::test]
async fn a_caller_for_whom_there_is_no_key_is_refused_and_nothing_is_sent() {
    let scene = Scene::with_keys("whose-none", &["research"]);
    let proxy = scene.proxy("", &scene.key("research", "teams = [\"research\"]")).await;
    expect_no_key(&proxy, &token("claude:haiku", &["sales"])).await;
    expect_no_key(&proxy, &token("claude:haiku", &[])).await;
    assert!(scene.upstream.log().is_empty());
    assert_eq!(proxy.answer(&token("claude:haiku", &["research"]), &message(HAIKU)).await.status, 200);
}
