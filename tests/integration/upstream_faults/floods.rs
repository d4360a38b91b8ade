//! Upstreams that send without end: the proxy's memory stays where it was.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::super::harness::script::{Layer, Step};
use super::super::harness::{HAIKU, message, streamed};
use super::{Rig, send};

/// What the proxy may grow by, whatever the upstream sends.
const GROWTH: u64 = 32 << 20;
const MEGABYTE: usize = 1 << 20;

#[tokio::test]
async fn a_hundred_megabytes_of_headers_are_refused_in_bounded_memory() {
    let rig = Rig::plain("headers").await;
    rig.serves("the start").await;
    let before = rig.proxy.peak_memory();
    let status = send("HTTP/1.1 200 OK\r\n");
    for (what, start, part) in [
        ("many headers", "", "x-header: 0123456789abcdef\r\n".repeat(MEGABYTE / 28)),
        ("one header", "x-header: ", "x".repeat(MEGABYTE)),
    ] {
        let steps = [Step::ReadRequest, status.clone(), send(start), Step::Flood(part.into_bytes(), 100), Step::Stall];
        rig.refuses(what, Layer::Http, &steps, (502, "upstream_failed")).await;
        let grown = rig.proxy.peak_memory() - before;
        assert!(grown < GROWTH, "{what}: grew by {grown} bytes");
    }
    rig.has_one_record_each();
}

#[tokio::test]
async fn a_hundred_megabytes_of_a_body_pass_in_bounded_memory() {
    let rig = Rig::plain("long-bodies").await;
    rig.serves("the start").await;
    let before = rig.proxy.peak_memory();
    let length = 100 * MEGABYTE;
    for (what, content_type, body) in
        [("an event", "text/event-stream", streamed(HAIKU)), ("a document", "application/json", message(HAIKU))]
    {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        let steps = [Step::ReadRequest, send(head), Step::Flood(vec![b'x'; MEGABYTE], 100)];
        let outcome = rig.play(Layer::Http, &steps, &body).await;
        assert_eq!((outcome.body.len(), outcome.ended), (length, true), "{what}");
        assert_eq!(outcome.record["response_bytes"], length, "{what}");
        let grown = rig.proxy.peak_memory() - before;
        assert!(grown < GROWTH, "{what}: grew by {grown} bytes");
        rig.serves(what).await;
    }
    rig.has_one_record_each();
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_given_up() {
    let rig = Rig::plain("untaken").await;
    rig.serves("the start").await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n";
    rig.upstream.play(Layer::Http, &[Step::ReadRequest, send(head), Step::Flood(vec![b' '; MEGABYTE], 100)]);
    let mut client = TcpStream::connect(rig.proxy.base_url.strip_prefix("http://").unwrap()).await.unwrap();
    let body = message(HAIKU).to_string();
    let call = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        rig.proxy.token,
        body.len()
    );
    client.write_all(call.as_bytes()).await.unwrap();
    // Not the requests in flight: the one before may still be among them.
    let records = rig.proxy.records_when(|records| records.len() == 2).await;
    assert_eq!(records[1]["complete"], false);
}
