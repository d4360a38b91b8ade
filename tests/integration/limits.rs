//! Limits through the real binary: exact under parallel calls, honest about what is left, and lasting.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::harness::{HAIKU, Proxy, Sandbox, message, request_id, streamed, unique_id};

fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

async fn error_type(response: Response) -> String {
    let error: Value = response.json().await.unwrap();
    error["error"]["type"].as_str().unwrap().to_owned()
}

/// What `whoami` says is left of the only limit on `measure`.
async fn left(proxy: &Proxy, token: &str, measure: &str) -> Value {
    let whoami = proxy.whoami(token).await;
    let limits = whoami["limits"].as_array().unwrap();
    let mut found = limits.iter().filter(|limit| limit["measure"] == measure);
    let limit = found.next().unwrap_or_else(|| panic!("no limit on {measure}: {whoami}"));
    assert!(found.next().is_none(), "{whoami}");
    limit["remaining"].clone()
}

#[tokio::test]
async fn a_thousand_parallel_calls_get_exactly_what_the_limit_says() {
    let proxy = Proxy::with("limit-requests", "[[limit]]\nper = \"subject\"\nrequests = \"25/h\"\n").await;
    let token = Sandbox::shared().token_of("alice", "claude:haiku");
    let body = message(HAIKU);
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.extend(join_all((0..100).map(|_| proxy.post(&token, &body))).await);
    }
    let let_through = answers.iter().filter(|answer| answer.status() == 200).count();
    assert_eq!(let_through, 25);
    for answer in answers.into_iter().filter(|answer| answer.status() != 200) {
        assert_eq!(answer.status(), 429);
        let wait: u64 = header(&answer, "retry-after").unwrap().parse().unwrap();
        assert!((1..=3720).contains(&wait), "{wait}");
        assert_eq!(header(&answer, "anthropic-ratelimit-requests-remaining"), Some("0"));
        assert_eq!(error_type(answer).await, "rate_limit_error");
    }
    let other = Sandbox::shared().token_of("bob", "claude:haiku");
    assert_eq!(proxy.post(&other, &body).await.status(), 200, "another subject has a limit of its own");
}

#[tokio::test]
async fn answers_tell_the_callers_own_limits_and_not_the_companys() {
    let rules = "[[limit]]\nname = \"own\"\nper = \"subject\"\nrequests = \"10/h\"\noutput_tokens = \"10000/h\"\n";
    let proxy = Proxy::with("limit-headers", rules).await;
    let token = Sandbox::shared().token_of("alice", "claude:haiku");
    let answer = proxy.post(&token, &message(HAIKU)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "anthropic-ratelimit-requests-limit"), Some("10"));
    assert_eq!(header(&answer, "anthropic-ratelimit-requests-remaining"), Some("9"));
    assert!(header(&answer, "anthropic-ratelimit-requests-reset").unwrap().ends_with('Z'));
    assert_eq!(header(&answer, "anthropic-ratelimit-output-tokens-limit"), Some("10000"));
    assert_eq!(header(&answer, "anthropic-ratelimit-tokens-limit"), None, "the upstream's");
    assert_eq!(header(&answer, "anthropic-organization-id"), None);
    let id = request_id(&answer);
    let used: Value = answer.json().await.unwrap();
    proxy.record(&id).await;
    let used = used["usage"]["output_tokens"].as_u64().unwrap();
    assert_eq!(left(&proxy, &token, "output_tokens").await, 10_000 - used, "settled with what was used");
}

