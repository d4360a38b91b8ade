//! An answer as a stream of server-sent events.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use serde_json::{Value, json};

use super::answer::Answer;
use super::error::ApiError;
use super::log::Exchange;
use super::scenario::{Breakage, Scenario};
use super::sse;

/// Gives the events before a cut the time to leave; both HTTP versions drop what is still queued when a body fails.
const BEFORE_CUT: Duration = Duration::from_millis(20);

/// The response to a request with `"stream": true`.
pub fn respond(answer: &Answer, scenario: &Scenario, exchange: Arc<Exchange>) -> Response {
    let script = Script::of(answer, scenario, &exchange.request_id());
    let gap = scenario.gap.unwrap_or_default();
    let headers = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (headers, script.play(gap, exchange)).into_response()
}

/// The events of one stream and how it ends.
struct Script {
    frames: Vec<Bytes>,
    cut: bool,
}

impl Script {
    fn of(answer: &Answer, scenario: &Scenario, request_id: &str) -> Self {
        let events = events(answer);
        let mut frames = if scenario.noisy { noisy_frames(&events) } else { events.iter().map(sse::frame).collect() };
        match scenario.breakage {
            Some(Breakage::Cut(after)) => frames.truncate(after),
            Some(Breakage::SseError(after)) => {
                frames.truncate(after);
                frames.push(sse::frame(&ApiError::overloaded().body(Some(request_id))));
            }
            None => {}
        }
        let cut = matches!(scenario.breakage, Some(Breakage::Cut(_)));
        Self { frames, cut }
    }

    fn play(self, gap: Duration, exchange: Arc<Exchange>) -> Body {
        let cut = self.cut;
        let frames = self.frames.into_iter().enumerate();
        Body::from_stream(stream::unfold((frames, exchange, false), move |(mut frames, exchange, ended)| async move {
            if ended {
                return None;
            }
            let Some((index, frame)) = frames.next() else {
                return abort(cut).await.map(|error| (Err(error), (frames, exchange, true)));
            };
            pause(index, gap).await;
            exchange.wrote_event();
            Some((Ok(frame), (frames, exchange, false)))
        }))
    }
}

/// Between two events the task yields at least once, at which the server flushes: each event travels by itself.
async fn pause(index: usize, gap: Duration) {
    if index == 0 {
        return;
    }
    if gap.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(gap).await;
    }
}

async fn abort(cut: bool) -> Option<io::Error> {
    if !cut {
        return None;
    }
    tokio::time::sleep(BEFORE_CUT).await;
    Some(io::Error::other("cut as the scenario asks"))
}

/// A JSON response of which only the first half is sent.
pub fn respond_half(body: &Value) -> Response {
    let text = body.to_string();
    let length = text.len();
    let half = Bytes::from(text).slice(..length / 2);
    let body = stream::unfold(Some(half), |half| async {
        if let Some(half) = half {
            return Some((Ok(half), None));
        }
        abort(true).await.map(|error| (Err(error), None))
    });
    let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    (headers, Body::from_stream(body)).into_response()
}

/// The events of a whole answer, in the API's order.
fn events(answer: &Answer) -> Vec<Value> {
    let mut events = vec![json!({"type": "message_start", "message": answer.to_start()})];
    for (index, block) in answer.blocks.iter().enumerate() {
        let opening = block.opening();
        events.push(json!({"type": "content_block_start", "index": index, "content_block": opening}));
        if index == 0 {
            events.push(json!({"type": "ping"}));
        }
        for delta in answer.deltas(block) {
            events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.extend(message_deltas(answer));
    events.push(json!({"type": "message_stop"}));
    events
}

/// Answers with several blocks report twice. The counters are cumulative, so only the last report is the total.
fn message_deltas(answer: &Answer) -> Vec<Value> {
    let total = answer.usage.output_tokens;
    let delta = |stop_reason: Value, output_tokens| {
        json!({
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason, "stop_sequence": null, "stop_details": null, "container": null},
            "usage": answer.usage.so_far(output_tokens),
        })
    };
    let last = delta(json!(answer.stop_reason), total);
    if answer.blocks.len() > 1 { vec![delta(Value::Null, total.div_ceil(2)), last] } else { vec![last] }
}

/// Everything a reader must step over: comments, events of unknown type with counters that mean nothing, and every way
/// to write a line.
fn noisy_frames(events: &[Value]) -> Vec<Bytes> {
    let mut frames = vec![sse::comment("keep-alive"), unknown_event()];
    for (index, event) in events.iter().enumerate() {
        frames.push(match index % 3 {
            0 => sse::frame(event),
            1 => sse::frame_tight(event),
            _ => sse::frame_crlf(event),
        });
        if index % 4 == 1 {
            frames.push(sse::comment("keep-alive"));
        }
        if index == 2 {
            frames.push(unknown_event());
        }
    }
    frames.push(sse::frame(&json!({"type": "ping"})));
    frames.push(sse::comment("end"));
    frames
}

fn unknown_event() -> Bytes {
    let usage = json!({"input_tokens": 999_999_999, "output_tokens": 999_999_999});
    sse::frame_tight(&json!({"type": "standin_forecast", "usage": usage}))
}

#[cfg(test)]
mod tests {
    use super::super::request::MessageRequest;
    use super::*;

    fn answer(extra: &str, scenario: &Scenario) -> Answer {
        let body =
            format!(r#"{{"model":"claude-x","max_tokens":9,"messages":[{{"role":"user","content":"hi"}}]{extra}}}"#);
        let request = MessageRequest::parse(body.as_bytes()).unwrap();
        Answer::compose(1, &request, scenario)
    }

    fn names(scenario: &Scenario) -> Vec<String> {
        let script = Script::of(&answer("", scenario), scenario, "req_1");
        let first_line = |frame: &Bytes| {
            let text = String::from_utf8(frame.to_vec()).unwrap();
            text.lines().next().unwrap().trim_start_matches("event: ").to_owned()
        };
        script.frames.iter().map(first_line).collect()
    }

    #[test]
    fn events_come_in_the_apis_order() {
        let scenario = Scenario { text_deltas: Some(2), ..Scenario::default() };
        let expected = [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ];
        assert_eq!(names(&scenario), expected);
    }

    #[test]
    fn breakage_counts_events() {
        let broken = |breakage| Scenario { breakage: Some(breakage), ..Scenario::default() };
        assert_eq!(names(&broken(Breakage::Cut(2))), ["message_start", "content_block_start"]);
        assert_eq!(names(&broken(Breakage::SseError(1))), ["message_start", "error"]);
        assert!(names(&broken(Breakage::Cut(0))).is_empty());
    }

    #[test]
    fn the_last_report_is_the_total() {
        let scenario = Scenario::default();
        let answer = answer(r#","thinking":{"type":"adaptive"}"#, &scenario);
        let reports = message_deltas(&answer);
        assert_eq!(reports.len(), 2);
        assert_eq!(reports[0]["delta"]["stop_reason"], Value::Null);
        assert_eq!(reports[1]["usage"]["output_tokens"], answer.usage.output_tokens);
    }
}
