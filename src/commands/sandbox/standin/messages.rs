//! `POST /v1/messages` and `POST /v1/messages/count_tokens`.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
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

/// More than the API itself takes, so that a proxy's own limit is what a test meets.
const MAX_BODY_BYTES: usize = 300 * 1024 * 1024;

pub async fn create(
    State(standin): State<Arc<Standin>>,
    Extension(exchange): Extension<Arc<Exchange>>,
    Extension(by_header): Extension<Scenario>,
    body: Body,
) -> Result<Response, ApiError> {
    let request = MessageRequest::parse(&read(body).await?)?;
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

pub async fn count_tokens(body: Body) -> Result<Response, ApiError> {
    let request = MessageRequest::parse_for_count(&read(body).await?)?;
    let by_model = Scenario::from_model(request.model())?;
    if let Some(refusal) = obey_before_answer(&by_model).await {
        return Ok(refusal);
    }
    let input_tokens = tokens(request.body_bytes());
    Ok(Json(json!({"input_tokens": input_tokens})).into_response())
}

/// The whole body, up to the limit.
pub async fn read(body: Body) -> Result<Bytes, ApiError> {
    let failed = |error: axum::Error| {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = source {
            if error.to_string() == "length limit exceeded" {
                return ApiError::too_large();
            }
            source = error.source();
        }
        ApiError::new(StatusCode::BAD_REQUEST, "The request body ended early")
    };
    axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(failed)
}
