//! What goes wrong before an answer's head is there, or in the body of a plain one.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::harness::script::{Layer, Scripted, Step};
use super::super::harness::{HAIKU, Proxy, message, request_id};
use super::{Begun, Rig, expect_refusal, good, section, send};

const FAILED: (u16, &str) = (502, "upstream_failed");
const TIMEOUT: (u16, &str) = (504, "upstream_timeout");
const UNREACHABLE: (u16, &str) = (502, "upstream_unreachable");

const HALF_A_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-le";

const INTERIM: &str = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n";

/// Each fault once the request was heard, with what the client gets.
fn faults() -> Vec<(&'static str, Vec<Step>, (u16, &'static str))> {
    let answer = |head: &str| send(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}\r\n\r\n{{}}"));
    vec![
        ("a reset after the request", vec![Step::Reset], FAILED),
        ("a close after the request", vec![], FAILED),
        ("silence after the request", vec![Step::Stall], TIMEOUT),
        ("a reset in the head", vec![send(HALF_A_HEAD), Step::Reset], FAILED),
        ("a close in the head", vec![send(HALF_A_HEAD)], FAILED),
        ("silence in the head", vec![send(HALF_A_HEAD), Step::Stall], TIMEOUT),
        ("a close after an interim answer", vec![send(INTERIM)], FAILED),
        ("silence after an interim answer", vec![send(INTERIM), Step::Stall], TIMEOUT),
        ("interim answers without end", vec![Step::Flood(INTERIM.repeat(1000).into(), 1000), Step::Stall], TIMEOUT),
        (
            "another protocol",
            vec![send("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")],
            FAILED,
        ),
        ("garbage", vec![send("\x00\x01\x02 no http at all\r\n\r\n")], FAILED),
        ("a status of letters", vec![send("HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n")], FAILED),
        ("two lengths", vec![answer("content-length: 2\r\ncontent-length: 9")], FAILED),
        ("a negative length", vec![answer("content-length: -2")], FAILED),
        ("a length of letters", vec![answer("content-length: two")], FAILED),
    ]
}

