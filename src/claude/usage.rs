//! What an answer used, read from JSON and from SSE as the API reports it.

use serde::{Deserialize, Serialize};

use super::answer_text::{self, AnswerText, EventText, MessageText};
use super::scan::TopLevel;
use super::sse::EventReader;

/// Tokens and billed tool calls of one answer. Names are the API's own; `None` is "not reported".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens that were neither written to nor read from the prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Output tokens, thinking included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Tokens written to the prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_creation_input_tokens: Option<u64>,
    /// Tokens read from the prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_input_tokens: Option<u64>,
    /// The cache writes by time to live, for they differ in price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_creation: Option<CacheCreation>,
    /// Calls of tools that the API runs itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_tool_use: Option<ServerToolUse>,
    /// Part of `output_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_details: Option<OutputDetails>,
    /// `standard`, `priority` or `batch`: a price multiplier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// `standard` or `fast`: a price multiplier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,
    /// Where inference ran: a price multiplier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_geo: Option<String>,
    /// The parts of a call that ran several models or a compaction, whose tokens are not in the counts above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<Vec<Iteration>>,
}

impl Usage {
    /// All input tokens: the API's own `input_tokens` leaves out those of the prompt cache.
    pub fn input_tokens_with_cache(&self) -> Option<u64> {
        let counts = [self.input_tokens, self.cache_creation_input_tokens, self.cache_read_input_tokens];
        counts.into_iter().flatten().reduce(u64::saturating_add)
    }
}

/// Cache writes by time to live.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheCreation {
    /// Kept for five minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral_5m_input_tokens: Option<u64>,
    /// Kept for an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral_1h_input_tokens: Option<u64>,
}

/// Billed calls of server tools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerToolUse {
    /// Web searches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_search_requests: Option<u64>,
    /// Web fetches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_fetch_requests: Option<u64>,
}

/// Parts of the output tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputDetails {
    /// Thinking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_tokens: Option<u64>,
}

/// One part of a call (beta `usage.iterations`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iteration {
    /// `message`, `compaction`, `advisor_message`, `fallback_message` or one that does not exist yet.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The model, when it is not the answer's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// As in [`Usage`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// As in [`Usage`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// As in [`Usage`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_creation_input_tokens: Option<u64>,
    /// As in [`Usage`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_input_tokens: Option<u64>,
}

impl Usage {
    /// Takes over every value that `later` reports. The API's stream counters are cumulative: the last one is the total.
    fn replace_with(&mut self, later: Self) {
        fn take<T>(value: &mut Option<T>, later: Option<T>) {
            if later.is_some() {
                *value = later;
            }
        }
        take(&mut self.input_tokens, later.input_tokens);
        take(&mut self.output_tokens, later.output_tokens);
        take(&mut self.cache_creation_input_tokens, later.cache_creation_input_tokens);
        take(&mut self.cache_read_input_tokens, later.cache_read_input_tokens);
        take(&mut self.cache_creation, later.cache_creation);
        take(&mut self.server_tool_use, later.server_tool_use);
        take(&mut self.output_tokens_details, later.output_tokens_details);
        take(&mut self.service_tier, later.service_tier);
        take(&mut self.speed, later.speed);
        take(&mut self.inference_geo, later.inference_geo);
        take(&mut self.iterations, later.iterations);
    }
}

/// What an answer says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The model that answered: aliases are resolved, a fallback may have served.
    pub model: Option<String>,
    /// The last usage that was reported.
    pub usage: Option<Usage>,
    /// Why the model stopped.
    pub stop_reason: Option<String>,
    /// The type of an error, in an error body or an SSE `error` event.
    pub error_type: Option<String>,
    /// A stream's last event was seen, so that the counts are totals.
    pub complete: bool,
    /// Content deltas of a stream: a floor for the output when the totals did not come.
    pub deltas: u64,
}

/// Reads an [`Answer`] from the chunks of a response body, in memory that does not grow with it.
#[derive(Debug)]
pub struct AnswerReader {
    answer: Answer,
    body: Body,
    first_content: bool,
    missed_text: bool,
}

#[derive(Debug)]
enum Body {
    Sse(EventReader),
    Json(TopLevel, MessageText),
    Other,
}

impl AnswerReader {
    /// A reader for a body of this `content-type`. Bodies that are neither JSON nor SSE are not looked at.
    pub fn new(content_type: Option<&[u8]>) -> Self {
        let media_type =
            content_type.and_then(|value| value.split(|&byte| byte == b';').next()).unwrap_or_default().trim_ascii();
        let body = if media_type.eq_ignore_ascii_case(b"text/event-stream") {
            Body::Sse(EventReader::default())
        } else if media_type.eq_ignore_ascii_case(b"application/json") {
            Body::Json(TopLevel::new(&["model", "usage", "stop_reason", "error"]), MessageText::default())
        } else {
            Body::Other
        };
        Self { answer: Answer::default(), body, first_content: false, missed_text: false }
    }

