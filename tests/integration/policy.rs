//! Policy through the real binary: what grants open, what callers are told, and what is shown of the unknown.

use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{HAIKU, Proxy, Sandbox, message, request_id, run, unique_id};

const GRANTS: &str = "
[[grant]]
name = \"narrow\"
scope = \"t:narrow\"
models = [\"claude-haiku-*\"]
max_tokens = 100

[[grant]]
name = \"wide\"
scope = \"t:wide\"
models = [\"claude-haiku-*\"]
endpoints = [\"messages\", \"batches\"]
max_thinking_tokens = 2000
server_tools = [\"web_search\"]
deny_betas = [\"mcp-client-*\"]
inference_geo = [\"us\"]

[[grant]]
name = \"no-fetch\"
scope = \"*\"
deny = true
server_tools = [\"web_fetch\"]
";

fn with(name: &str, value: Value) -> Value {
    let mut body = message(HAIKU);
    body["inference_geo"] = "us".into();
    body[name] = value;
    body
}

#[tokio::test]
async fn grants_open_what_they_name_and_the_reason_of_a_refusal_is_told() {
    let proxy = Proxy::with("policy", GRANTS).await;
    let sandbox = Sandbox::shared();
    let (narrow, wide) = (sandbox.token_of("alice", "t:narrow"), sandbox.token_of("bob", "t:wide"));
    let tool = |kind: &str, name: &str| with("tools", json!([{ "type": kind, "name": name }]));
    for (token, body, status, reason) in [
        (&narrow, message(HAIKU), 200, ""),
        (&narrow, with("max_tokens", json!(101)), 403, "max_tokens_forbidden"),
        (&narrow, tool("web_search_20250305", "web_search"), 403, "server_tool_forbidden"),
        (&wide, tool("web_search_20250305", "web_search"), 200, ""),
        (&wide, tool("web_fetch_20250910", "web_fetch"), 403, "rule_denied"),
        (&wide, tool("code_execution_20250825", "code_execution"), 403, "server_tool_forbidden"),
        (
            &wide,
            with("mcp_servers", json!([{ "type": "url", "url": "https://x.test", "name": "x" }])),
            403,
            "mcp_servers_forbidden",
        ),
        (&wide, with("thinking", json!({ "type": "enabled", "budget_tokens": 2001 })), 403, "thinking_forbidden"),
        (&wide, message(HAIKU), 403, "inference_geo_forbidden"),
        (&wide, with("inference_geo", json!("eu")), 403, "inference_geo_forbidden"),
        (
            &wide,
            with("container", json!({ "skills": [{ "type": "anthropic", "skill_id": "pdf" }] })),
            403,
            "skills_forbidden",
        ),
        (
            &wide,
            with(
                "messages",
                json!([{ "role": "user", "content": [{ "type": "document", "source": { "type": "file", "file_id": "file_1" } }] }]),
            ),
            403,
            "files_forbidden",
        ),
    ] {
        let answer = proxy.post(token, &body).await;
        let answered = answer.status().as_u16();
        let record = proxy.record(&request_id(&answer)).await;
        assert_eq!(answered, status, "{body} {record}");
        if status == 403 {
            assert_eq!(record["reason"], reason, "{body}");
        }
    }
    let beta = proxy
        .request(Method::POST, "/v1/messages", &wide)
        .header("anthropic-beta", "context-1m-2025-08-07, mcp-client-2025-11-20");
    let answer = beta.body(with("stream", json!(false)).to_string()).send().await.unwrap();
    assert_eq!(proxy.record(&request_id(&answer)).await["reason"], "beta_forbidden");
}

#[tokio::test]
async fn a_batch_is_judged_item_by_item() {
    let proxy = Proxy::with("policy-batch", GRANTS).await;
    let token = Sandbox::shared().token_of("bob", "t:wide");
    let item = |number: usize, params: Value| json!({ "custom_id": format!("c-{number}"), "params": params });
    let good = || with("max_tokens", json!(10));
    let send = |items: Vec<Value>| {
        proxy
            .request(Method::POST, "/v1/messages/batches", &token)
            .body(json!({ "requests": items }).to_string())
            .send()
    };
    assert_eq!(send((0..50).map(|number| item(number, good())).collect()).await.unwrap().status(), 200);
    let mut items: Vec<_> = (0..50).map(|number| item(number, good())).collect();
    items[37]["params"]["model"] = "claude-opus-5-5".into();
    let answer = send(items).await.unwrap();
    assert_eq!(answer.status(), 403);
    assert_eq!(proxy.record(&request_id(&answer)).await["reason"], "model_forbidden");
}

#[tokio::test]
async fn callers_learn_who_they_are_and_what_they_may() {
    let proxy = Proxy::with(
        "policy-whoami",
        &format!("{GRANTS}\n[[limit]]\nname = \"hourly\"\nper = \"subject\"\nrequests = \"5/h\"\n"),
    )
    .await;
    let sandbox = Sandbox::shared();
    let mut claims = sandbox.claims("alice", "t:narrow claude:sonnet");
    claims["groups"] = json!(["research"]);
    let token = sandbox.sign(&claims);
    let whoami = proxy.whoami(&token).await;
    assert_eq!(
        (&whoami["issuer"], &whoami["subject"], &whoami["teams"]),
        (&json!("sandbox"), &json!("alice"), &json!(["research"]))
    );
    let grants: Vec<&str> =
        whoami["grants"].as_array().unwrap().iter().map(|grant| grant["name"].as_str().unwrap()).collect();
    assert!(grants.contains(&"narrow") && grants.contains(&"claude:sonnet") && !grants.contains(&"wide"), "{whoami}");
    let limit = &whoami["limits"][0];
    assert_eq!(
        (&limit["name"], &limit["measure"], &limit["limit"], &limit["remaining"]),
        (&json!("hourly"), &json!("requests"), &json!(5), &json!(5))
    );
    assert!(limit["reset"].is_string() && whoami["expires"].is_string(), "{whoami}");
    let anonymous = proxy.http.get(format!("{}/portcullis/whoami", proxy.base_url)).send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
    assert_eq!(proxy.record(&request_id(&anonymous)).await["reason"], "credential_missing");
    let posted = proxy.request(Method::POST, "/portcullis/whoami", &token).send().await.unwrap();
    assert_eq!(posted.status(), 404);
}

#[tokio::test]
async fn betas_and_fields_never_seen_before_are_counted() {
    let proxy = Proxy::with("policy-unseen", "").await;
    let mut body = message(HAIKU);
    body["shiny_new_field"] = json!(1);
    let call = proxy
        .request(Method::POST, "/v1/messages", &proxy.token)
        .header("anthropic-beta", "shiny-2031-01-01,context-1m-2025-08-07");
    assert_eq!(call.body(body.to_string()).send().await.unwrap().status(), 200);
    let metrics = proxy.metrics().await;
    for line in [
        "portcullis_unknown_names_total{kind=\"beta\",name=\"shiny-2031-01-01\"} 1",
        "portcullis_unknown_names_total{kind=\"field\",name=\"shiny_new_field\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert!(!metrics.contains("context-1m"), "a known beta is none");
    for number in 0..300 {
        let call = proxy
            .request(Method::POST, "/v1/messages", &proxy.token)
            .header("anthropic-beta", format!("made-up-{number}"));
        call.body(message(HAIKU).to_string()).send().await.unwrap();
    }
    let metrics = proxy.metrics().await;
    let names = metrics.lines().filter(|line| line.starts_with("portcullis_unknown_names_total{")).count();
    assert!(names <= 130, "clients cannot grow the metrics without bound: {names}");
    assert!(metrics.contains("name=\"other\""), "{metrics}");
}

#[test]
fn explain_prints_the_decision_and_the_rule_behind_each_step() {
    let sandbox = Sandbox::shared();
    let text = std::fs::read_to_string(&sandbox.ready.config_file).unwrap();
    let config = sandbox.folder.path().join(format!("{}.toml", unique_id()));
    std::fs::write(&config, format!("{text}\n{GRANTS}")).unwrap();
    let body = sandbox.folder.path().join("explain.json");
    let explain = |who: &[&str], asked: &Value| {
        std::fs::write(&body, asked.to_string()).unwrap();
        let mut arguments = vec!["explain", "--config", config.to_str().unwrap(), "--body", body.to_str().unwrap()];
        arguments.extend(who);
        let output = run(&arguments);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let token = sandbox.token_of("alice", "t:narrow");
    let (code, text) = explain(&["--token", &token], &message(HAIKU));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("alice") && text.contains("narrow"), "{text}");
    let (code, text) = explain(&["--token", &token], &message("claude-opus-5-5"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("model_forbidden"), "{text}");
    let claims = sandbox.claims("bob", "t:wide").to_string();
    let (code, text) = explain(&["--claims", &claims], &with("stream", json!(true)));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("wide") && text.contains("signature"), "{text}");
    let (code, text) = explain(&["--token", &format!("{token}x")], &message(HAIKU));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("token_invalid"), "{text}");
}

#[tokio::test]
async fn addresses_are_judged_before_tokens_and_the_rule_is_on_record() {
    let rules = "[address]\nallow = [\"203.0.113.0/24\", \"2001:db8::/32\"]\ndeny = [\"203.0.113.66/32\"]\n";
    let proxy = Proxy::start("policy-address", |text| {
        format!("{}\n{rules}", text.replace("[admin]", "trusted_proxies = [\"127.0.0.0/8\"]\n[admin]"))
    });
    proxy.until_ready().await;
    for (forwarded, status, rule) in [
        (Some("203.0.113.7"), 200, "claude:haiku"),
        (Some("198.51.100.1, 203.0.113.7"), 200, "claude:haiku"),
        (Some("2001:db8::1"), 200, "claude:haiku"),
        (Some("203.0.113.66"), 403, "203.0.113.66/32"),
        (Some("203.0.113.7, 203.0.113.66"), 403, "203.0.113.66/32"),
        (Some("::ffff:203.0.113.66"), 403, "203.0.113.66/32"),
        (Some("198.51.100.1"), 403, "address.allow"),
        (None, 403, "address.allow"),
    ] {
        let call = proxy.request(Method::POST, "/v1/messages", &proxy.token).body(message(HAIKU).to_string());
        let call = forwarded.into_iter().fold(call, |call, address| call.header("x-forwarded-for", address));
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), status, "{forwarded:?}");
        let record = proxy.record(&request_id(&answer)).await;
        assert!(record["rule"].as_str().unwrap().contains(rule), "{forwarded:?} {record}");
    }
    let forged = proxy.request(Method::POST, "/v1/messages", "a.b.c").header("x-forwarded-for", "203.0.113.66");
    let answer = forged.body(message(HAIKU).to_string()).send().await.unwrap();
    assert_eq!(proxy.record(&request_id(&answer)).await["reason"], "address_forbidden");
}
