//! The message that answers a request: an echo of the user's text and whatever the request's features bring along.

use serde_json::{Value, json};

use super::request::MessageRequest;
use super::scenario::Scenario;
use super::schema;
use super::usage::{Usage, tokens};

const ECHOED_CHARS: usize = 200;
const THINKING: &str = "The user wrote something. I will repeat it, as I always do.";
const SIGNATURE: &str = "c3RhbmQtaW4gc2lnbmF0dXJlOiB2ZXJpZmllcyBub3RoaW5n";
const FILLER: &str = "The quick brown fox jumps over the lazy dog. ";
const DEFAULT_TEXT_DELTAS: usize = 5;
const INPUT_JSON_DELTAS: usize = 3;

/// A complete message, from which both the JSON and the event stream are made.
#[derive(Debug)]
pub struct Answer {
    pub id: String,
    pub model: String,
    pub blocks: Vec<Block>,
    pub stop_reason: &'static str,
    pub usage: Usage,
    text_deltas: usize,
    /// How many bytes a text delta has, where the request says so.
    delta_bytes: Option<usize>,
}

/// One content block.
#[derive(Debug)]
pub enum Block {
    Thinking,
    Text(String),
    ToolUse { id: String, name: Value, input: Value },
    WebSearch { id: String, query: String },
    WebSearchResult { id: String },
}

impl Answer {
    pub fn compose(serial: u64, request: &MessageRequest, scenario: &Scenario) -> Self {
        let mut usage = Usage::of_request(request);
        usage.iterations = scenario.iterations;
        let text_deltas = scenario.text_deltas.unwrap_or(DEFAULT_TEXT_DELTAS);
        let mut answer = Self {
            id: format!("msg_standin_{serial}"),
            model: request.answering_model().to_owned(),
            blocks: Vec::new(),
            stop_reason: "end_turn",
            usage,
            text_deltas,
            delta_bytes: scenario.echo_cut,
        };
        // Such a request only warms the prompt cache.
        if request.max_tokens() == 0 {
            answer.stop_reason = "max_tokens";
        } else {
            answer.fill(serial, request, scenario);
        }
        answer
    }

    /// The body of an answer that is not streamed.
    pub fn to_json(&self) -> Value {
        let content: Vec<Value> = self.blocks.iter().map(Block::complete).collect();
        self.message(&json!(content), &json!(self.stop_reason), &self.usage.total())
    }

    /// The message of `message_start`.
    pub fn to_start(&self) -> Value {
        self.message(&json!([]), &Value::Null, &self.usage.provisional())
    }

    /// The deltas of one block, in order.
    pub fn deltas(&self, block: &Block) -> Vec<Value> {
        match block {
            Block::Thinking => {
                let mut deltas: Vec<Value> =
                    split(THINKING, 2).map(|part| json!({"type": "thinking_delta", "thinking": part})).collect();
                deltas.push(json!({"type": "signature_delta", "signature": SIGNATURE}));
                deltas
            }
            Block::Text(text) => {
                if let Some(bytes) = self.delta_bytes {
                    return cut(text, bytes).map(|part| json!({"type": "text_delta", "text": part})).collect();
                }
                split(text, self.text_deltas).map(|part| json!({"type": "text_delta", "text": part})).collect()
            }
            Block::ToolUse { input, .. } => input_deltas(input),
            Block::WebSearch { query, .. } => input_deltas(&json!({"query": query})),
            Block::WebSearchResult { .. } => Vec::new(),
        }
    }