    /// Whether a stream stands between two events, where another one may follow.
    pub fn is_between_events(&self) -> bool {
        matches!(&self.body, Body::Sse(events) if events.is_between_events())
    }

    /// Whether the answer is a stream of events.
    pub fn is_stream(&self) -> bool {
        matches!(self.body, Body::Sse(_))
    }

    /// What a stream has said of itself so far; `None` for an answer that is no stream.
    pub fn stream_so_far(&self) -> Option<&Answer> {
        matches!(self.body, Body::Sse(_)).then_some(&self.answer)
    }

    /// Looks at the next chunk.
    pub fn feed(&mut self, chunk: &[u8]) {
        match &mut self.body {
            Body::Sse(events) => events.feed(chunk, |name, data| {
                self.answer.take_event(name, data);
                self.first_content |= begins_content(name, data, self.first_content);
            }),
            Body::Json(json, _) => json.feed(chunk),
            Body::Other => {}
        }
    }

    /// The same as [`feed`](Self::feed), and tells the answer's words: what a piece is, the decoded piece, and the index of
    /// its block. The pieces come in the order that they were sent in; a stream's are those of its events, those of JSON are
    /// cut where chunks are. Signatures, citations and results of tools that the API runs are not told. All chunks of an
    /// answer must be fed in the same way.
    pub fn feed_with(&mut self, chunk: &[u8], mut on_text: impl FnMut(AnswerText, &str, u64)) {
        match &mut self.body {
            Body::Sse(events) => {
                events.feed(chunk, |name, data| {
                    self.answer.take_event(name, data);
                    let text = match name {
                        b"content_block_delta" => answer_text::of_delta(data),
                        b"content_block_start" => answer_text::of_start(data),
                        _ => return,
                    };
                    self.first_content |= name == b"content_block_delta" || matches!(text, EventText::Piece(..));
                    match text {
                        EventText::Piece(kind, text, index) => on_text(kind, &text, index),
                        EventText::Unreadable => self.missed_text = true,
                        EventText::None => {}
                    }
                });
                self.missed_text |= events.has_skipped();
            }
            Body::Json(json, text) => {
                json.feed(chunk);
                text.feed(chunk, &mut on_text);
            }
            Body::Other => {}
        }
    }

    /// Whether a stream's first content has come: the first delta of a block, or a block that begins with words.
    pub fn first_content_seen(&self) -> bool {
        self.first_content
    }

    /// Whether a stream had content that [`feed_with`](Self::feed_with) could not tell: an event longer than 1 MiB, or one
    /// that is not spelled as the API does.
    pub fn has_missed_text(&self) -> bool {
        self.missed_text
    }

    /// What has been read so far.
    pub fn answer(&self) -> Answer {
        let mut answer = self.answer.clone();
        if let Body::Json(json, _) = &self.body {
            answer.model = json.value("model");
            answer.usage = json.value("usage");
            answer.stop_reason = json.value("stop_reason");
            answer.error_type = json.value::<ErrorBody>("error").map(|error| error.kind);
            answer.complete = json.is_complete();
        }
        answer
    }
}

/// Whether an event is the first content of a stream. A block's start is read only until then.
fn begins_content(name: &[u8], data: &[u8], seen: bool) -> bool {
    match name {
        b"content_block_delta" => true,
        b"content_block_start" if !seen => matches!(answer_text::of_start(data), EventText::Piece(..)),
        _ => false,
    }
}

impl Answer {
    /// Meters by the event's name: an unknown event may carry something that looks like usage and is not.
    fn take_event(&mut self, name: &[u8], data: &[u8]) {
        match name {
            b"content_block_delta" => self.deltas += 1,
            b"message_start" => {
                if let Ok(MessageStart { message }) = serde_json::from_slice(data) {
                    self.model = message.model;
                    self.usage = message.usage;
                }
            }
            b"message_delta" => {
                if let Ok(MessageDelta { delta, usage }) = serde_json::from_slice(data) {
                    if let Some(later) = usage {
                        self.usage.get_or_insert_default().replace_with(later);
                    }
                    if let Some(reason) = delta.and_then(|delta| delta.stop_reason) {
                        self.stop_reason = Some(reason);
                    }
                }
            }
            b"message_stop" => self.complete = true,
            b"error" => {
                if let Ok(ErrorEvent { error }) = serde_json::from_slice(data) {
                    self.error_type = Some(error.kind);
                }
            }
            _ => {}
        }
    }
}

#[derive(Deserialize)]
struct MessageStart {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    model: Option<String>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct MessageDelta {
    delta: Option<Delta>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Delta {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct ErrorEvent {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "type")]
    kind: String,
}

#[cfg(test)]
mod tests;
