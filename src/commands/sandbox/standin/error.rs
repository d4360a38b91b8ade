//! The API's error body and which `error.type` belongs to which status.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// An error as the API answers it. As a response it carries only its status; the body is written where the request id
/// is known, in [`super::observe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, kind: kind_of(status), message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request exceeds the maximum size")
    }

    pub fn overloaded() -> Self {
        Self::staged(overloaded_status())
    }

    /// The error a scenario asks for, with a text like the API's own.
    pub fn staged(status: StatusCode) -> Self {
        let message = match status.as_u16() {
            400 => "Stand-in: the request is invalid",
            401 => "invalid x-api-key",
            402 => "Your credit balance is too low to access the Anthropic API.",
            403 => "Your API key does not have permission to use the specified resource",
            404 => "Not found",
            408 => "Request timed out",
            409 => "The resource was changed by another request",
            413 => "Request exceeds the maximum size",
            422 => "Stand-in: the request cannot be processed",
            429 => "This request would exceed the rate limit for your organization",
            503 | 529 => "Overloaded",
            504 => "The request timed out while processing",
            _ => "Internal server error",
        };
        Self::new(status, message)
    }

    pub fn body(&self, request_id: Option<&str>) -> Value {
        json!({
            "type": "error",
            "error": {"type": self.kind, "message": self.message},
            "request_id": request_id,
        })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if matches!(self.status.as_u16(), 429 | 503 | 529) {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// 529 is the API's own invention; no constant exists for it.
fn overloaded_status() -> StatusCode {
    StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

fn kind_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 | 405 | 422 => "invalid_request_error",
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_follows_the_status() {
        for (status, kind) in [
            (402, "billing_error"),
            (422, "invalid_request_error"),
            (500, "api_error"),
            (529, "overloaded_error"),
            (599, "api_error"),
        ] {
            let error = ApiError::staged(StatusCode::from_u16(status).unwrap());
            let body = error.body(Some("req_1"));
            assert_eq!(body["error"]["type"], kind, "{status}");
            assert_eq!(body["request_id"], "req_1");
        }
    }

    #[test]
    fn only_overload_and_rate_limits_say_when_to_retry() {
        for (status, expected) in [(429, true), (503, true), (529, true), (500, false)] {
            let error = ApiError::staged(StatusCode::from_u16(status).unwrap());
            let response = error.into_response();
            let found = response.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(found, expected, "{status}");
        }
    }
}