async fn each_fault_of_an_answer(rig: &Rig) {
    for (what, steps, expected) in faults() {
        let steps = [vec![Step::ReadRequest], steps].concat();
        rig.refuses(what, Layer::Http, &steps, expected).await;
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
    let begun = Begun { streamed: false, head, raw: b"{\"type\":".to_vec(), body: "{\"type\":" };
    // Pingora holds the start of an answer of a known length back; this one arrives before the reset.
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = Begun { streamed: false, head, raw: b"8\r\n{\"type\":\r\n".to_vec(), body: "{\"type\":" };
    rig.breaks("a reset in the body", &chunked, &[Step::Reset], false, "upstream_failed").await;
    for (what, end, reason) in [
        ("a body that is too short", vec![], "upstream_failed"),
        ("a cut in the body", vec![Step::Cut], "upstream_failed"),
        ("silence in the body", vec![Step::Stall], "upstream_timeout"),
    ] {
        rig.breaks(what, &begun, &end, false, reason).await;
    }
    rig.has_one_record_each();
}

#[tokio::test]
async fn each_fault_of_an_answer_is_told_and_recorded() {
    let [plain, tls] = Rig::both("answers").await;
    tokio::join!(each_fault_of_an_answer(&plain), each_fault_of_an_answer(&tls));
}

#[tokio::test]
async fn each_fault_of_a_handshake_is_told_and_recorded() {
    let rig = Rig::tls("handshake").await;
    for (what, steps) in [
        ("a reset", vec![Step::Reset]),
        ("a close", vec![]),
        ("silence", vec![Step::Stall]),
        ("no TLS", vec![send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")]),
        ("half a TLS record", vec![send(b"\x16\x03\x03\x00\x7a\x02\x00".as_slice()), Step::Stall]),
    ] {
        rig.refuses(what, Layer::Tcp, &steps, UNREACHABLE).await;
    }
    rig.has_one_record_each();
}

#[tokio::test]
async fn a_reset_before_the_request_is_told_and_recorded() {
    let rig = Rig::plain("at-accept").await;
    let outcome = rig.play(Layer::Tcp, &[Step::Reset], &message(HAIKU)).await;
    // Whether the connection is there when the reset comes is chance.
    let reason = if outcome.record["reason"] == "upstream_failed" { "upstream_failed" } else { "upstream_unreachable" };
    expect_refusal("a reset", &outcome, (502, reason));
    rig.serves("a reset").await;
    rig.has_one_record_each();
}

#[tokio::test]
async fn what_follows_an_answer_is_nobodys_answer() {
    for rig in Rig::both("surplus").await {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
        let steps = [Step::ReadRequest, send(format!("{head}2\r\n\r\n[]{head}6\r\n\r\n\"else\"")), Step::Stall];
        let outcome = rig.play(Layer::Http, &steps, &message(HAIKU)).await;
        assert_eq!((outcome.status, outcome.body.as_str()), (200, "[]"), "as long as it said");
        for _ in 0..3 {
            rig.serves("an answer with more behind it").await;
        }
        rig.has_one_record_each();
    }
}

#[tokio::test]
async fn a_redirect_is_not_passed_on_and_cookies_are_kept_back() {
    let rig = Rig::plain("redirect").await;
    let redirect =
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: https://elsewhere.test/v1/messages\r\ncontent-length: 0\r\n\r\n";
    let steps = [Step::ReadRequest, send(redirect)];
    rig.refuses("a redirect", Layer::Http, &steps, (502, "upstream_redirect")).await;

    let cookie = "HTTP/1.1 200 OK\r\nset-cookie: a=b\r\nalt-svc: h3=\":443\"\r\ncontent-length: 2\r\n\r\n{}";
    rig.upstream.play(Layer::Http, &[Step::ReadRequest, send(cookie)]);
    let response = rig.proxy.call().await;
    assert_eq!(response.status(), 200);
    assert!(response.headers().get("set-cookie").is_none() && response.headers().get("alt-svc").is_none());
    let id = response.headers()["request-id"].to_str().unwrap();
    assert!(id.starts_with("pcl_"), "ours, where the upstream has none: {id}");
}

#[tokio::test]
async fn a_kept_connection_that_was_reset_is_made_anew() {
    let rig = Rig::plain("stale").await;
    let kept = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    for end in [Step::Reset, Step::Cut] {
        // The second request comes on the kept connection, which ends before it has been answered at all.
        let steps = [Step::ReadRequest, send(kept), end];
        let outcome = rig.play(Layer::Http, &steps, &message(HAIKU)).await;
        assert_eq!((outcome.status, outcome.body.as_str()), (200, "{}"));
        rig.upstream.play(Layer::Http, &good());
        rig.serves("a connection that ended while it was kept").await;
    }
    rig.has_one_record_each();
}

#[tokio::test]
async fn an_upload_that_is_sent_again_is_not_longer_for_it() {
    let upstream = Scripted::start(None);
    let section = section(upstream.address(), "tls = false");
    let proxy = Proxy::start("resent", |text| {
        let (head, rest) = text.split_once("[upstream]").unwrap();
        let (_, tail) = rest.split_once("[audit]").unwrap();
        format!("{head}{section}\n[audit]{tail}").replace("[admin]", "max_upload = \"1KiB\"\n[admin]")
    });
    proxy.until_ready().await;
    let kept = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    upstream.play(Layer::Http, &[Step::ReadRequest, send(kept), Step::ReadRequest, Step::Cut]);
    assert_eq!(proxy.call().await.text().await.unwrap(), "{}");
    upstream.play(Layer::Http, &good());
    let upload = proxy.http.post(format!("{}/v1/files", proxy.base_url)).bearer_auth(&proxy.token);
    let upload = upload.header("content-type", "multipart/form-data; boundary=x").body("x".repeat(700));
    let response = upload.send().await.unwrap();
    let (status, id) = (response.status(), request_id(&response));
    let record = proxy.record(&id).await;
    assert_eq!((status.as_u16(), record["attempts"].as_u64()), (200, Some(2)), "{record}");
}

#[tokio::test]
async fn no_address_is_ejected_for_an_upload_that_its_client_does_not_finish() {
    let (tired, other) = (Scripted::start(None), Scripted::start(None));
    let endpoints = format!("{}\", \"{}", tired.address(), other.address());
    let health = "[upstream.health]\ncheck = \"none\"\nresets = 1";
    let more = format!("tls = false\nprefer = [\"{}\"]\n{health}", tired.address());
    let proxy = Proxy::upstream("unfinished", &section(endpoints, &more)).await;
    tired.play(Layer::Http, &good());
    assert_eq!(proxy.call().await.status(), 200);

    tired.play(Layer::Tcp, &[Step::Await, Step::Reset]);
    let mut client = TcpStream::connect(proxy.base_url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: multipart/form-data; boundary=x\r\n\
         content-length: 1000\r\n\r\n--x",
        proxy.token
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let in_flight = format!("portcullis_upstream_address_requests_in_flight{{address=\"{}\"}}", tired.address());
    proxy.until_metric(&in_flight, |requests| requests == 1).await;
    tired.go_on();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 502");
    drop(client);
    proxy.until_metric(&in_flight, |requests| requests == 0).await;
    proxy.until_metric("portcullis_upstream_ejections_total{cause=\"reset\"}", |ejections| ejections == 0).await;
}
