//! Upstreams that are not there, are not the right ones, stall, break off, lie or send what is no HTTP. Each call gets an
//! answer that says so and one record with the cause, and the next one is served.

mod answers;
mod floods;
mod streams;
mod trust;

use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::harness::authority::{Authority, roots};
use super::harness::scene::mutual_tls;
use super::harness::script::{Layer, Scripted, Step};
use super::harness::upstream::server_config;
use super::harness::{HAIKU, Proxy, message, request_id, streamed};

/// Every phase's bound, where a test has to sit one out.
const TIMEOUTS: &str =
    "connect_timeout = \"1s\"\ntls_timeout = \"1s\"\nfirst_byte_timeout = \"1s\"\nsilence_timeout = \"1s\"";

/// `[upstream]` with this endpoint and these further keys.
fn section(endpoint: impl Display, more: &str) -> String {
    format!(
        "[upstream]\nendpoints = [\"{endpoint}\"]\n{TIMEOUTS}\n{more}\n[upstream.retry]\nper_second = 1000\n[[upstream.key]]\nname = \"test\"\nsecret = {{ file = \"anthropic-key\" }}\n"
    )
}

/// A proxy before a scripted upstream.
struct Rig {
    proxy: Proxy,
    upstream: Scripted,
    calls: AtomicUsize,
}

/// What a call came to.
struct Outcome {
    status: u16,
    /// As far as it came.
    body: String,
    /// Whether it came to an end that the framing allows.
    ended: bool,
    id: String,
    record: Value,
}

/// An answer that has begun.
struct Begun<'a> {
    streamed: bool,
    head: &'a str,
    /// What the upstream sends of the body.
    raw: Vec<u8>,
    /// What that is without its framing.
    body: &'a str,
}

impl Rig {
    async fn plain(name: &str) -> Self {
        let upstream = Scripted::start(None);
        let proxy = Proxy::upstream(name, &section(upstream.address(), "tls = false")).await;
        Self { proxy, upstream, calls: AtomicUsize::new(0) }
    }

    async fn tls(name: &str) -> Self {
        let authority = Authority::new(name);
        let server = authority.api();
        let tls = server_config(server.der(), server.key_der(), roots(&[&authority]), &[]);
        let upstream = Scripted::start(Some(tls));
        let proxy = Proxy::upstream(name, &section(upstream.address(), &mutual_tls(name, &authority))).await;
        Self { proxy, upstream, calls: AtomicUsize::new(0) }
    }

    /// One of each.
    async fn both(name: &str) -> [Self; 2] {
        [Self::plain(name).await, Self::tls(&format!("{name}-tls")).await]
    }

    /// What a call comes to when the upstream does these steps.
    async fn play(&self, layer: Layer, steps: &[Step], body: &Value) -> Outcome {
        self.upstream.play(layer, steps);
        self.calls.fetch_add(1, Ordering::Relaxed);
        outcome(&self.proxy, body, 0, || ()).await
    }

    /// Expects that a call comes to an error with this status, and to this reason on its record. One that broke off is sent
    /// once more, any other that was heard is not.
    async fn refuses(&self, what: &str, layer: Layer, steps: &[Step], expected: (u16, &str)) {
        let before = self.upstream.requests();
        let outcome = self.play(layer, steps, &message(HAIKU)).await;
        expect_refusal(what, &outcome, expected);
        let times = if what.starts_with("a reset") || what.starts_with("a close") { 2 } else { 1 };
        let heard = if matches!(steps.first(), Some(Step::ReadRequest)) { times } else { 0 };
        assert_eq!(self.upstream.requests(), before + heard, "{what}");
        self.serves(what).await;
    }

    /// Expects that an answer which has begun breaks: with an `error` event if `told`, and with this reason on its record.
    async fn breaks(&self, what: &str, begun: &Begun<'_>, end: &[Step], told: bool, reason: &str) -> Value {
        let start = [Step::ReadRequest, send(begun.head), Step::Send(begun.raw.clone())];
        // A reset may overtake what came before it, all else comes after it.
        let overtakes = matches!(end.first(), Some(Step::Reset));
        let wait: &[Step] = if overtakes { &[Step::Await] } else { &[] };
        self.upstream.play(Layer::Http, &[&start, wait, end].concat());
        self.calls.fetch_add(1, Ordering::Relaxed);
        let body = if begun.streamed { streamed(HAIKU) } else { message(HAIKU) };
        let Outcome { status, body, ended, id, record } = outcome(&self.proxy, &body, begun.body.len(), || {
            if overtakes {
                self.upstream.go_on();
            }
        })
        .await;
        assert_eq!((status, ended), (200, told), "{what}: {body}");
        let rest =
            body.strip_prefix(begun.body).unwrap_or_else(|| panic!("{what}: what came was not passed on: {body}"));
        let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"";
        let is_told = rest.starts_with(error) && rest.contains(&id) && rest.ends_with("\n\n");
        assert!(if told { is_told } else { rest.is_empty() }, "{what}: {rest}");
        expect_record(what, &record, 200, reason);
        self.serves(what).await;
        record
    }

    /// Expects that a call is answered well once the upstream behaves.
    async fn serves(&self, after: &str) {
        let outcome = self.play(Layer::Http, &good(), &message(HAIKU)).await;
        assert_eq!((outcome.status, outcome.body.as_str(), outcome.ended), (200, "{}", true), "after {after}");
        assert_eq!(outcome.record["complete"], true, "after {after}: {}", outcome.record);
    }

    /// Expects one record of each call, and no other.
    fn has_one_record_each(&self) {
        assert_eq!(self.proxy.records().len(), self.calls.load(Ordering::Relaxed));
    }
}

/// What a call comes to; `come` is called once so many bytes of the answer's body are there.
async fn outcome(proxy: &Proxy, body: &Value, begun: usize, come: impl FnOnce()) -> Outcome {
    let mut response = proxy.post(&proxy.token, body).await;
    let (status, id) = (response.status().as_u16(), request_id(&response));
    let mut bytes = Vec::new();
    while bytes.len() < begun {
        bytes.extend(response.chunk().await.unwrap().unwrap());
    }
    come();
    let ended = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend(chunk),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    let record = proxy.record(&id).await;
    Outcome { status, body: String::from_utf8(bytes).unwrap(), ended, id, record }
}

/// Expects an error of the API's shape.
fn expect_refusal(what: &str, outcome: &Outcome, (status, reason): (u16, &str)) {
    assert_eq!((outcome.status, outcome.ended), (status, true), "{what}: {} {}", outcome.body, outcome.record);
    let error: Value = serde_json::from_str(&outcome.body).unwrap();
    assert_eq!(
        (&error["type"], &error["error"]["type"], &error["request_id"]),
        (&"error".into(), &"api_error".into(), &outcome.id.as_str().into()),
        "{what}: {error}"
    );
    expect_record(what, &outcome.record, status, reason);
}

/// Expects the record of an allowed call that failed.
fn expect_record(what: &str, record: &Value, status: u16, reason: &str) {
    let (expected, found) = (("allowed", false, u64::from(status), reason), || {
        Some((
            record["decision"].as_str()?,
            record["complete"].as_bool()?,
            record["status"].as_u64()?,
            record["reason"].as_str()?,
        ))
    });
    assert_eq!(found(), Some(expected), "{what}: {record}");
    assert!(record["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {record}");
}

fn send(text: impl Into<Vec<u8>>) -> Step {
    Step::Send(text.into())
}

/// An answer after which the connection is not used again.
fn good() -> [Step; 2] {
    let answer =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    [Step::ReadRequest, send(answer)]
}
