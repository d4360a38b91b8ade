//! A stop waits for the requests under way.

use reqwest::Method;

use super::harness::{HAIKU, Sandbox, message, streamed, trusting};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_under_way_is_finished_and_recorded_before_the_process_ends() {
    let mut sandbox = Sandbox::start(&["--plaintext"]);
    let call = sandbox.request(Method::POST, "/v1/messages").header("anthropic-standin", "events=30;gap=20");
    let mut response = call.body(streamed(HAIKU).to_string()).send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    sandbox.process.signal("TERM");
    let mut rest = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        rest.extend_from_slice(&chunk);
    }
    assert!(rest.ends_with(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
    let status = tokio::task::block_in_place(|| sandbox.process.wait());
    assert!(status.success(), "{status}");
    let records = sandbox.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["complete"], true);
}

#[tokio::test]
async fn an_idle_proxy_stops_at_once_and_takes_no_new_connection() {
    let mut sandbox = Sandbox::start(&["--plaintext"]);
    assert_eq!(sandbox.post(&message(HAIKU)).await.status(), 200);
    let started = std::time::Instant::now();
    sandbox.process.signal("TERM");
    let status = sandbox.process.wait();
    assert!(status.success(), "{status}");
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    let http = trusting(&sandbox.ready.ca_file).build().unwrap();
    assert!(http.get(&sandbox.ready.base_url).send().await.unwrap_err().is_connect());
}

#[tokio::test]
async fn an_interrupt_leaves_the_record_of_what_was_answered() {
    let mut sandbox = Sandbox::start(&["--plaintext"]);
    for _ in 0..20 {
        sandbox.post(&message(HAIKU)).await.bytes().await.unwrap();
    }
    sandbox.process.signal("INT");
    let status = sandbox.process.wait();
    assert!(status.success(), "{status}");
    assert_eq!(sandbox.records().len(), 20);
}
