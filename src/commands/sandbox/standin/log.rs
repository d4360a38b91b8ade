//! The record of what arrived, so that a test can see what a proxy really sent.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::{HeaderMap, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::lock;
use super::serve::ConnectionNumber;
use crate::audit::to_hex;

const MAX_EXCHANGES: usize = 1_000;
const MAX_EVENTS: usize = 10_000;
const MAX_BODY_TEXT_BYTES: usize = 64 * 1024;

/// The last exchanges, oldest first.
#[derive(Debug, Default)]
pub struct RequestLog {
    exchanges: Mutex<VecDeque<Arc<Exchange>>>,
    begun: AtomicU64,
}

/// One request and the times of its response.
#[derive(Debug)]
pub struct Exchange {
    number: u64,
    connection: u64,
    method: String,
    path: String,
    query: Option<String>,
    version: String,
    headers: BTreeMap<String, Vec<String>>,
    is_json: bool,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    body_bytes: u64,
    body_hash: Sha256,
    /// The beginning of the body; complete if it is as long as `body_bytes`.
    body_text: Vec<u8>,
    finished: Option<Duration>,
    events: Vec<Duration>,
}

impl RequestLog {
    pub fn begin(&self, request: &Request) -> Arc<Exchange> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let exchange = Arc::new(Exchange::new(number, request));
        let mut exchanges = lock(&self.exchanges);
        if exchanges.len() == MAX_EXCHANGES {
            exchanges.pop_front();
        }
        exchanges.push_back(Arc::clone(&exchange));
        exchange
    }

    pub fn clear(&self) {
        lock(&self.exchanges).clear();
    }

    pub fn to_json(&self) -> Value {
        let exchanges = lock(&self.exchanges);
        exchanges.iter().map(|exchange| exchange.to_json()).collect()
    }
}

impl Exchange {
    fn new(number: u64, request: &Request) -> Self {
        let connection = request.extensions().get::<ConnectionNumber>();
        let content_type = request.headers().get(header::CONTENT_TYPE);
        Self {
            number,
            connection: connection.map_or(0, |number| number.0),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().map(str::to_owned),
            version: format!("{:?}", request.version()),
            headers: lossy(request.headers()),
            is_json: content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json")),
            progress: Mutex::default(),
        }
    }

    /// As the response's `request-id` has it, so that a response can be found in the record.
    pub fn request_id(&self) -> String {
        format!("req_standin_{}", self.number)
    }

    /// `body`, noting what passes.
    pub fn watch_request(self: &Arc<Self>, body: Body) -> Body {
        let exchange = Arc::clone(self);
        let chunks = body.into_data_stream();
        Body::from_stream(chunks.inspect_ok(move |chunk| exchange.received(chunk)))
    }

    /// A guard that notes the end of the exchange when it is dropped.
    pub fn until_finished(self: &Arc<Self>) -> Finish {
        Finish(Arc::clone(self))
    }

    /// Notes that an event of the response is being written now.
    pub fn wrote_event(&self) {
        let mut progress = lock(&self.progress);
        if progress.events.len() < MAX_EVENTS {
            progress.events.push(unix_time());
        }
    }

    fn received(&self, chunk: &Bytes) {
        let mut progress = lock(&self.progress);
        progress.body_bytes += chunk.len() as u64;
        progress.body_hash.update(chunk);
        if self.is_json {
            let room = MAX_BODY_TEXT_BYTES - progress.body_text.len();
            progress.body_text.extend(chunk.iter().take(room));
        }
    }

    fn to_json(&self) -> Value {
        let progress = lock(&self.progress);
        let complete = progress.body_text.len() as u64 == progress.body_bytes;
        let body = String::from_utf8_lossy(&progress.body_text);
        json!({
            "number": self.number,
            "connection": self.connection,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "version": self.version,
            "headers": self.headers,
            "body_bytes": progress.body_bytes,
            "body_sha256": to_hex(&progress.body_hash.clone().finalize()),
            "body": (self.is_json && complete).then_some(body),
            "finished_ms": progress.finished.map(|at| count(at.as_millis())),
            "events": progress.events.iter().map(|at| count(at.as_micros())).collect::<Value>(),
        })
    }
}

/// Marks its exchange as finished on drop, however the response ends.
#[derive(Debug)]
pub struct Finish(Arc<Exchange>);

impl Finish {
    /// `body`, holding on to the guard until its last byte is taken or the client is gone.
    pub fn watch_response(self, body: Body) -> Body {
        Body::new(Watched { inner: body, _finish: self })
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        lock(&self.0.progress).finished = Some(unix_time());
    }
}

/// A body that keeps the length of the one inside, so that responses are framed as without it.
struct Watched {
    inner: Body,
    _finish: Finish,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn lossy(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        shown.entry(name.to_string()).or_default().push(value);
    }
    shown
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn count(time: u128) -> u64 {
    u64::try_from(time).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(content_type: &str) -> Request {
        Request::builder()
            .uri("/v1/messages?beta=true")
            .header("x-twice", "1")
            .header("x-twice", "2")
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::empty())
            .unwrap()
    }

    #[test]
    fn shows_what_arrived() {
        let log = RequestLog::default();
        let exchange = log.begin(&request("application/json"));
        exchange.received(&Bytes::from_static(b"abc"));
        exchange.wrote_event();
        drop(exchange.until_finished());
        let shown = log.to_json();
        let shown = &shown[0];
        assert_eq!(shown["path"], "/v1/messages");
        assert_eq!(shown["query"], "beta=true");
        assert_eq!(shown["headers"]["x-twice"], json!(["1", "2"]));
        assert_eq!(shown["body"], "abc");
        assert_eq!(shown["body_sha256"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(shown["events"].as_array().unwrap().len(), 1);
        assert!(shown["finished_ms"].is_u64());
    }

    #[test]
    fn keeps_no_long_body_and_no_old_exchange() {
        let log = RequestLog::default();
        for _ in 0..=MAX_EXCHANGES {
            log.begin(&request("text/plain"));
        }
        let oversized = log.begin(&request("application/json"));
        oversized.received(&Bytes::from(vec![b'x'; MAX_BODY_TEXT_BYTES + 1]));
        let shown = log.to_json();
        let shown = shown.as_array().unwrap();
        assert_eq!(shown.len(), MAX_EXCHANGES);
        assert_eq!(shown[0]["number"], 3);
        assert_eq!(shown.last().unwrap()["body"], Value::Null);
    }
}
