//! `/v1/messages/batches`: processed at once, so that a batch has ended when its creation is answered.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Uri, header};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::answer::Answer;
use super::error::ApiError;
use super::messages::whole;
use super::paging::Paging;
use super::request::{MessageRequest, json_object};
use super::scenario::{Refusal, Scenario};
use super::shelf::{Identified, Shelf};
use super::{Standin, lock, rfc3339};

const MAX_BATCHES: usize = 100;
/// Results are as large as the requests make them, so their sum is bounded as well.
const MAX_RESULT_BYTES: usize = 64 * 1024 * 1024;
const MAX_REQUESTS: usize = 100_000;

pub type Batches = Shelf<Batch>;

pub fn empty() -> Batches {
    Shelf::new(MAX_BATCHES)
}

/// One processed batch.
#[derive(Debug)]
pub struct Batch {
    id: String,
    created: OffsetDateTime,
    succeeded: usize,
    errored: usize,
    /// One JSON object a line.
    results: Bytes,
}

impl Identified for Batch {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Batch {
    fn process(standin: &Standin, requests: &[Value]) -> Result<Self, ApiError> {
        let mut batch = Self {
            id: format!("msgbatch_standin_{}", standin.next_serial()),
            created: OffsetDateTime::now_utc(),
            succeeded: 0,
            errored: 0,
            results: Bytes::new(),
        };
        let mut results = String::new();
        for (index, request) in requests.iter().enumerate() {
            let custom_id = request
                .get("custom_id")
                .and_then(Value::as_str)
                .ok_or_else(|| ApiError::invalid(format!("requests.{index}.custom_id: Field required")))?;
            let params = request.get("params").unwrap_or(&Value::Null);
            let result = match answer(standin, params) {
                Ok(message) => {
                    batch.succeeded += 1;
                    json!({"type": "succeeded", "message": message})
                }
                Err(error) => {
                    batch.errored += 1;
                    json!({"type": "errored", "error": error.body(None)})
                }
            };
            let line = json!({"custom_id": custom_id, "result": result}).to_string();
            results.push_str(&line);
            results.push('\n');
        }
        batch.results = Bytes::from(results);
        Ok(batch)
    }

    /// `origin` is the stand-in's own: the API names absolute URLs, which a proxy has to rewrite.
    fn to_json(&self, origin: &str) -> Value {
        let created_at = rfc3339(self.created);
        json!({
            "id": self.id,
            "type": "message_batch",
            "processing_status": "ended",
            "request_counts": {
                "processing": 0,
                "succeeded": self.succeeded,
                "errored": self.errored,
                "canceled": 0,
                "expired": 0,
            },
            "created_at": created_at,
            "ended_at": created_at,
            "expires_at": rfc3339(self.created + Duration::DAY),
            "archived_at": null,
            "cancel_initiated_at": null,
            "results_url": format!("{origin}/v1/messages/batches/{}/results", self.id),
        })
    }
}

pub async fn create(
    State(standin): State<Arc<Standin>>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let params = json_object(&whole(body)?)?;
    let requests = match params.get("requests") {
        Some(Value::Array(requests)) if !requests.is_empty() => requests,
        Some(_) => {
            return Err(ApiError::invalid("requests: at least one request is required"));
        }
        None => return Err(ApiError::invalid("requests: Field required")),
    };
    if requests.len() > MAX_REQUESTS {
        return Err(ApiError::too_large());
    }
    let batch = Batch::process(&standin, requests)?;
    let shown = batch.to_json(&origin(&uri, &headers));
    let mut batches = lock(&standin.batches);
    batches.put(batch);
    while result_bytes(&batches) > MAX_RESULT_BYTES && batches.drop_oldest() {}
    Ok(Json(shown))
}

pub async fn list(State(standin): State<Arc<Standin>>, uri: Uri, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let paging = Paging::of(&uri)?;
    let origin = origin(&uri, &headers);
    let batches = lock(&standin.batches);
    let shown: Vec<Value> = batches.iter().map(|batch| batch.to_json(&origin)).collect();
    Ok(Json(paging.cut(&shown)))
}

/// Also answers `cancel`: a batch has always ended before it can be canceled.
pub async fn retrieve(
    State(standin): State<Arc<Standin>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let batches = lock(&standin.batches);
    let batch = batches.find(&id).ok_or_else(unknown)?;
    Ok(Json(batch.to_json(&origin(&uri, &headers))))
}

pub async fn delete(State(standin): State<Arc<Standin>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    lock(&standin.batches).remove(&id).ok_or_else(unknown)?;
    Ok(Json(json!({"id": id, "type": "message_batch_deleted"})))
}

pub async fn results(State(standin): State<Arc<Standin>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let batches = lock(&standin.batches);
    let batch = batches.find(&id).ok_or_else(unknown)?;
    let kind = [(header::CONTENT_TYPE, "application/x-jsonl")];
    Ok((kind, batch.results.clone()).into_response())
}

/// Of a scenario, only the status and what shapes the message can take effect inside a batch.
fn answer(standin: &Standin, params: &Value) -> Result<Value, ApiError> {
    let request = MessageRequest::from_params(params)?;
    let scenario = Scenario::from_model(request.model())?;
    if let Some(Refusal::Status(status)) = scenario.refusal {
        return Err(ApiError::staged(status));
    }
    let mut answer = Answer::compose(standin.next_serial(), &request, &scenario);
    answer.usage.service_tier = "batch";
    Ok(answer.to_json())
}

/// HTTP/2 names the host in the request's target, HTTP/1.1 in a header.
fn origin(uri: &Uri, headers: &HeaderMap) -> String {
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = uri.authority().map(http::uri::Authority::as_str).or(named);
    format!("https://{}", host.unwrap_or("api.anthropic.com"))
}

fn result_bytes(batches: &Batches) -> usize {
    batches.iter().map(|batch| batch.results.len()).sum()
}

fn unknown() -> ApiError {
    ApiError::not_found("Message batch not found")
}
