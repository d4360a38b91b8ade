//! A new process takes over from the running one.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};

use super::harness::load::Load;
use super::harness::{HAIKU, Proxy, message, run, streamed};

/// The line of processes that a proxy is: each succeeds the one before. The last one ends with this value.
pub struct Line<'p> {
    proxy: &'p Proxy,
    pid: u32,
    upgrades: usize,
}

const TAKEN_OVER: &str = "another process has taken over";

impl<'p> Line<'p> {
    pub fn of(proxy: &'p Proxy) -> Self {
        Self { proxy, pid: proxy.pid(), upgrades: 0 }
    }

    fn signal(&self, name: &str) -> bool {
        let kill = Command::new("kill").arg(format!("-{name}")).arg(self.pid.to_string()).output().unwrap();
        kill.status.success()
    }

    /// Has the process that serves succeeded by another one.
    pub async fn upgrade(&mut self) {
        assert!(self.signal("USR2"));
        self.upgrades += 1;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let log = self.proxy.log();
            if let Some(line) = log.lines().filter(|line| line.contains(TAKEN_OVER)).nth(self.upgrades - 1) {
                self.pid = line.rsplit_once("pid=").unwrap().1.trim().parse().unwrap();
                return;
            }
            assert!(Instant::now() < deadline, "nobody took over: {log}");
            tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline
        }
    }

    /// Ends the process that serves, and waits until it is gone.
    pub async fn stop(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        assert!(self.signal("TERM"));
        while self.signal("0") {
            assert!(Instant::now() < deadline, "it does not end: {}", self.proxy.log());
            tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline
        }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.upgrades > 0 {
            self.signal("KILL"); // the proxy's own process is ended by its value
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_upgrades_under_load_fail_no_call_and_lose_no_record() {
    let proxy = Proxy::with("upgrade-load", "").await;
    let mut line = Line::of(&proxy);
    let mut load = Load::start(&proxy, 100);
    load.goes_on(50).await;
    for _ in 0..5 {
        line.upgrade().await;
        load.goes_on(50).await;
    }
    let calls = load.stop_and_expect_success().await;
    line.stop().await;
    let records = proxy.records();
    let ends = records.iter().filter(|line| line["event"] == "end").count();
    assert_eq!((ends, records.iter().filter(|line| line["complete"] == true).count()), (calls, calls));
    let verified = run(&["audit", "verify", proxy.audit.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_under_way_is_finished_by_the_process_that_began_it() {
    let proxy = Proxy::with("upgrade-stream", "").await;
    let mut line = Line::of(&proxy);
    let call =
        proxy.request(Method::POST, "/v1/messages", &proxy.token).header("anthropic-standin", "events=60;gap=50");
    let mut stream = call.body(streamed(HAIKU).to_string()).send().await.unwrap();
    stream.chunk().await.unwrap().unwrap();
    line.upgrade().await;
    assert_eq!(proxy.post(&proxy.token, &message(HAIKU)).await.status(), 200, "the new process serves");
    let mut text = Vec::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text.extend_from_slice(&chunk);
    }
    assert!(text.ends_with(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
    let records = proxy.records_when(|records| records.iter().filter(|line| line["event"] == "end").count() == 2).await;
    assert!(records.iter().filter(|line| line["event"] == "end").all(|line| line["complete"] == true));
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_counts_in_the_new_process() {
    let limits = "[[limit]]\nname = \"brief\"\nper = \"subject\"\nrequests = \"3/min\"\n";
    let proxy = Proxy::with("upgrade-limits", limits).await;
    let mut line = Line::of(&proxy);
    for _ in 0..2 {
        assert_eq!(proxy.post(&proxy.token, &message(HAIKU)).await.status(), 200);
    }
    line.upgrade().await;
    assert_eq!(proxy.post(&proxy.token, &message(HAIKU)).await.status(), 200);
    assert_eq!(proxy.post(&proxy.token, &message(HAIKU)).await.status(), 429);
    line.upgrade().await;
    assert_eq!(proxy.post(&proxy.token, &message(HAIKU)).await.status(), 429);
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_process_can_take_over_the_old_one_goes_on() {
    let proxy = Proxy::with("upgrade-faulty", "").await;
    let config = proxy.folder.join("upgrade-faulty.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[listen]", "[listen]\nnonsense = 1")).unwrap();
    let mut line = Line::of(&proxy);
    assert!(line.signal("USR2"));
    proxy.until_log("no other process has taken over").await;
    assert!(proxy.log().contains("nonsense"), "the new process says why: {}", proxy.log());
    assert_eq!(proxy.post(&proxy.token, &message(HAIKU)).await.status(), StatusCode::OK);
    std::fs::write(&config, text).unwrap();
    line.upgrade().await;
    assert_eq!(proxy.post(&proxy.token, &message(HAIKU)).await.status(), StatusCode::OK);
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_clients_keep_lose_no_request() {
    let proxy = Proxy::with("upgrade-kept", "").await;
    let mut line = Line::of(&proxy);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let call = http.post(format!("{}/v1/messages", proxy.base_url)).bearer_auth(&proxy.token);
            let call = call.header("anthropic-version", "2023-06-01").header("content-type", "application/json");
            let (call, over) = (call.body(message(HAIKU).to_string()), Arc::clone(&over));
            tokio::spawn(async move {
                let mut calls = 0;
                while !over.load(Ordering::Relaxed) {
                    let answer = call.try_clone().unwrap().send().await.unwrap();
                    assert_eq!(answer.status(), StatusCode::OK);
                    answer.bytes().await.unwrap();
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    for _ in 0..3 {
        line.upgrade().await;
    }
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await.unwrap() > 0); // how many is the machine's to say
    }
    line.stop().await;
}
