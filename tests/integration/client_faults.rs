//! Clients that break off, stall or send what is no HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{HAIKU, Sandbox, message, streamed};

fn address(sandbox: &Sandbox) -> SocketAddr {
    sandbox.ready.base_url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// A whole request as bytes.
fn raw(sandbox: &Sandbox, head: &str, body: &str) -> Vec<u8> {
    let token = &sandbox.ready.token;
    format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nanthropic-version: 2023-06-01\r\nconnection: close\r\n{head}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends `bytes` and returns all that comes back until the proxy closes or `wait` is over.
async fn exchange(sandbox: &Sandbox, bytes: &[u8], wait: Duration) -> String {
    let mut connection = TcpStream::connect(address(sandbox)).await.unwrap();
    let _ = connection.write_all(bytes).await; // the proxy may have closed already
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(wait, connection.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_client_may_leave_at_any_byte() {
    let sandbox = Sandbox::start(&["--plaintext"]);
    let request = raw(&sandbox, "", &streamed(HAIKU).to_string());
    let head = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let cuts: Vec<usize> = (0..request.len()).filter(|cut| cut % 37 == 0 || cut.abs_diff(head) < 3).collect();
    for cuts in cuts.chunks(16) {
        join_all(cuts.iter().map(|cut| async {
            let mut connection = TcpStream::connect(address(&sandbox)).await.unwrap();
            connection.write_all(&request[..*cut]).await.unwrap();
        }))
        .await;
    }
    // And one that leaves after the first bytes of its answer.
    let mut connection = TcpStream::connect(address(&sandbox)).await.unwrap();
    connection.write_all(&request).await.unwrap();
    connection.read_u8().await.unwrap();
    drop(connection);

    let whole_heads = cuts.iter().filter(|&&cut| cut >= head).count() + 1;
    let records = sandbox.records_when(|records| records.len() >= whole_heads).await;
    assert_eq!(records.len(), whole_heads, "one record for each request whose head came whole");
    assert_eq!(records.iter().filter(|record| record["decision"] == "undecided").count(), whole_heads - 1);
    assert_eq!(sandbox.post(&message(HAIKU)).await.status(), 200, "and others are served");
    sandbox.until_metric("portcullis_request_body_held_bytes", |held| held == 0).await;
    sandbox.until_metric("portcullis_requests_in_flight", |requests| requests == 0).await;
}

#[tokio::test]
async fn bytes_that_are_no_http_are_refused() {
    let sandbox = Sandbox::shared();
    let body = message(HAIKU).to_string();
    let wait = Duration::from_secs(10);
    for (bytes, expected) in [
        (b"\x16\x03\x01\x02\x00\x01\x00".repeat(10), "HTTP/1.1 400"),
        (b"GET / HTTP/9.9\r\n\r\n".to_vec(), "HTTP/1.1 400"),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), "HTTP/1.1 405"),
        (raw(sandbox, "content-length: 3\r\n", &body), "HTTP/1.1 400"),
        (raw(sandbox, "upgrade: websocket\r\nconnection: upgrade\r\n", &body), "HTTP/1.1 400"),
        (raw(sandbox, "transfer-encoding: chunked\r\n", "zz\r\n"), "HTTP/1.1 400"),
        (raw(sandbox, "content-encoding: br\r\n", &body), "HTTP/1.1 400"),
    ] {
        let answer = exchange(sandbox, &bytes, wait).await;
        assert!(answer.starts_with(expected), "{:?} -> {answer}", String::from_utf8_lossy(&bytes));
    }
    assert_eq!(sandbox.post(&message(HAIKU)).await.status(), 200);
}

#[tokio::test]
async fn odd_headers_that_are_legal_pass() {
    let sandbox = Sandbox::shared();
    let body = message(HAIKU).to_string();
    let odd = b"x-odd: \xff\xfe\r\nconnection: close, x-api-key, content-length\r\n";
    let mut request = raw(sandbox, "@", &body);
    let at = request.iter().position(|&byte| byte == b'@').unwrap();
    request.splice(at..=at, odd.iter().copied());
    let answer = exchange(sandbox, &request, Duration::from_secs(10)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
