//! What goes wrong once a stream has begun.

use super::super::harness::script::Step;
use super::{Begun, Rig, send};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const EVENT: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-haiku-4-5\",\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n";
const HALF_AN_EVENT: &str = "event: content_block_delta\ndata: {\"type\":\"content_bl";

/// A chunked stream that has sent `body`.
fn begun(body: &str) -> Begun<'_> {
    let raw = if body.is_empty() { Vec::new() } else { format!("{:x}\r\n{body}\r\n", body.len()).into_bytes() };
    Begun { streamed: true, head: HEAD, raw, body }
}

/// How the upstream ends, with the reason on the record.
fn ends() -> [(&'static str, Vec<Step>, &'static str); 5] {
    [
        ("a reset", vec![Step::Reset], "upstream_failed"),
        ("a close", vec![], "upstream_failed"),
        ("a cut", vec![Step::Cut], "upstream_failed"),
        ("silence", vec![Step::Stall], "upstream_timeout"),
        ("a broken chunk", vec![send("zz\r\n")], "upstream_failed"),
    ]
}

async fn each_end_of_a_stream(rig: &Rig) {
    let within = format!("{EVENT}{HALF_AN_EVENT}");
    for (end, steps, reason) in ends() {
        rig.breaks(&format!("{end} before an event"), &begun(""), &steps, true, reason).await;
        for (place, body, told) in [("between events", EVENT, true), ("within an event", &within, false)] {
            let what = format!("{end} {place}");
            let record = rig.breaks(&what, &begun(body), &steps, told, reason).await;
            assert_eq!(record["usage"]["input_tokens"], 10, "{what}: what was used is on record");
        }
    }
    rig.has_one_record_each();
}

#[tokio::test]
async fn each_end_of_a_stream_is_told_if_it_can_be_and_recorded() {
    let [plain, tls] = Rig::both("stream-ends").await;
    tokio::join!(each_end_of_a_stream(&plain), each_end_of_a_stream(&tls));
}

#[tokio::test]
async fn a_stream_of_no_announced_length_that_is_cut_within_tls_does_not_look_whole() {
    let rig = Rig::tls("cut").await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let begun = Begun { streamed: true, head, raw: EVENT.into(), body: EVENT };
    rig.breaks("a cut", &begun, &[Step::Cut], true, "upstream_failed").await;
    rig.has_one_record_each();
}