#[tokio::test]
async fn a_budget_that_is_spent_is_a_billing_error_and_counting_tokens_stays_free() {
    let proxy = Proxy::with("limit-cost", "[[limit]]\nper = \"team\"\ncost_usd = \"0.0005/day\"\n").await;
    let sandbox = Sandbox::shared();
    let mut claims = sandbox.claims("alice", "claude:haiku");
    claims["groups"] = json!(["research"]);
    let token = sandbox.sign(&claims);
    let mut spent = None;
    for _ in 0..20 {
        let answer = proxy.post(&token, &message(HAIKU)).await;
        if answer.status() != 200 {
            spent = Some(answer);
            break;
        }
        let id = request_id(&answer);
        assert!(header(&answer, "anthropic-ratelimit-unified-status").is_some());
        answer.bytes().await.unwrap();
        let record = proxy.record(&id).await;
        assert!(record["cost_micro_usd"].as_u64().unwrap() > 0, "{record}");
    }
    let answer = spent.expect("a budget of a twentieth of a cent lasts for less than twenty calls");
    assert_eq!(answer.status(), 429);
    assert_eq!(header(&answer, "x-should-retry"), Some("false"));
    assert_eq!(header(&answer, "anthropic-ratelimit-unified-status"), Some("rejected"));
    let wait: u64 = header(&answer, "retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&wait), "until midnight, UTC: {wait}");
    let id = request_id(&answer);
    assert_eq!(error_type(answer).await, "billing_error");
    let record = proxy.record(&id).await;
    assert_eq!((&record["reason"], &record["status"]), (&json!("budget_spent"), &json!(429)));
    let count = proxy.request(Method::POST, "/v1/messages/count_tokens", &token);
    assert_eq!(count.body(message(HAIKU).to_string()).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn calls_under_way_are_bounded_and_given_back() {
    let proxy = Proxy::with("limit-concurrent", "[[limit]]\nper = \"subject\"\nconcurrent = 2\n").await;
    let token = Sandbox::shared().token_of("alice", "claude:haiku");
    let stream = || async {
        let call =
            proxy.request(Method::POST, "/v1/messages", &token).header("anthropic-standin", "events=3000;gap=20");
        call.body(streamed(HAIKU).to_string()).send().await.unwrap()
    };
    let (mut first, mut second) = (stream().await, stream().await);
    first.chunk().await.unwrap().unwrap();
    second.chunk().await.unwrap().unwrap();
    let third = proxy.post(&token, &message(HAIKU)).await;
    assert_eq!(third.status(), 429);
    assert_eq!(header(&third, "retry-after"), Some("1"));
    assert_eq!(proxy.record(&request_id(&third)).await["reason"], "limit_concurrent");
    let left_early = request_id(&first);
    drop(first);
    let record = proxy.record(&left_early).await;
    assert_eq!(record["reason"], "client_left");
    assert_eq!(proxy.post(&token, &message(HAIKU)).await.status(), 200, "the one that left gave its place back");
}

#[tokio::test]
async fn what_a_client_used_before_it_left_is_counted() {
    let proxy = Proxy::with("limit-left", "[[limit]]\nper = \"subject\"\noutput_tokens = \"100000/h\"\n").await;
    let token = Sandbox::shared().token_of("alice", "claude:haiku");
    let mut body = streamed(HAIKU);
    body["max_tokens"] = 50_000.into();
    let call = proxy.request(Method::POST, "/v1/messages", &token).header("anthropic-standin", "events=2000;gap=5");
    let mut response = call.body(body.to_string()).send().await.unwrap();
    for _ in 0..5 {
        response.chunk().await.unwrap().unwrap();
    }
    assert_eq!(left(&proxy, &token, "output_tokens").await, 50_000, "reserved while it runs");
    let id = request_id(&response);
    drop(response);
    proxy.record(&id).await;
    let left = left(&proxy, &token, "output_tokens").await.as_u64().unwrap();
    assert!(left < 100_000 && left > 95_000, "{left}");
}

/// Sends a call that the upstream takes in and does not answer, and leaves.
async fn leave_unanswered(proxy: &Proxy, token: &str, path: &str, body: &Value) {
    let (sandbox, id) = (Sandbox::shared(), unique_id());
    let call = proxy.request(Method::POST, path, token).header("anthropic-test-id", &id);
    let call = call.header("anthropic-standin", "delay=60000").body(body.to_string()).send();
    let sent = async {
        while sandbox.seen(&id).await.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await; // a poll
        }
    };
    tokio::select! {
        answer = call => panic!("answered: {answer:?}"),
        () = sent => {}
    }
    proxy.until_metric("portcullis_requests_in_flight", |requests| requests == 0).await;
}

#[tokio::test]
async fn what_runs_on_counts_also_when_its_sender_does_not_wait_for_the_answer() {
    let proxy = Proxy::with("limit-unanswered", "[[limit]]\nper = \"subject\"\noutput_tokens = \"100000/h\"\n").await;
    let sandbox = Sandbox::shared();
    let mut whole = message(HAIKU);
    whole["max_tokens"] = 60_000.into();
    let mut stream = whole.clone();
    stream["stream"] = true.into();
    let batch = json!({ "requests": [{ "custom_id": "a", "params": whole }] });
    for (subject, path, body, remaining) in [
        ("batch", "/v1/messages/batches", &batch, 40_000),
        ("whole", "/v1/messages", &whole, 40_000),
        ("stream", "/v1/messages", &stream, 100_000),
    ] {
        let token = sandbox.token_of(subject, "claude:haiku");
        leave_unanswered(&proxy, &token, path, body).await;
        assert_eq!(left(&proxy, &token, "output_tokens").await, remaining, "{subject}");
    }
}

#[tokio::test]
async fn budgets_survive_a_stop_and_a_crash() {
    let rule = "[[limit]]\nper = \"subject\"\nrequests = \"100/day\"\ncost_usd = \"10/month\"\n";
    let token = Sandbox::shared().token_of("alice", "claude:haiku");
    let proxy = Proxy::with("limit-lasting", rule).await;
    proxy.post(&token, &message(HAIKU)).await.bytes().await.unwrap();
    let second = proxy.post(&token, &message(HAIKU)).await;
    let id = request_id(&second);
    second.bytes().await.unwrap();
    proxy.record(&id).await;
    let cost = left(&proxy, &token, "cost_usd").await;
    assert!(cost.as_f64().unwrap() < 10.0);
    proxy.stop();
    let proxy = Proxy::with("limit-lasting", rule).await;
    assert_eq!(left(&proxy, &token, "requests").await, 98);
    assert_eq!(left(&proxy, &token, "cost_usd").await, cost);
    let saved = proxy.folder.join("state-limit-lasting/budgets.json");
    let before = std::fs::read(&saved).unwrap();
    let answer = proxy.post(&token, &message(HAIKU)).await;
    assert_eq!(answer.status(), 200);
    proxy.record(&request_id(&answer)).await;
    // A crash loses no more than the last moment: the state is written every second.
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::read(&saved).unwrap() == before {
        assert!(Instant::now() < deadline, "the budgets are not saved");
        tokio::time::sleep(Duration::from_millis(20)).await; // a poll with a deadline: files have no other sign
    }
    proxy.kill();
    let proxy = Proxy::with("limit-lasting", rule).await;
    assert_eq!(left(&proxy, &token, "requests").await, 97);
}

#[tokio::test]
async fn a_stream_that_spends_its_reservation_ends_in_an_error_event_when_the_limit_says_so() {
    let rule = "[[limit]]\nper = \"subject\"\noutput_tokens = \"10/h\"\non_exhausted = \"cut\"\n";
    let proxy = Proxy::with("limit-cut", rule).await;
    let token = Sandbox::shared().token_of("alice", "claude:haiku");
    let mut body = streamed(HAIKU);
    body["max_tokens"] = 3.into();
    // The stand-in sends as many deltas as it is told to.
    let call = proxy.request(Method::POST, "/v1/messages", &token).header("anthropic-standin", "events=400;gap=5");
    let response = call.body(body.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let id = request_id(&response);
    let text = response.text().await.unwrap();
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(
        last.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\""),
        "{text}"
    );
    let record = proxy.record(&id).await;
    assert_eq!((&record["complete"], &record["reason"]), (&json!(false), &json!("limit_spent")));
}

#[tokio::test]
async fn sessions_and_agent_trees_are_bounded_within_their_subject() {
    let rules = "[[limit]]\nname = \"session\"\nper = \"session\"\nrequests = \"2/h\"\n\
                 [[limit]]\nname = \"tree\"\nper = \"agent\"\nrequests = \"3/h\"\n";
    let proxy = Proxy::with("limit-session", rules).await;
    let sandbox = Sandbox::shared();
    let (alice, bob) = (sandbox.token_of("alice", "claude:haiku"), sandbox.token_of("bob", "claude:haiku"));
    let ask = |token: String, session: &'static str| {
        let call = proxy.request(Method::POST, "/v1/messages", &token).header("x-claude-code-session-id", session);
        let call = call.body(message(HAIKU).to_string()).send();
        async move { call.await.unwrap().status().as_u16() }
    };
    assert_eq!(ask(alice.clone(), "s-1").await, 200);
    assert_eq!(ask(alice.clone(), "s-1").await, 200);
    assert_eq!(ask(alice.clone(), "s-1").await, 429);
    assert_eq!(ask(alice.clone(), "s-2").await, 200);
    assert_eq!(ask(bob, "s-1").await, 200, "another subject's session of the same name is another");
}

#[tokio::test]
async fn the_door_turns_floods_and_guesses_away_before_any_cryptography() {
    let proxy = Proxy::with("door", "[door]\nrequests = \"40/h\"\nrefused_tokens = \"5/h\"\n").await;
    let forged = format!("{}x", Sandbox::shared().token_of("alice", "claude:haiku"));
    let mut reasons = Vec::new();
    for _ in 0..8 {
        let answer = proxy.post(&forged, &message(HAIKU)).await;
        reasons.push(proxy.record(&request_id(&answer)).await["reason"].as_str().unwrap().to_owned());
    }
    assert_eq!(reasons[..5], ["token_invalid"; 5].map(str::to_owned));
    assert_eq!(reasons[5..], ["door_closed"; 3].map(str::to_owned));
    let good = proxy.post(&proxy.token, &message(HAIKU)).await;
    assert_eq!(good.status(), 429, "whose address guesses is kept out for a while");
}

#[tokio::test]
async fn the_door_does_not_count_tokens_that_cannot_be_verified_while_the_issuer_is_away() {
    let proxy = Proxy::start("door-issuer", |text| {
        let away = text.lines().map(|line| match line.strip_prefix("jwks_uri = ") {
            Some(_) => "jwks_uri = \"http://127.0.0.1:9/jwks.json\"".to_owned(),
            None => line.to_owned(),
        });
        format!("{}\n[door]\nrefused_tokens = \"5/h\"\n", away.collect::<Vec<_>>().join("\n"))
    });
    for _ in 0..8 {
        let answer = proxy.post(&proxy.token, &message(HAIKU)).await;
        assert_eq!(proxy.record(&request_id(&answer)).await["reason"], "issuer_unavailable");
    }
}
