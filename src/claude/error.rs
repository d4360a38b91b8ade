//! Errors in the Claude API's own shape, so that SDKs raise the right exception and retry only what is worth it.

use serde::Serialize;

/// An error type of the API with the HTTP status that goes with it (API reference, "Errors").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// 400
    InvalidRequest,
    /// 401
    Authentication,
    /// 403
    Permission,
    /// 404
    NotFound,
    /// 408
    RequestTimeout,
    /// 413
    RequestTooLarge,
    /// 429: a rate limit of the caller.
    RateLimit,
    /// 429: a budget of the caller; not the API's own 402, which Claude Code takes for the company's account.
    Billing,
    /// 502: the upstream could not be used.
    BadGateway,
    /// 503: this proxy cannot serve now.
    Unavailable,
    /// 504
    Timeout,
    /// 529
    Overloaded,
    /// 500
    Internal,
}

impl ErrorType {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Authentication => 401,
            Self::Permission => 403,
            Self::NotFound => 404,
            Self::RequestTimeout => 408,
            Self::RequestTooLarge => 413,
            Self::RateLimit | Self::Billing => 429,
            Self::Internal => 500,
            Self::BadGateway => 502,
            Self::Unavailable => 503,
            Self::Timeout => 504,
            Self::Overloaded => 529,
        }
    }

    /// The `error.type` of the body.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest | Self::RequestTimeout => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Permission => "permission_error",
            Self::NotFound => "not_found_error",
            Self::RequestTooLarge => "request_too_large",
            Self::RateLimit => "rate_limit_error",
            Self::Billing => "billing_error",
            Self::Internal | Self::BadGateway | Self::Unavailable | Self::Timeout => "api_error",
            Self::Overloaded => "overloaded_error",
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    error: Detail<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Detail<'a> {
    r#type: &'static str,
    message: &'a str,
}

/// The JSON body of an error.
pub fn error_body(error: ErrorType, message: &str, request_id: &str) -> Vec<u8> {
    let body = Body { r#type: "error", error: Detail { r#type: error.name(), message }, request_id };
    serde_json::to_vec(&body).unwrap_or_default() // texts and maps of texts always serialise
}

/// The same error as an SSE event, for a stream whose status line has gone out already.
pub fn error_event(error: ErrorType, message: &str, request_id: &str) -> Vec<u8> {
    let mut event = b"event: error\ndata: ".to_vec();
    event.extend_from_slice(&error_body(error, message, request_id));
    event.extend_from_slice(b"\n\n");
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_apis_shape() {
        let body = error_body(ErrorType::Permission, "no \"opus\"", "req_1");
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"type":"error","error":{"type":"permission_error","message":"no \"opus\""},"request_id":"req_1"}"#
        );
        let event = String::from_utf8(error_event(ErrorType::Overloaded, "x", "req_1")).unwrap();
        assert!(event.starts_with("event: error\ndata: {\"type\":\"error\"") && event.ends_with("}\n\n"));
    }
}
