//! A stop waits for the requests under way, and cuts those that take too long.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{HAIKU, Proxy, Sandbox, held_to_schema, lines_of, message, run, streamed, trusting};

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

/// Sends the head of a request and this much of its body, and leaves the rest.
async fn half(proxy: &Proxy, path: &str, media_type: &str, body: &str) -> TcpStream {
    let address: SocketAddr = proxy.base_url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let (token, length) = (&proxy.token, body.len() + 1000);
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nanthropic-version: 2023-06-01\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}

/// A request that asks for an answer and takes none of it.
async fn takes_nothing(proxy: &Proxy) -> TcpStream {
    let address: SocketAddr = proxy.base_url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let (token, body) = (&proxy.token, message(HAIKU).to_string());
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nanthropic-version: 2023-06-01\r\nanthropic-standin: size=60000000\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}

async fn rest_of(mut connection: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await; // what was not read of the body makes it a reset
    String::from_utf8_lossy(&answer).into_owned()
}

fn with_event<'l>(lines: &'l [Value], event: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_at_the_end_is_told_so_and_ends_on_record() {
    for (name, signal, drain) in [("cut-term", "TERM", "300ms"), ("cut-interrupt", "INT", "30s")] {
        let mut proxy = Proxy::start(name, |text| text.replace("[listen]", &format!("[listen]\ndrain = \"{drain}\"")));
        proxy.until_ready().await;
        let call = |directive: &str, body: Value| {
            let call = proxy.request(Method::POST, "/v1/messages", &proxy.token);
            call.header("anthropic-standin", directive.to_owned()).body(body.to_string())
        };
        let mut stream = call("events=3;gap=600000", streamed(HAIKU)).send().await.unwrap();
        stream.chunk().await.unwrap().unwrap();
        let waiting = tokio::spawn(call("delay=600000", message(HAIKU)).send());
        let body = half(&proxy, "/v1/messages", "application/json", "{\"model\":").await;
        let upload = half(&proxy, "/v1/files", "multipart/form-data; boundary=b", "--b\r\n").await;
        let deaf = takes_nothing(&proxy).await;
        proxy.until_metric("portcullis_requests_in_flight", |requests| requests == 5).await;
        let deadline = Instant::now() + Duration::from_secs(20);
        while with_event(&lines_of(&proxy.audit), "begin").len() < 4 {
            assert!(Instant::now() < deadline, "{:#?}", lines_of(&proxy.audit));
            tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline
        }
        let (audit, started) = (proxy.audit.clone(), Instant::now());
        let status = tokio::task::block_in_place(|| proxy.end(signal));
        assert!(status.success(), "{signal}: {status}");
        assert!(started.elapsed() < Duration::from_secs(20), "{signal}: {:?}", started.elapsed());

        let lines = lines_of(&audit);
        assert_eq!(lines.last().unwrap()["event"], "checkpoint");
        let (begins, ends, refused) =
            (with_event(&lines, "begin"), with_event(&lines, "end"), with_event(&lines, "refused"));
        assert_eq!((begins.len(), ends.len(), refused.len()), (4, 4, 1), "{signal}: {lines:#?} {}", proxy.log());
        for begin in begins {
            assert_eq!(ends.iter().filter(|end| end["request_id"] == begin["request_id"]).count(), 1, "{begin:#}");
        }
        for line in ends.into_iter().chain(refused) {
            assert_eq!((&line["reason"], &line["complete"]), (&json!("stopping"), &json!(false)), "{line:#}");
            if line["event"] == "end" {
                assert_eq!(line["closed_by"], "proxy", "{line:#}");
            }
        }
        held_to_schema(lines);
        let verified = run(&["audit", "verify", audit.to_str().unwrap()]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));

        let stream = stream.text().await.unwrap();
        let last = stream.trim_end().rsplit("\n\n").next().unwrap();
        assert!(
            last.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\""),
            "{stream}"
        );
        assert_eq!(waiting.await.unwrap().unwrap().status(), 503);
        assert!(rest_of(body).await.starts_with("HTTP/1.1 503"));
        assert!(rest_of(upload).await.starts_with("HTTP/1.1 503"));
        drop(deaf);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_a_drain() {
    let mut proxy = Proxy::with("cut-twice", "").await;
    let call = proxy.request(Method::POST, "/v1/messages", &proxy.token);
    let call = call.header("anthropic-standin", "events=3;gap=600000").body(streamed(HAIKU).to_string());
    let mut stream = call.send().await.unwrap();
    stream.chunk().await.unwrap().unwrap();
    let (audit, started) = (proxy.audit.clone(), Instant::now());
    proxy.signal("TERM");
    proxy.until_log("draining").await;
    let status = tokio::task::block_in_place(|| proxy.end("INT"));
    assert!(status.success(), "{status}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(with_event(&lines_of(&audit), "end").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_over_http2_ends_on_record_too() {
    let mut sandbox = Sandbox::start(&[]);
    let http2 = trusting(&sandbox.ready.ca_file).build().unwrap();
    let call = |directive: &str, body: Value| {
        let call = http2.post(format!("{}/v1/messages", sandbox.ready.base_url)).bearer_auth(&sandbox.ready.token);
        let call = call.header("anthropic-version", "2023-06-01").header("anthropic-standin", directive.to_owned());
        call.body(body.to_string())
    };
    let mut stream = call("events=3;gap=600000", streamed(HAIKU)).send().await.unwrap();
    assert_eq!(stream.version(), reqwest::Version::HTTP_2);
    stream.chunk().await.unwrap().unwrap();
    let _waiting = tokio::spawn(call("delay=600000", message(HAIKU)).send());
    sandbox.until_metric("portcullis_requests_in_flight", |requests| requests == 2).await;
    sandbox.process.signal("INT");
    let status = tokio::task::block_in_place(|| sandbox.process.wait());
    assert!(status.success(), "{status}");
    let records = sandbox.records();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record["reason"] == "stopping" && record["event"] == "end"), "{records:#?}");
}
