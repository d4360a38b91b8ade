//! The body of a Messages request: checked as far as the answer depends on it, otherwise taken as it is.

use serde_json::{Map, Value};

use super::error::ApiError;
use super::{models, scenario};

/// Server tools run at the API, so the model does not hand their calls to the client.
const SERVER_TOOLS: [&str; 5] = ["web_search", "web_fetch", "code_execution", "tool_search", "mcp_toolset"];

/// A Messages request that has passed the API's basic checks.
#[derive(Debug)]
pub struct MessageRequest {
    params: Map<String, Value>,
    model: String,
    max_tokens: u64,
    body_bytes: usize,
}

impl MessageRequest {
    /// The body of `POST /v1/messages`.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        Self::new(json_object(body)?, body.len())
    }

    /// The body of `POST /v1/messages/count_tokens`, which has no `max_tokens`.
    pub fn parse_for_count(body: &[u8]) -> Result<Self, ApiError> {
        let mut params = json_object(body)?;
        params.insert("max_tokens".to_owned(), Value::from(0));
        Self::new(params, body.len())
    }

    /// The `params` of one request of a batch.
    pub fn from_params(params: &Value) -> Result<Self, ApiError> {
        let body_bytes = params.to_string().len();
        let params =
            params.as_object().ok_or_else(|| ApiError::invalid("params: Input should be a valid dictionary"))?;
        Self::new(params.clone(), body_bytes)
    }

    fn new(params: Map<String, Value>, body_bytes: usize) -> Result<Self, ApiError> {
        let model = match params.get("model") {
            Some(Value::String(model)) => model.clone(),
            Some(_) => return Err(ApiError::invalid("model: Input should be a valid string")),
            None => return Err(ApiError::invalid("model: Field required")),
        };
        let max_tokens = match params.get("max_tokens") {
            Some(value) => value
                .as_u64()
                .ok_or_else(|| ApiError::invalid("max_tokens: Input should be greater than or equal to 0"))?,
            None => return Err(ApiError::invalid("max_tokens: Field required")),
        };
        require_messages(&params)?;
        if !model.contains("claude") {
            return Err(ApiError::not_found(format!("model: {model}")));
        }
        Ok(Self { params, model, max_tokens, body_bytes })
    }

    /// As the client wrote it, with the part that is meant for the stand-in.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The name the answer bears: an alias is resolved, as the API does it.
    pub fn answering_model(&self) -> &str {
        models::resolve_alias(scenario::plain_model(&self.model))
    }

    pub fn max_tokens(&self) -> u64 {
        self.max_tokens
    }

    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    pub fn streams(&self) -> bool {
        self.params.get("stream") == Some(&Value::Bool(true))
    }

    pub fn thinks(&self) -> bool {
        let kind = self.params.get("thinking").and_then(|t| t.get("type"));
        matches!(kind.and_then(Value::as_str), Some("enabled" | "adaptive" | "between_tools"))
    }

    /// A top-level field that is a string.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.params.get(field)?.as_str()
    }

    /// The text that the user wrote last.
    pub fn last_user_text(&self) -> &str {
        let of_user = |message: &&Value| message.get("role") == Some(&Value::from("user"));
        self.messages().rev().filter(of_user).find_map(|message| last_text(message.get("content")?)).unwrap_or_default()
    }

    /// The client tool to call, unless the last turn brings a result already or the client forbids calls.
    pub fn tool_to_call(&self) -> Option<&Value> {
        let choice = self.params.get("tool_choice");
        let choice_field = |field| choice.and_then(|c| c.get(field)).and_then(Value::as_str);
        if choice_field("type") == Some("none") || self.brings_tool_result() {
            return None;
        }
        let wanted = choice_field("name");
        self.tools()
            .filter(|tool| !is_server_tool(tool))
            .find(|tool| wanted.is_none_or(|name| tool.get("name") == Some(&Value::from(name))))
    }

    pub fn searches_web(&self) -> bool {
        self.tools().filter_map(|tool| tool.get("type")?.as_str()).any(|kind| kind.starts_with("web_search"))
    }

    /// The schema that the answer's text has to satisfy, with structured outputs.
    pub fn output_schema(&self) -> Option<&Value> {
        let config = self.params.get("output_config");
        config.and_then(|config| config.get("format")).or_else(|| self.params.get("output_format"))?.get("schema")
    }

    /// Whether something is cached for five minutes, and whether something is for an hour.
    pub fn cache_lifetimes(&self) -> (bool, bool) {
        self.params.iter().map(|(name, value)| cache_lifetimes(name, value)).fold((false, false), either)
    }

    fn messages(&self) -> impl DoubleEndedIterator<Item = &Value> {
        let messages = self.params.get("messages").and_then(Value::as_array);
        messages.into_iter().flatten()
    }

    fn tools(&self) -> impl Iterator<Item = &Value> {
        let tools = self.params.get("tools").and_then(Value::as_array);
        tools.into_iter().flatten()
    }

    fn brings_tool_result(&self) -> bool {
        let last = self.messages().next_back();
        let blocks = last.and_then(|message| message.get("content")?.as_array());
        let of_result = |block: &Value| block.get("type") == Some(&Value::from("tool_result"));
        blocks.is_some_and(|blocks| blocks.iter().any(of_result))
    }
}

