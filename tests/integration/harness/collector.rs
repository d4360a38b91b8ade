//! A stand-in for an OpenTelemetry collector: takes logs and traces by OTLP over HTTP with protobuf bodies, and answers as it is told.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::upstream::runtime;

/// A running collector. It stops when dropped.
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// How batches are answered.
#[derive(Debug, Clone, Copy)]
pub enum Reply {
    /// Taken.
    Taken,
    /// Taken but for so many records.
    InPart(i64),
    /// This status, with `retry-after` where it is not 0.
    Status(u16, u64),
    /// Never.
    Silence,
}

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Export {
    pub path: String,
    pub headers: HeaderMap,
    pub logs: ExportLogsServiceRequest,
    pub traces: ExportTraceServiceRequest,
}

#[derive(Debug)]
struct Shared {
    reply: Mutex<Reply>,
    exports: Mutex<Vec<Export>>,
}

impl Collector {
    /// Starts one on a free port of 127.0.0.1, with TLS if there is a configuration for it.
    pub fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let shared = Arc::new(Shared { reply: Mutex::new(Reply::Taken), exports: Mutex::default() });
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (tls, of_all) = (tls.map(TlsAcceptor::from), Arc::clone(&shared));
        let accepting = runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, shared) = (tls.clone(), Arc::clone(&of_all));
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                    let server = auto::Builder::new(TokioExecutor::new());
                    // A client may leave or distrust; the test sees what came.
                    match tls {
                        None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                drop(server.serve_connection(TokioIo::new(stream), service).await);
                            }
                        }
                    }
                });
            }
        });
        Self { address, shared, accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has the next batches answered so.
    pub fn reply(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap() = reply;
    }

    /// What came so far.
    pub fn exports(&self) -> Vec<Export> {
        self.shared.exports.lock().unwrap().clone()
    }

    /// Every record so far.
    pub fn records(&self) -> Vec<LogRecord> {
        let exports = self.exports().into_iter();
        let resources = exports.flat_map(|export| export.logs.resource_logs);
        resources.flat_map(|resource| resource.scope_logs).flat_map(|scope| scope.log_records).collect()
    }

    /// The record of the line of `event` of the request with our id `request_id`, once it has come.
    pub async fn record(&self, event: &str, request_id: &str) -> LogRecord {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let mut records = self.records().into_iter();
            let found = records.find(|record| {
                record.event_name == event && attribute(&record.attributes, "portcullis.audit.request_id") == request_id
            });
            if let Some(record) = found {
                return record;
            }
            assert!(Instant::now() < deadline, "no {event} of {request_id}: {:#?}", self.records());
            tokio::time::sleep(Duration::from_millis(10)).await; // a poll with a deadline
        }
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Span> {
        let exports = self.exports().into_iter();
        let resources = exports.flat_map(|export| export.traces.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// The spans of the request with our id `request_id`, its own first, once `count` of them have come.
    pub async fn spans_of(&self, request_id: &str, count: usize) -> Vec<Span> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let mut spans = self.spans();
            spans.retain(|span| attribute(&span.attributes, "portcullis.request_id") == request_id);
            if spans.len() >= count {
                spans.sort_by_key(|span| (span.kind != SpanKind::Server as i32, span.start_time_unix_nano));
                assert_eq!(spans.len(), count, "{spans:#?}");
                return spans;
            }
            assert!(Instant::now() < deadline, "not {count} spans of {request_id}: {:#?}", self.spans());
            tokio::time::sleep(Duration::from_millis(10)).await; // a poll with a deadline
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// An attribute's value; null when there is none.
pub fn attribute(attributes: &[KeyValue], name: &str) -> Value {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    found.and_then(|attribute| attribute.value.clone()?.value).map_or(Value::Null, value)
}

fn value(value: any_value::Value) -> Value {
    let inner = |value: opentelemetry_proto::tonic::common::v1::AnyValue| value.value.map_or(Value::Null, self::value);
    match value {
        any_value::Value::StringValue(text) => text.into(),
        any_value::Value::BoolValue(flag) => flag.into(),
        any_value::Value::IntValue(number) => number.into(),
        any_value::Value::DoubleValue(number) => number.into(),
        any_value::Value::ArrayValue(list) => list.values.into_iter().map(inner).collect(),
        any_value::Value::KvlistValue(members) => {
            members.values.into_iter().map(|member| (member.key, member.value.map_or(Value::Null, inner))).collect()
        }
        other => json!(format!("{other:?}")),
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (mut logs, mut traces) = (ExportLogsServiceRequest::default(), ExportTraceServiceRequest::default());
    if head.uri.path().ends_with("/v1/traces") {
        traces = ExportTraceServiceRequest::decode(body).unwrap();
    } else {
        logs = ExportLogsServiceRequest::decode(body).unwrap();
    }
    let reply = *shared.reply.lock().unwrap();
    let mut response = Response::builder().header("content-type", "application/x-protobuf");
    let mut answer = ExportLogsServiceResponse::default();
    match reply {
        Reply::Taken => {}
        Reply::InPart(rejected_log_records) => {
            let error_message = "too old".to_owned();
            answer.partial_success = Some(ExportLogsPartialSuccess { rejected_log_records, error_message });
        }
        Reply::Status(status, wait) => {
            response = response.status(status);
            if wait > 0 {
                response = response.header("retry-after", wait);
            }
        }
        Reply::Silence => std::future::pending().await,
    }
    if matches!(reply, Reply::Taken | Reply::InPart(_)) {
        let export = Export { path: head.uri.path().to_owned(), headers: head.headers, logs, traces };
        shared.exports.lock().unwrap().push(export);
    }
    Ok(response.body(Full::new(Bytes::from(answer.encode_to_vec()))).unwrap())
}
