//! What the upstream answers: little, in the API's shape.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{KeyAnswer, Logged, Settings, Shared, TokenAnswer};

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl Shared {
    /// Notes a request and answers it.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: u64,
        client: Option<u64>,
    ) -> Result<Response<Body>, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let key = key(&head.headers);
        let provoked =
            head.headers.get("anthropic-test-status").map(|status| status.to_str().unwrap().parse().unwrap());
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        self.log.lock().unwrap().push(Logged {
            method: head.method.to_string(),
            path: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
            headers: head.headers,
            key: key.clone(),
            version: head.version,
            client,
            connection,
            body,
        });
        if (&head.method, head.uri.path()) == (&Method::POST, "/v1/oauth/token") {
            return Ok(self.settings.lock().unwrap().exchange(&asked));
        }
        let mut answer = self.settings.lock().unwrap().key_answer(key.as_deref());
        if let Some(status) = provoked.filter(|_| answer.status == 200) {
            answer.status = status;
        }
        let mut response = match (answer.status, &head.method, head.uri.path()) {
            (200, &Method::POST, "/v1/messages") if asked["stream"] == true => self.stream(&asked["model"]),
            (200, method, path) => {
                let _ = self.allowed.subscribe().wait_for(|allowed| *allowed > 0).await;
                match (method, path) {
                    (&Method::POST, "/v1/messages") => document(200, &message(&asked["model"])),
                    (&Method::POST, "/v1/messages/count_tokens") => document(200, &json!({ "input_tokens": 10 })),
                    (&Method::GET, "/v1/models") => document(200, &models()),
                    _ => error(404),
                }
            }
            (status, _, _) => error(status),
        };
        for (name, value) in answer.headers {
            response.headers_mut().insert(http::HeaderName::try_from(name).unwrap(), value.try_into().unwrap());
        }
        Ok(response)
    }

    fn stream(&self, model: &Value) -> Response<Body> {
        let state = (events(model).into_iter().enumerate(), self.allowed.subscribe());
        let next = |(mut events, mut allowed): (
            std::iter::Enumerate<std::vec::IntoIter<Value>>,
            watch::Receiver<usize>,
        )| async {
            let (number, event) = events.next()?;
            let _ = allowed.wait_for(|allowed| *allowed > number).await;
            let text = format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
            Some((Ok(Frame::data(Bytes::from(text))), (events, allowed)))
        };
        let body = StreamBody::new(stream::unfold(state, next)).boxed_unsync();
        Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
    }
}

impl KeyAnswer {
    fn plain(status: u16) -> Self {
        Self { status, headers: Vec::new(), ends: None }
    }
}

impl Settings {
    fn key_answer(&self, key: Option<&str>) -> KeyAnswer {
        let Some(keys) = &self.keys else { return KeyAnswer::plain(200) };
        let known = key.and_then(|key| keys.get(key));
        let current = known.filter(|answer| answer.ends.is_none_or(|ends| Instant::now() < ends));
        current.cloned().unwrap_or_else(|| KeyAnswer::plain(401))
    }

    /// The exchange of an identity provider's token for one of the API's (RFC 7523 section 2.1, in JSON).
    fn exchange(&mut self, asked: &Value) -> Response<Body> {
        let is_whole = asked["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
            && ["assertion", "federation_rule_id", "organization_id"].iter().all(|name| asked[name].is_string());
        match self.token {
            _ if !is_whole => error(400),
            TokenAnswer::Refused(status) => error(status),
            TokenAnswer::Fresh(expires_in) => {
                self.tokens += 1;
                let token = format!("sk-ant-oat01-test-{}", self.tokens);
                if let Some(keys) = &mut self.keys {
                    let ends = Some(Instant::now() + Duration::from_secs(expires_in));
                    keys.insert(token.clone(), KeyAnswer { ends, ..KeyAnswer::plain(200) });
                }
                let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": expires_in });
                document(200, &body)
            }
        }
    }
}

fn key(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name)?.to_str().ok();
    text("x-api-key").or_else(|| text("authorization")?.strip_prefix("Bearer ")).map(str::to_owned)
}

fn document(status: u16, body: &Value) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap();
    let body = Full::from(body.to_string()).boxed_unsync();
    Response::builder().status(status).header("content-type", "application/json").body(body).unwrap()
}

fn error(status: u16) -> Response<Body> {
    let (name, message) = match status {
        400 => ("invalid_request_error", "bad request"),
        401 => ("authentication_error", "invalid x-api-key"),
        403 => ("permission_error", "not permitted"),
        404 => ("not_found_error", "not found"),
        429 => ("rate_limit_error", "too many requests"),
        529 => ("overloaded_error", "Overloaded"),
        _ => ("api_error", "internal error"),
    };
    let error = json!({ "type": name, "message": message });
    document(status, &json!({ "type": "error", "error": error, "request_id": "req_test" }))
}

fn message(model: &Value) -> Value {
    json!({
        "id": "msg_test", "type": "message", "role": "assistant", "model": model,
        "content": [{ "type": "text", "text": "Hello" }], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": { "input_tokens": 10, "output_tokens": 5 },
    })
}

fn models() -> Value {
    let model = json!({ "type": "model", "id": "claude-haiku-4-5", "display_name": "Claude Haiku 4.5" });
    json!({ "data": [model], "has_more": false, "first_id": "claude-haiku-4-5", "last_id": "claude-haiku-4-5" })
}

/// Eight events, three of them deltas.
fn events(model: &Value) -> Vec<Value> {
    let mut start = message(model);
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["usage"]["output_tokens"] = 1.into();
    let delta =
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "Hello" } });
    vec![
        json!({ "type": "message_start", "message": start }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        delta.clone(),
        delta.clone(),
        delta,
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null }, "usage": { "output_tokens": 5 } }),
        json!({ "type": "message_stop" }),
    ]
}