    fn message(&self, content: &Value, stop_reason: &Value, usage: &Value) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": null,
            "stop_details": null,
            "container": null,
            "usage": usage,
        })
    }

    fn fill(&mut self, serial: u64, request: &MessageRequest, scenario: &Scenario) {
        if request.thinks() {
            self.blocks.push(Block::Thinking);
            self.usage.thinking_tokens = tokens(THINKING.len());
        }
        if let Some(tool) = request.tool_to_call() {
            self.stop_reason = "tool_use";
            self.blocks.push(tool_use(serial, tool));
        } else {
            if request.searches_web() {
                self.search(serial, request);
            }
            let text = text(request, scenario, self.text_deltas);
            self.blocks.push(Block::Text(text));
        }
        let made = self.blocks.iter().map(Block::tokens).sum();
        self.usage.output_tokens = made;
    }

    fn search(&mut self, serial: u64, request: &MessageRequest) {
        let id = format!("srvtoolu_standin_{serial}");
        let query = echo(request.last_user_text());
        self.usage.add_web_search();
        self.blocks.push(Block::WebSearch { id: id.clone(), query });
        self.blocks.push(Block::WebSearchResult { id });
    }
}

impl Block {
    /// As it stands in a finished message.
    fn complete(&self) -> Value {
        match self {
            Self::Thinking => {
                json!({"type": "thinking", "thinking": THINKING, "signature": SIGNATURE})
            }
            Self::Text(text) => json!({"type": "text", "text": text}),
            Self::ToolUse { id, name, input } => tool_call("tool_use", id, name, input),
            Self::WebSearch { id, query } => {
                let input = json!({"query": query});
                tool_call("server_tool_use", id, &json!("web_search"), &input)
            }
            Self::WebSearchResult { id } => json!({
                "type": "web_search_tool_result",
                "tool_use_id": id,
                "content": [{
                    "type": "web_search_result",
                    "url": "https://example.com/",
                    "title": "Example Domain",
                    "encrypted_content": "c3RhbmQtaW4=",
                    "page_age": null,
                }],
            }),
        }
    }

    /// As it stands in `content_block_start`: what the deltas bring is still empty.
    pub fn opening(&self) -> Value {
        match self {
            Self::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
            Self::Text(_) => json!({"type": "text", "text": ""}),
            Self::ToolUse { id, name, .. } => tool_call("tool_use", id, name, &json!({})),
            Self::WebSearch { id, .. } => tool_call("server_tool_use", id, &json!("web_search"), &json!({})),
            Self::WebSearchResult { .. } => self.complete(),
        }
    }

    /// Results of server tools are input of the model, not output.
    fn tokens(&self) -> u64 {
        match self {
            Self::Thinking => tokens(THINKING.len()),
            Self::Text(text) => tokens(text.len()),
            Self::ToolUse { input, .. } => tokens(input.to_string().len()),
            Self::WebSearch { query, .. } => tokens(query.len()),
            Self::WebSearchResult { .. } => 0,
        }
    }
}

fn tool_call(kind: &str, id: &str, name: &Value, input: &Value) -> Value {
    json!({"type": kind, "id": id, "name": name, "input": input, "caller": {"type": "direct"}})
}

fn tool_use(serial: u64, tool: &Value) -> Block {
    let input = match schema::sample(tool.get("input_schema").unwrap_or(&Value::Null)) {
        Value::Object(fields) => Value::Object(fields),
        _ => json!({}),
    };
    Block::ToolUse {
        id: format!("toolu_standin_{serial}"),
        name: tool.get("name").cloned().unwrap_or(json!("unnamed")),
        input,
    }
}

/// The echo, or JSON for structured outputs, stretched to the wanted size and to at least one character a delta.
fn text(request: &MessageRequest, scenario: &Scenario, deltas: usize) -> String {
    if let Some(schema) = request.output_schema() {
        return schema::sample(schema).to_string();
    }
    if scenario.echo {
        return request.last_user_text().to_owned();
    }
    let mut text = format!("You said: {}", echo(request.last_user_text()));
    let wanted = scenario.text_bytes.unwrap_or(0).max(deltas);
    if text.len() < wanted {
        text.push(' ');
        let missing = wanted.saturating_sub(text.len());
        text.extend(FILLER.chars().cycle().take(missing));
    }
    text
}

