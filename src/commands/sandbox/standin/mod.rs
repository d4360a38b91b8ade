//! A stand-in for the Claude API: enough of it for the official SDKs, behind mutual TLS.
//!
//! It answers with an echo, counts tokens in proportion to bytes, misbehaves on demand ([`scenario`]) and keeps a
//! record of what arrived, readable at `GET /standin/requests` and cleared with `DELETE`. It holds no secrets and
//! decides nothing: it exists so that the proxy can be tried and tested without the real API.
//!
//! * [`mod@serve`] and [`wire`]: sockets, TLS, faults below HTTP.
//! * [`observe`]: what happens around every call; [`log`] keeps the record, [`error`] has the API's error body.
//! * [`messages`]: [`request`] reads a call, [`answer`] composes the message from [`schema`] and [`usage`], [`stream`]
//!   plays it as the events that [`sse`] frames.
//! * [`batches`], [`files`], [`models`], [`skills`]: the other endpoints; [`paging`] and [`shelf`] are common to them.

mod answer;
mod batches;
mod error;
mod files;
mod log;
mod messages;
mod models;
mod observe;
mod paging;
mod request;
mod scenario;
mod schema;
mod serve;
mod shelf;
mod skills;
mod sse;
mod stream;
mod usage;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use batches::Batches;
use error::ApiError;
use files::Files;
use log::RequestLog;
pub use serve::serve;
use skills::Skills;

// More than the API itself takes, so that a proxy's own limit is what a test meets.
const MAX_JSON_BYTES: usize = 300 * 1024 * 1024;
const MAX_MULTIPART_BYTES: usize = 600 * 1024 * 1024;

/// The state of one stand-in. Everything in it is bounded and lives in memory.
#[derive(Debug)]
pub struct Standin {
    expected_key: String,
    log: RequestLog,
    serials: AtomicU64,
    connections: AtomicU64,
    batches: Mutex<Batches>,
    files: Mutex<Files>,
    skills: Mutex<Skills>,
}

impl Standin {
    /// A stand-in that admits calls whose `x-api-key` is `expected_key`.
    pub fn new(expected_key: &str) -> Arc<Self> {
        Arc::new(Self {
            expected_key: expected_key.to_owned(),
            log: RequestLog::default(),
            serials: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            batches: Mutex::new(batches::empty()),
            files: Mutex::new(files::empty()),
            skills: Mutex::new(skills::empty()),
        })
    }

    /// The endpoints. What needs the connection itself (its number, `close`, `garbage`) works only below [`serve()`].
    pub fn router(self: Arc<Self>) -> Router {
        let api = json_endpoints()
            .merge(multipart_endpoints())
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(from_fn_with_state(Arc::clone(&self), observe::admit))
            .layer(from_fn_with_state(Arc::clone(&self), observe::observe));
        let record = get(show_requests).delete(clear_requests);
        Router::new().route("/standin/requests", record).merge(api).with_state(self)
    }

    /// A number that no other object of this stand-in has.
    fn next_serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn count_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }
}

fn json_endpoints() -> Router<Arc<Standin>> {
    let batch = get(batches::retrieve).delete(batches::delete);
    Router::new()
        .route("/v1/messages", post(messages::create))
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
        .route("/v1/messages/batches", get(batches::list).post(batches::create))
        .route("/v1/messages/batches/{id}", batch)
        .route("/v1/messages/batches/{id}/cancel", post(batches::retrieve))
        .route("/v1/messages/batches/{id}/results", get(batches::results))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::retrieve))
        .layer(DefaultBodyLimit::max(MAX_JSON_BYTES))
}

fn multipart_endpoints() -> Router<Arc<Standin>> {
    Router::new()
        .route("/v1/files", get(files::list).post(files::upload))
        .route("/v1/files/{id}", get(files::retrieve).delete(files::delete))
        .route("/v1/files/{id}/content", get(files::content))
        .route("/v1/skills", get(skills::list).post(skills::create))
        .route("/v1/skills/{id}", get(skills::retrieve).delete(skills::delete))
        .route("/v1/skills/{id}/versions", get(skills::versions))
        .layer(DefaultBodyLimit::max(MAX_MULTIPART_BYTES))
}

async fn show_requests(State(standin): State<Arc<Standin>>) -> Json<Value> {
    let connections = standin.connections.load(Ordering::Relaxed);
    let requests = standin.log.to_json();
    Json(json!({"requests": requests, "connections": connections}))
}

async fn clear_requests(State(standin): State<Arc<Standin>>) -> StatusCode {
    standin.log.clear();
    StatusCode::NO_CONTENT
}

async fn not_found() -> ApiError {
    ApiError::not_found("Not found")
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// A panic elsewhere must not take the record with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A time as the API writes it. Empty only for years that RFC 3339 cannot express.
fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests;
