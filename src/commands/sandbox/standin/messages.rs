//! `POST /v1/messages` and `POST /v1/messages/count_tokens`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use serde_json::json;

use super::answer::Answer;
use super::error::ApiError;
use super::log::Exchange;
use super::observe::obey_before_answer;
use super::request::MessageRequest;
use super::scenario::{Breakage, Scenario};
use super::usage::tokens;
use super::{Standin, stream};

pub async fn create(
    State(standin): State<Arc<Standin>>,
    Extension(exchange): Extension<Arc<Exchange>>,
    Extension(by_header): Extension<Scenario>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let request = MessageRequest::parse(&whole(body)?)?;
    let by_model = Scenario::from_model(request.model())?;
    if let Some(refusal) = obey_before_answer(&by_model).await {
        return Ok(refusal);
    }
    let scenario = by_header.or(by_model);
    let answer = Answer::compose(standin.next_serial(), &request, &scenario);
    if request.streams() {
        return Ok(stream::respond(&answer, &scenario, exchange));
    }
    let message = answer.to_json();
    Ok(match scenario.breakage {
        Some(Breakage::Cut(_)) => stream::respond_half(&message),
        _ => Json(message).into_response(),
    })
}

pub async fn count_tokens(body: Result<Bytes, BytesRejection>) -> Result<Response, ApiError> {
    let request = MessageRequest::parse_for_count(&whole(body)?)?;
    let by_model = Scenario::from_model(request.model())?;
    if let Some(refusal) = obey_before_answer(&by_model).await {
        return Ok(refusal);
    }
    let input_tokens = tokens(request.body_bytes());
    Ok(Json(json!({"input_tokens": input_tokens})).into_response())
}

/// The whole body, unless it is larger than [`super::MAX_JSON_BYTES`].
pub fn whole(body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(),
        _ => ApiError::invalid("The request body ended early"),
    })
}
