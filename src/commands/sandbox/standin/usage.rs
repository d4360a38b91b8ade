//! Token counters: deterministic, roughly proportional to the texts, and with every field that a meter must know.

use serde_json::{Value, json};

use super::request::MessageRequest;

/// About how many bytes a token has.
const BYTES_PER_TOKEN: usize = 4;

/// What one message cost. The input counters do not overlap; `thinking_tokens` are part of `output_tokens`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    pub input_tokens: u64,
    /// The part of `input_tokens` that web search results added while the message was made.
    pub searched_tokens: u64,
    pub cache_write_5m_tokens: u64,
    pub cache_write_1h_tokens: u64,
    pub cache_read_tokens: u64,
    pub output_tokens: u64,
    pub thinking_tokens: u64,
    pub web_searches: u64,
    pub service_tier: &'static str,
    pub inference_geo: String,
    pub speed: Option<String>,
    pub iterations: bool,
}

impl Usage {
    /// The input side, from the request alone.
    pub fn of_request(request: &MessageRequest) -> Self {
        let total = tokens(request.body_bytes());
        let (short, long) = request.cache_lifetimes();
        let written = if short || long { (total / 2).max(1) } else { 0 };
        let long_lived = match (short, long) {
            (true, true) => written / 2,
            (false, true) => written,
            (_, false) => 0,
        };
        let read = if written > 0 { total / 4 } else { 0 };
        Self {
            input_tokens: total.saturating_sub(written + read).max(1),
            cache_write_5m_tokens: written - long_lived,
            cache_write_1h_tokens: long_lived,
            cache_read_tokens: read,
            service_tier: "standard",
            inference_geo: request.text("inference_geo").unwrap_or("global").to_owned(),
            speed: request.text("speed").map(str::to_owned),
            ..Self::default()
        }
    }

    /// A web search and what reading its results adds to the input.
    pub fn add_web_search(&mut self) {
        self.web_searches += 1;
        self.searched_tokens += self.input_tokens * 2;
        self.input_tokens += self.searched_tokens;
    }

    /// The counters of a finished message.
    pub fn total(&self) -> Value {
        self.counters(self.input_tokens, self.output_tokens, self.thinking_tokens)
    }

    /// The provisional counters of `message_start`: one token of output, nothing searched yet.
    pub fn provisional(&self) -> Value {
        let before_search = Self { web_searches: 0, ..self.clone() };
        before_search.counters(self.input_tokens - self.searched_tokens, self.output_tokens.min(1), 0)
    }

    /// The cumulative counters of a `message_delta` at which `output_tokens` have been made. It has fewer fields than
    /// those of a message.
    pub fn so_far(&self, output_tokens: u64) -> Value {
        let mut usage = json!({
            "input_tokens": self.input_tokens,
            "cache_creation_input_tokens": self.cache_write_5m_tokens + self.cache_write_1h_tokens,
            "cache_read_input_tokens": self.cache_read_tokens,
            "output_tokens": output_tokens,
            "output_tokens_details": {"thinking_tokens": self.thinking_tokens.min(output_tokens)},
            "server_tool_use": self.server_tool_use(),
        });
        self.insert_iterations(&mut usage, self.input_tokens, output_tokens);
        usage
    }

    fn counters(&self, input_tokens: u64, output_tokens: u64, thinking_tokens: u64) -> Value {
        let mut usage = json!({
            "input_tokens": input_tokens,
            "cache_creation_input_tokens": self.cache_write_5m_tokens + self.cache_write_1h_tokens,
            "cache_read_input_tokens": self.cache_read_tokens,
            "cache_creation": self.cache_creation(),
            "output_tokens": output_tokens,
            "output_tokens_details": {"thinking_tokens": thinking_tokens},
            "server_tool_use": self.server_tool_use(),
            "service_tier": self.service_tier,
            "inference_geo": self.inference_geo,
        });
        if let (Some(speed), Some(fields)) = (&self.speed, usage.as_object_mut()) {
            fields.insert("speed".to_owned(), json!(speed));
        }
        self.insert_iterations(&mut usage, input_tokens, output_tokens);
        usage
    }

