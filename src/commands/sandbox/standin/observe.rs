//! What happens around every call: the record, the headers of the API, authentication and refusals on demand.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use futures_util::TryStreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use time::{Duration, OffsetDateTime};

use super::error::ApiError;
use super::scenario::{Refusal, Scenario};
use super::serve::WireFault;
use super::{Standin, rfc3339};

const ORGANIZATION: &str = "5ca1ab1e-0000-4000-8000-57a9d1000000";

/// Limits and what remains of them; the same on every response.
const RATE_LIMITS: [(&str, u64, u64); 4] = [
    ("requests", 4_000, 3_999),
    ("tokens", 4_800_000, 4_799_000),
    ("input-tokens", 4_000_000, 3_999_500),
    ("output-tokens", 800_000, 799_500),
];

/// Headers that come from the CDN in front of the API.
const CDN_HEADERS: [(&str, &str); 4] = [
    ("server", "cloudflare"),
    ("cf-ray", "57a9d10000000000-FRA"),
    ("via", "1.1 google"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
];

const BAD_GATEWAY_PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
    <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n";

/// The outermost layer: records the exchange and completes the response.
pub async fn observe(State(standin): State<Arc<Standin>>, mut request: Request, next: Next) -> Response {
    let exchange = standin.log.begin(&request);
    let request_id = exchange.request_id();
    let finish = exchange.until_finished();
    request.extensions_mut().insert(Arc::clone(&exchange));
    let request = request.map(|body| exchange.watch_request(body));
    let response = next.run(request).await;
    let mut response = with_error_body(response, &request_id);
    stamp(response.headers_mut(), &request_id);
    response.map(|body| finish.watch_response(body))
}

/// The layer below: lets through who has the key, and obeys the scenario of the header. What remains of the scenario is
/// for the handlers, as an extension of the request.
pub async fn admit(State(standin): State<Arc<Standin>>, mut request: Request, next: Next) -> Response {
    let scenario = match check(&standin, &request) {
        Ok(scenario) => scenario,
        Err(error) => return drained(request, error.into_response()).await,
    };
    if let Some(refusal) = obey_before_answer(&scenario).await {
        return drained(request, refusal).await;
    }
    request.extensions_mut().insert(scenario);
    next.run(request).await
}

/// Waits as the scenario asks, and yields the response if it asks for a refusal.
pub async fn obey_before_answer(scenario: &Scenario) -> Option<Response> {
    if let Some(delay) = scenario.delay {
        tokio::time::sleep(delay).await;
    }
    Some(match scenario.refusal? {
        Refusal::Status(status) => ApiError::staged(status).into_response(),
        Refusal::Html => (StatusCode::BAD_GATEWAY, Html(BAD_GATEWAY_PAGE)).into_response(),
        Refusal::Close => faulty(WireFault::Close),
        Refusal::Garbage => faulty(WireFault::Garbage),
    })
}

fn check(standin: &Standin, request: &Request) -> Result<Scenario, ApiError> {
    if request.uri().path().starts_with("/v1/") {
        let key = request.headers().get("x-api-key");
        if key.is_none_or(|key| key != standin.expected_key.as_str()) {
            let message = "invalid x-api-key";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, message));
        }
        if !request.headers().contains_key("anthropic-version") {
            let message = "anthropic-version: header is required";
            return Err(ApiError::invalid(message));
        }
    }
    Scenario::from_headers(request.headers())
}

fn faulty(fault: WireFault) -> Response {
    let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
    response.extensions_mut().insert(fault);
    response
}

/// `response`, once the request's body is read: the record is complete, and a client that is still sending does not
/// lose the answer to a connection reset.
async fn drained(request: Request, response: Response) -> Response {
    let mut chunks = request.into_body().into_data_stream();
    while let Ok(Some(_)) = chunks.try_next().await {}
    response
}

/// Errors get their body here, because it names the request.
fn with_error_body(mut response: Response, request_id: &str) -> Response {
    let Some(error) = response.extensions_mut().remove::<ApiError>() else {
        return response;
    };
    let (mut parts, _) = response.into_parts();
    let (json, body) = Json(error.body(Some(request_id))).into_response().into_parts();
    parts.headers.extend(json.headers);
    Response::from_parts(parts, Body::new(body))
}

fn stamp(headers: &mut HeaderMap, request_id: &str) {
    insert(headers, "request-id", request_id);
    insert(headers, "anthropic-organization-id", ORGANIZATION);
    let reset = rfc3339(OffsetDateTime::now_utc() + Duration::minutes(1));
    for (kind, limit, remaining) in RATE_LIMITS {
        let name = |part| format!("anthropic-ratelimit-{kind}-{part}");
        insert(headers, &name("limit"), &limit.to_string());
        insert(headers, &name("remaining"), &remaining.to_string());
        insert(headers, &name("reset"), &reset);
    }
    for (name, value) in CDN_HEADERS {
        insert(headers, name, value);
    }
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}
