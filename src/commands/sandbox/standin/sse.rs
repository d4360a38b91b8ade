//! Server-sent events, framed as the API frames them.

use bytes::Bytes;
use serde_json::Value;

/// One event. The `event:` line repeats `type` of the data, with which the data begins, as it does at the API.
pub fn frame(data: &Value) -> Bytes {
    let (name, data) = name_and_data(data);
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// The same event with every line ended by CRLF, which the standard allows as well.
pub fn frame_crlf(data: &Value) -> Bytes {
    let (name, data) = name_and_data(data);
    Bytes::from(format!("event: {name}\r\ndata: {data}\r\n\r\n"))
}

/// The same event without the optional space after each colon.
pub fn frame_tight(data: &Value) -> Bytes {
    let (name, data) = name_and_data(data);
    Bytes::from(format!("event:{name}\ndata:{data}\n\n"))
}

/// A line that a reader has to skip.
pub fn comment(text: &str) -> Bytes {
    Bytes::from(format!(": {text}\n\n"))
}

/// `Value` sorts its fields, so the type has to be brought to the front.
fn name_and_data(data: &Value) -> (&str, String) {
    let name = data.get("type").and_then(Value::as_str).unwrap_or_default();
    let mut text = format!("{{\"type\":\"{name}\"");
    let fields = data.as_object().into_iter().flatten();
    for (field, value) in fields.filter(|(field, _)| *field != "type") {
        text.push(',');
        text.push_str(&Value::from(field.as_str()).to_string());
        text.push(':');
        text.push_str(&value.to_string());
    }
    text.push('}');
    (name, text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn frames_are_the_apis() {
        let event = json!({"type": "ping"});
        assert_eq!(frame(&event), "event: ping\ndata: {\"type\":\"ping\"}\n\n");
        assert_eq!(frame_crlf(&event), "event: ping\r\ndata: {\"type\":\"ping\"}\r\n\r\n");
        assert_eq!(frame_tight(&event), "event:ping\ndata:{\"type\":\"ping\"}\n\n");
        assert_eq!(comment("hi"), ": hi\n\n");
    }

    #[test]
    fn the_type_comes_first() {
        let event = json!({"index": 0, "type": "content_block_stop", "z": {"type": "text"}});
        let expected = r#"{"type":"content_block_stop","index":0,"z":{"type":"text"}}"#;
        assert_eq!(name_and_data(&event), ("content_block_stop", expected.to_owned()));
    }

    #[test]
    fn line_ends_in_the_data_do_not_end_the_event() {
        let event = json!({"type": "x", "text": "a\n\ndata: b"});
        let text = frame(&event);
        assert_eq!(text.split(|byte| *byte == b'\n').count(), 4);
    }
}