fn echo(text: &str) -> String {
    text.chars().take(ECHOED_CHARS).collect()
}

/// The API opens each input with an empty fragment; the others are no valid JSON by themselves.
fn input_deltas(input: &Value) -> Vec<Value> {
    let json = input.to_string();
    std::iter::once("")
        .chain(split(&json, INPUT_JSON_DELTAS))
        .map(|part| json!({"type": "input_json_delta", "partial_json": part}))
        .collect()
}

/// Cuts `text` into `parts` pieces of nearly equal length, at character boundaries. Short texts yield empty pieces.
fn split(text: &str, parts: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    (1..=parts).map(move |part| {
        let left = parts - part + 1;
        let at = rest.ceil_char_boundary(rest.len().div_ceil(left));
        let (piece, after) = rest.split_at(at);
        rest = after;
        piece
    })
}

/// Cuts `text` into pieces of `bytes`, each going on to the next character boundary.
fn cut(text: &str, bytes: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(bytes.min(rest.len())));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(extra: &Value, scenario: &Scenario) -> Answer {
        let mut params =
            json!({"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hé"}]});
        for (name, value) in extra.as_object().unwrap() {
            params[name] = value.clone();
        }
        let request = MessageRequest::parse(params.to_string().as_bytes()).unwrap();
        Answer::compose(1, &request, scenario)
    }

    #[test]
    fn echoes_and_resolves_the_alias() {
        let message = answer(&json!({}), &Scenario::default()).to_json();
        assert_eq!(message["content"][0]["text"], "You said: hé");
        assert_eq!(message["model"], "claude-haiku-4-5-20251001");
        assert_eq!(message["stop_reason"], "end_turn");
    }

    #[test]
    fn pieces_add_up_to_the_text() {
        for parts in [1, 2, 3, 7, 20] {
            let pieces: Vec<&str> = split("ünïcödé text", parts).collect();
            assert_eq!(pieces.len(), parts);
            assert_eq!(pieces.concat(), "ünïcödé text");
        }
    }

    #[test]
    fn size_and_events_shape_the_text() {
        let scenario = Scenario { text_bytes: Some(5000), text_deltas: Some(40), ..Scenario::default() };
        let answer = answer(&json!({}), &scenario);
        let block = &answer.blocks[0];
        assert_eq!(answer.deltas(block).len(), 40);
        assert_eq!(block.complete()["text"].as_str().unwrap().len(), 5000);
        assert_eq!(answer.usage.output_tokens, 1250);
    }

    #[test]
    fn an_echo_is_whole_and_cut_where_it_is_asked_to_be() {
        let said = "mail jörg@example.com ".repeat(20);
        let messages = json!({"messages": [{"role": "user", "content": said}]});
        let whole = answer(&messages, &Scenario { echo: true, ..Scenario::default() });
        assert_eq!(whole.blocks[0].complete()["text"], said);
        let cut = answer(&messages, &Scenario { echo: true, echo_cut: Some(7), ..Scenario::default() });
        let deltas = cut.deltas(&cut.blocks[0]);
        assert_eq!(deltas[0]["text"], "mail jö");
        assert_eq!(deltas.iter().map(|delta| delta["text"].as_str().unwrap()).collect::<String>(), said);
    }

    #[test]
    fn features_bring_their_blocks() {
        let kinds = |extra: Value| {
            let message = answer(&extra, &Scenario::default()).to_json();
            let blocks = message["content"].as_array().unwrap().clone();
            blocks.iter().map(|block| block["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let thinking = json!({"thinking": {"type": "adaptive"}, "tools": [{"name": "a"}]});
        assert_eq!(kinds(thinking), ["thinking", "tool_use"]);
        let search = json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]});
        assert_eq!(kinds(search), ["server_tool_use", "web_search_tool_result", "text"]);
        assert!(kinds(json!({"max_tokens": 0})).is_empty());
    }
}
