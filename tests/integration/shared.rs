//! Two proxies on one Redis: one limit, one list of revocations, and what holds when Redis is gone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::json;

use super::harness::redis::Redis;
use super::harness::{HAIKU, Proxy, Sandbox, message, request_id};

fn store(redis: &Redis) -> String {
    format!("[store]\nredis = \"redis://127.0.0.1:{}\"\ninstances = 2\n", redis.port())
}

/// Two proxies that share `redis`, both with `more`.
async fn pair(name: &str, redis: &Redis, more: &str) -> [Proxy; 2] {
    let configuration = format!("{}{more}", store(redis));
    let proxies = [
        Proxy::with(&format!("{name}-one"), &configuration).await,
        Proxy::with(&format!("{name}-two"), &configuration).await,
    ];
    for proxy in &proxies {
        proxy.until_metric("portcullis_store_up", |up| up == 1).await;
    }
    proxies
}

#[tokio::test]
async fn two_proxies_keep_one_limit_exactly() {
    let redis = Redis::start();
    let [one, two] =
        pair("shared", &redis, "[[limit]]\nper = \"subject\"\nrequests = \"60/h\"\non_store_failure = \"closed\"\n")
            .await;
    let token = Sandbox::shared().token_of("alice", "claude:haiku");
    let body = message(HAIKU);
    let mut statuses = Vec::new();
    for _ in 0..10 {
        let calls = (0..100)
            .map(|number: u32| if number.is_multiple_of(2) { &one } else { &two })
            .map(|proxy| proxy.post(&token, &body));
        statuses.extend(join_all(calls).await.iter().map(|answer| answer.status().as_u16()));
    }
    let count = |status| statuses.iter().filter(|&&answered| answered == status).count();
    // Where a machine is too slow for the store, a call is refused for that, counted perhaps, and never let through.
    let (granted, unanswered) = (count(200), count(503));
    assert!(granted <= 60 && granted + unanswered >= 60, "{granted} granted, {unanswered} times no answer in time");
    assert_eq!(granted + count(429) + unanswered, 1000);
    let whoami = two.whoami(&token).await;
    let remaining = whoami["limits"][0]["remaining"].as_u64().unwrap();
    assert!(remaining <= unanswered as u64, "{remaining} left, {unanswered} times no answer in time");
}

#[tokio::test]
async fn what_one_proxy_settles_the_other_counts() {
    let redis = Redis::start();
    let [one, two] =
        pair("settled", &redis, "[[limit]]\nper = \"subject\"\noutput_tokens = \"100000/h\"\nconcurrent = 5\n").await;
    let token = Sandbox::shared().token_of("alice", "claude:haiku");
    let mut call = message(HAIKU);
    call["max_tokens"] = 50_000.into();
    let answer = one.post(&token, &call).await;
    assert_eq!(answer.status(), 200);
    let id = request_id(&answer);
    let used: serde_json::Value = answer.json().await.unwrap();
    one.record(&id).await;
    one.until_metric("portcullis_store_waiting", |waiting| waiting == 0).await;
    let expected = 100_000 - used["usage"]["output_tokens"].as_u64().unwrap();
    let limits = two.whoami(&token).await["limits"].clone();
    let of = |measure: &str| {
        limits.as_array().unwrap().iter().find(|limit| limit["measure"] == measure).unwrap()["remaining"].clone()
    };
    assert_eq!((of("output_tokens"), of("concurrent")), (json!(expected), json!(5)));
}

#[tokio::test]
async fn each_limit_says_what_holds_while_redis_is_gone_and_no_call_waits_for_it() {
    let mut redis = Redis::start();
    let rules = "[[limit]]\nname = \"local\"\nper = \"subject\"\nmodels = [\"claude-haiku-4-5\"]\nrequests = \"20/h\"\n\
                 [[limit]]\nname = \"open\"\nper = \"subject\"\nmodels = [\"claude-haiku-4-5-20251001\"]\nrequests = \"5/h\"\non_store_failure = \"open\"\n\
                 [[limit]]\nname = \"closed\"\nper = \"subject\"\nmodels = [\"claude-haiku-5-5\"]\nrequests = \"50/h\"\non_store_failure = \"closed\"\n";
    let [one, two] = pair("gone", &redis, rules).await;
    let token = Sandbox::shared().token_of("alice", "claude:haiku");
    let answer = one.post(&token, &message("claude-haiku-5-5")).await;
    assert_eq!(answer.status(), 200);

    redis.kill();
    let mut slowest = Duration::ZERO;
    let statuses = |model: &'static str, calls: usize| {
        let (one, two, token) = (&one, &two, &token);
        async move {
            let mut statuses = Vec::new();
            let mut longest = Duration::ZERO;
            for number in 0..calls {
                let proxy = if number.is_multiple_of(2) { one } else { two };
                let asked = Instant::now();
                statuses.push(proxy.post(token, &message(model)).await.status());
                longest = longest.max(asked.elapsed());
            }
            (statuses, longest)
        }
    };
    let (closed, longest) = statuses("claude-haiku-5-5", 6).await;
    slowest = slowest.max(longest);
    assert!(closed.iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE), "{closed:?}");
    let (open, longest) = statuses("claude-haiku-4-5-20251001", 12).await;
    slowest = slowest.max(longest);
    assert!(open.iter().all(|status| *status == StatusCode::OK), "{open:?}");
    let (local, longest) = statuses("claude-haiku-4-5", 30).await;
    slowest = slowest.max(longest);
    let granted = local.iter().filter(|status| **status == StatusCode::OK).count();
    assert_eq!(granted, 20, "each of two hosts grants its half");
    assert!(slowest < Duration::from_secs(1), "50 ms for the store, the rest for a busy machine: {slowest:?}");
    for proxy in [&one, &two] {
        proxy.until_metric("portcullis_store_up", |up| up == 0).await;
    }

    redis.revive();
    for proxy in [&one, &two] {
        proxy.until_metric("portcullis_store_up", |up| up == 1).await;
        proxy.until_metric("portcullis_store_waiting", |waiting| waiting == 0).await;
    }
    assert_eq!(one.post(&token, &message("claude-haiku-5-5")).await.status(), 200);
    let whoami = one.whoami(&token).await;
    let left = |name: &str| {
        whoami["limits"].as_array().unwrap().iter().find(|limit| limit["name"] == name).unwrap()["remaining"].clone()
    };
    assert_eq!(left("local"), 0, "what hosts granted by themselves is counted when Redis is back");
    assert_eq!(left("open"), 0);
}