    fn cache_creation(&self) -> Value {
        json!({
            "ephemeral_5m_input_tokens": self.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": self.cache_write_1h_tokens,
        })
    }

    fn server_tool_use(&self) -> Value {
        json!({"web_search_requests": self.web_searches, "web_fetch_requests": 0})
    }

    fn insert_iterations(&self, usage: &mut Value, input_tokens: u64, output_tokens: u64) {
        let Some(fields) = usage.as_object_mut().filter(|_| self.iterations) else {
            return;
        };
        let compaction = json!({
            "type": "compaction",
            "input_tokens": self.input_tokens * 10,
            "output_tokens": COMPACTION_OUTPUT_TOKENS,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": null,
        });
        let message = json!({
            "type": "message",
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cache_creation_input_tokens": self.cache_write_5m_tokens + self.cache_write_1h_tokens,
            "cache_read_input_tokens": self.cache_read_tokens,
            "cache_creation": self.cache_creation(),
        });
        fields.insert("iterations".to_owned(), json!([compaction, message]));
    }
}

/// What the summary of a compaction costs, whatever it summarizes.
const COMPACTION_OUTPUT_TOKENS: u64 = 500;

/// The tokens of a text with this many bytes; at least one.
pub fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes / BYTES_PER_TOKEN).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(params: &Value) -> Usage {
        let body = params.to_string();
        Usage::of_request(&MessageRequest::parse(body.as_bytes()).unwrap())
    }

    fn request(content: &Value) -> Value {
        json!({"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": content}]})
    }

    #[test]
    fn input_is_a_quarter_of_the_body() {
        let params = request(&json!("x".repeat(400)));
        let usage = of(&params);
        assert_eq!(usage.input_tokens, tokens(params.to_string().len()));
        assert_eq!(usage.cache_read_tokens, 0);
        assert_eq!(usage.total()["cache_creation_input_tokens"], 0);
    }

    #[test]
    fn cache_control_splits_the_input_by_lifetime() {
        let text = |ttl: &str| {
            let cache_control = json!({"type": "ephemeral", "ttl": ttl});
            json!({"type": "text", "text": "x".repeat(400), "cache_control": cache_control})
        };
        let params = request(&json!([text("1h"), text("5m")]));
        let usage = of(&params);
        assert!(usage.cache_write_1h_tokens > 0 && usage.cache_write_5m_tokens > 0);
        let parts =
            [usage.input_tokens, usage.cache_read_tokens, usage.cache_write_1h_tokens, usage.cache_write_5m_tokens];
        assert_eq!(parts.iter().sum::<u64>(), tokens(params.to_string().len()));
        assert_eq!(of(&request(&json!([text("5m")]))).cache_write_1h_tokens, 0);
    }

    #[test]
    fn provisional_usage_leaves_out_what_comes_later() {
        let mut usage = of(&request(&json!("hi")));
        let before = usage.input_tokens;
        usage.add_web_search();
        usage.output_tokens = 40;
        usage.thinking_tokens = 10;
        let first = usage.provisional();
        assert_eq!(first["input_tokens"], before);
        assert_eq!(first["output_tokens"], 1);
        assert_eq!(first["server_tool_use"]["web_search_requests"], 0);
        let last = usage.so_far(40);
        assert_eq!(last["input_tokens"], before * 3);
        assert_eq!(last["output_tokens"], 40);
        assert_eq!(last["output_tokens_details"]["thinking_tokens"], 10);
        assert_eq!(last["server_tool_use"]["web_search_requests"], 1);
    }

    #[test]
    fn compaction_is_counted_beside_the_message() {
        let mut usage = of(&request(&json!("hi")));
        usage.iterations = true;
        usage.output_tokens = 7;
        let total = usage.total();
        assert_eq!(total["iterations"][0]["type"], "compaction");
        assert_eq!(total["iterations"][1]["output_tokens"], 7);
        assert_eq!(total["output_tokens"], 7);
    }
}