/// Any JSON object that arrives as a body.
pub fn json_object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(ApiError::invalid("Input should be a valid dictionary")),
        Err(error) => {
            let message = format!("The request body is not valid JSON: {error}");
            Err(ApiError::invalid(message))
        }
    }
}

fn require_messages(params: &Map<String, Value>) -> Result<(), ApiError> {
    let messages = match params.get("messages") {
        Some(Value::Array(messages)) => messages,
        Some(_) => return Err(ApiError::invalid("messages: Input should be a valid list")),
        None => return Err(ApiError::invalid("messages: Field required")),
    };
    if messages.is_empty() {
        let message = "messages: at least one message is required";
        return Err(ApiError::invalid(message));
    }
    let roleless = |message: &Value| !message.get("role").is_some_and(Value::is_string);
    match messages.iter().position(roleless) {
        Some(index) => Err(ApiError::invalid(format!("messages.{index}.role: Field required"))),
        None => Ok(()),
    }
}

fn last_text(content: &Value) -> Option<&str> {
    match content {
        Value::String(text) => Some(text),
        Value::Array(blocks) => blocks.iter().rev().find_map(|block| {
            let is_text = block.get("type")? == "text";
            block.get("text").filter(|_| is_text)?.as_str()
        }),
        _ => None,
    }
}

fn is_server_tool(tool: &Value) -> bool {
    let kind = tool.get("type").and_then(Value::as_str).unwrap_or_default();
    SERVER_TOOLS.iter().any(|name| kind.starts_with(name))
}

/// `cache_control` may stand on tools, system blocks, message blocks and at top level: it is looked for everywhere.
fn cache_lifetimes(name: &str, value: &Value) -> (bool, bool) {
    match value {
        Value::Object(fields) if name == "cache_control" => {
            let long = fields.get("ttl") == Some(&Value::from("1h"));
            (!long, long)
        }
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| cache_lifetimes(name, value)).fold((false, false), either)
        }
        Value::Array(values) => values.iter().map(|value| cache_lifetimes("", value)).fold((false, false), either),
        _ => (false, false),
    }
}

fn either(a: (bool, bool), b: (bool, bool)) -> (bool, bool) {
    (a.0 || b.0, a.1 || b.1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(params: &Value) -> Result<MessageRequest, ApiError> {
        MessageRequest::parse(params.to_string().as_bytes())
    }

    fn with(field: &str, value: Value) -> Value {
        let mut params = json!({"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
        params[field] = value;
        params
    }

    #[test]
    fn basics_are_checked_in_the_apis_words() {
        for (params, message) in [
            (json!([]), "Input should be a valid dictionary"),
            (json!({}), "model: Field required"),
            (with("model", json!(7)), "model: Input should be a valid string"),
            (with("model", json!("gpt-x")), "model: gpt-x"),
            (with("max_tokens", json!(-1)), "max_tokens: Input should be greater than or equal to 0"),
            (with("messages", json!([])), "messages: at least one message is required"),
            (with("messages", json!([{"role": "user"}, 7])), "messages.1.role: Field required"),
        ] {
            let error = parse(&params).unwrap_err();
            assert_eq!(error.body(None)["error"]["message"], message, "{params}");
        }
        assert!(parse(&with("invented", json!({"a": 1}))).is_ok());
        assert!(parse(&with("max_tokens", json!(0))).is_ok());
    }

    #[test]
    fn last_user_text_is_the_last_text_block() {
        let blocks = json!([
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "no"},
            {"role": "user", "content": [
                {"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "image"},
            ]},
            {"role": "assistant", "content": "no"},
        ]);
        assert_eq!(parse(&with("messages", blocks)).unwrap().last_user_text(), "b");
    }

    #[test]
    fn a_tool_is_called_once_and_only_if_allowed() {
        let tools = json!([{"type": "web_search_20250305", "name": "web_search"}, {"name": "a"}, {"name": "b"}]);
        let mut params = with("tools", tools);
        let called = |params: &Value| {
            let request = parse(params).unwrap();
            request.tool_to_call().map(|tool| tool["name"].clone())
        };
        assert_eq!(called(&params), Some(json!("a")));
        params["tool_choice"] = json!({"type": "tool", "name": "b"});
        assert_eq!(called(&params), Some(json!("b")));
        params["tool_choice"] = json!({"type": "none"});
        assert_eq!(called(&params), None);
        params["tool_choice"] = json!({"type": "auto"});
        params["messages"] = json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]);
        assert_eq!(called(&params), None);
    }

    #[test]
    fn cache_control_is_found_wherever_it_stands() {
        let hour = json!({"type": "ephemeral", "ttl": "1h"});
        let of = |params: Value| parse(&params).unwrap().cache_lifetimes();
        assert_eq!(of(with("cache_control", json!({"type": "ephemeral"}))), (true, false));
        assert_eq!(of(with("tools", json!([{"name": "a", "cache_control": hour}]))), (false, true));
        assert_eq!(of(with("system", json!([{"text": "cache_control"}]))), (false, false));
    }
}