#[tokio::test]
async fn a_set_in_redis_revokes_on_every_host_within_a_second() {
    let mut redis = Redis::start();
    let revocation = "[revocation]\nstore_key = \"portcullis:revoked\"\nmax_staleness = \"2s\"\n";
    let [one, two] = pair("revoked", &redis, revocation).await;
    let token = Sandbox::shared().token_of("alice", "claude:haiku");
    for proxy in [&one, &two] {
        // Until the set was read for the first time, nobody is let in.
        let deadline = Instant::now() + Duration::from_secs(20);
        while proxy.post(&token, &message(HAIKU)).await.status() != 200 {
            assert!(Instant::now() < deadline, "never let in");
        }
    }
    let added = std::process::Command::new("redis-cli")
        .args(["-p", &redis.port().to_string(), "SADD", "portcullis:revoked", "subject@sandbox alice", "no revocation"])
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    let changed = Instant::now();
    for proxy in [&one, &two] {
        loop {
            let answer = proxy.post(&token, &message(HAIKU)).await;
            if answer.status() == 401 {
                assert_eq!(proxy.record(&request_id(&answer)).await["reason"], "token_revoked");
                break;
            }
            assert_eq!(answer.status(), 200);
            assert!(changed.elapsed() < Duration::from_secs(1), "not in force within a second");
        }
    }
    one.until_metric("portcullis_revocation_faulty", |faulty| faulty == 1).await;

    redis.kill();
    let bob = Sandbox::shared().token_of("bob", "claude:haiku");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = one.post(&bob, &message(HAIKU)).await;
        if answer.status() == 503 {
            assert_eq!(one.record(&request_id(&answer)).await["reason"], "revocation_unavailable");
            break;
        }
        assert!(Instant::now() < deadline, "an old list is trusted for ever");
        tokio::time::sleep(Duration::from_millis(20)).await; // a poll with a deadline
    }
}

#[tokio::test]
async fn redis_dies_and_comes_back_under_load_and_no_call_fails_or_goes_uncounted() {
    const WORKERS: usize = 8;
    let mut redis = Redis::start();
    let [one, two] =
        pair("load", &redis, "[[limit]]\nper = \"subject\"\nrequests = \"100000/h\"\nconcurrent = 50\n").await;
    let token = Sandbox::shared().token_of("alice", "claude:haiku");
    let body = message(HAIKU);
    let (done, failed, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let slowest = AtomicU64::new(0);
    let worker = |number: usize| {
        let proxy = if number.is_multiple_of(2) { &one } else { &two };
        let (token, body, done, failed, stop, slowest) = (&token, &body, &done, &failed, &stop, &slowest);
        async move {
            while !stop.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let answer = proxy.post(token, body).await;
                let took = u64::try_from(asked.elapsed().as_millis()).unwrap();
                slowest.fetch_max(took, Ordering::Relaxed);
                if answer.status() == 200 { done } else { failed }.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let after = |calls: u64| {
        let (done, from) = (&done, done.load(Ordering::Relaxed));
        async move {
            let deadline = Instant::now() + Duration::from_secs(60);
            while done.load(Ordering::Relaxed) < from + calls {
                assert!(Instant::now() < deadline, "the load has stopped");
                tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline
            }
            done.load(Ordering::Relaxed) - from
        }
    };
    let story = async {
        after(100).await;
        redis.kill();
        for proxy in [&one, &two] {
            proxy.until_metric("portcullis_store_up", |up| up == 0).await;
        }
        let without = after(100).await;
        redis.revive();
        for proxy in [&one, &two] {
            proxy.until_metric("portcullis_store_up", |up| up == 1).await;
        }
        after(100).await;
        stop.store(true, Ordering::Relaxed);
        without
    };
    let (without, _) = futures_util::future::join(story, join_all((0..WORKERS).map(worker))).await;
    assert_eq!(failed.load(Ordering::Relaxed), 0, "a limit that holds locally fails no call");
    assert!(slowest.load(Ordering::Relaxed) < 2000, "50 ms for the store, the rest for a busy machine");
    for proxy in [&one, &two] {
        proxy.until_metric("portcullis_store_waiting", |waiting| waiting == 0).await;
        proxy.until_metric("portcullis_store_lost_total", |lost| lost == 0).await;
    }
    let whoami = two.whoami(&token).await;
    let left = |measure: &str| {
        let limit = whoami["limits"].as_array().unwrap().iter().find(|limit| limit["measure"] == measure).unwrap();
        limit["remaining"].as_u64().unwrap()
    };
    // What Redis itself held is gone with it; what was granted without it, and since, is there.
    let counted = 100_000 - left("requests");
    assert!(counted >= without + 100 && counted <= done.load(Ordering::Relaxed), "{counted}, {without} without Redis");
    assert_eq!(left("concurrent"), 50, "every place was given back");
}
