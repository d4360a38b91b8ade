use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(content_type: &str, body: &str) -> Answer {
    let mut reader = AnswerReader::new(Some(content_type.as_bytes()));
    for chunk in body.as_bytes().chunks(7) {
        reader.feed(chunk);
    }
    reader.answer()
}

const STREAM: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","model":"claude-opus-5","usage":{"input_tokens":10,"output_tokens":1,"cache_creation_input_tokens":3,"cache_read_input_tokens":null,"cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":2},"service_tier":"standard"}}}

event: content_block_delta
data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"\"usage\":{\"output_tokens\":999}"}}

event: shiny_new
data: {"type":"shiny_new","usage":{"output_tokens":5000}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":20}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":12,"output_tokens":42,"cache_creation_input_tokens":null,"server_tool_use":{"web_search_requests":2}}}

event: message_stop
data: {"type":"message_stop"}

"#;

#[test]
fn stream_counters_are_cumulative_and_nulls_keep_what_was_there() {
    let answer = read("text/event-stream; charset=utf-8", STREAM);
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(12), Some(42)));
    assert_eq!((usage.cache_creation_input_tokens, usage.cache_read_input_tokens), (Some(3), None));
    assert_eq!(usage.cache_creation.unwrap().ephemeral_1h_input_tokens, Some(2));
    assert_eq!(usage.server_tool_use.unwrap().web_search_requests, Some(2));
    assert_eq!((answer.model.as_deref(), answer.stop_reason.as_deref()), (Some("claude-opus-5"), Some("end_turn")));
    assert!(answer.complete);
    assert_eq!(answer.deltas, 1);
}

#[test]
fn a_cut_stream_has_its_first_usage_and_is_not_complete() {
    let cut = STREAM.split("event: message_delta").next().unwrap();
    let answer = read("text/event-stream", cut);
    assert_eq!(answer.usage.unwrap().output_tokens, Some(1));
    assert!(!answer.complete);
}

#[test]
fn an_error_event_is_noted() {
    let answer = read(
        "text/event-stream",
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n\n",
    );
    assert_eq!(answer.error_type.as_deref(), Some("overloaded_error"));
}

#[test]
fn json_usage_is_the_top_level_one() {
    let body = r#"{"content":[{"text":"{\"usage\":{\"input_tokens\":9}}","usage":{"input_tokens":8}}],"model":"claude-opus-5","stop_reason":"end_turn",
        "usage":{"input_tokens":7,"output_tokens":3,"output_tokens_details":{"thinking_tokens":2},"inference_geo":"us","future":{}}}"#;
    let answer = read("application/json", body);
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(7), Some(3)));
    assert_eq!(usage.output_tokens_details.unwrap().thinking_tokens, Some(2));
    assert_eq!(usage.inference_geo.as_deref(), Some("us"));
    assert_eq!(answer.stop_reason.as_deref(), Some("end_turn"));
    assert!(answer.complete);
}

#[test]
fn an_error_body_is_noted_and_html_is_not_read() {
    assert_eq!(
        read("application/json", r#"{"type":"error","error":{"type":"not_found_error"}}"#).error_type.as_deref(),
        Some("not_found_error")
    );
    assert_eq!(read("text/html", "<html>usage</html>"), Answer::default());
}

fn told(content_type: &str, chunks: &[&[u8]]) -> (Vec<(AnswerText, String, u64)>, bool) {
    let mut reader = AnswerReader::new(Some(content_type.as_bytes()));
    let mut pieces: Vec<(AnswerText, String, u64)> = Vec::new();
    for chunk in chunks {
        reader.feed_with(chunk, |kind, text, index| match pieces.last_mut() {
            Some((last, so_far, at)) if (*last, *at) == (kind, index) => so_far.push_str(text),
            _ => pieces.push((kind, text.to_owned(), index)),
        });
    }
    (pieces, reader.has_missed_text())
}

fn words() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop::sample::select(vec!["a", "\"", "\\", "\n", "é", "\u{1F600}", "\u{1}", "{", "]", ",", ":"]),
        0..8,
    )
    .prop_map(|parts| parts.concat())
}

fn escaped(json: &str) -> String {
    let mut units = [0; 2];
    let escape = |char: char| match char {
        char if char.is_ascii() => char.to_string(),
        char => char.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04X}")).collect::<Vec<_>>().concat(),
    };
    json.chars().map(escape).collect()
}

proptest! {
    #[test]
    fn a_stream_and_json_tell_the_same_words_wherever_they_are_cut(
        texts in prop::collection::vec((0..3_u8, words(), words()), 1..5), size in 1..40_usize, ascii: bool,
    ) {
        let (mut blocks, mut sse, mut expected) = (Vec::new(), String::new(), Vec::new());
        for (index, (kind, first, second)) in texts.iter().enumerate() {
            let whole = [first.as_str(), second].concat();
            let input = json!({"text": whole, "n": [1, {"thinking": second}]});
            let (kind, block, deltas) = match kind {
                0 => (AnswerText::Text, json!({"type": "text", "citations": [{"text": "no"}], "text": whole}),
                    [json!({"type": "text_delta", "text": first}), json!({"type": "text_delta", "text": second})]),
                1 => (AnswerText::Thinking, json!({"type": "thinking", "thinking": whole, "signature": "no"}),
                    [json!({"type": "thinking_delta", "thinking": whole}), json!({"type": "signature_delta", "signature": "no"})]),
                _ => (AnswerText::ToolInput, json!({"type": "tool_use", "id": "no", "input": input}),
                    [json!({"type": "input_json_delta", "partial_json": ""}), json!({"type": "input_json_delta", "partial_json": input.to_string()})]),
            };
            for delta in deltas {
                let event = json!({"type": "content_block_delta", "index": index, "delta": delta});
                let _ = write!(sse, "event: content_block_delta\ndata: {event}\n\n");
            }
            blocks.push(block);
            let text = if kind == AnswerText::ToolInput { input.to_string() } else { whole };
            if !text.is_empty() {
                expected.push((kind, text, index as u64));
            }
        }
        let body = json!({"id": "no", "usage": {"content": [{"text": "no"}]}, "content": blocks, "z": [{"text": "no"}]}).to_string();
        prop_assert_eq!(told("text/event-stream", &told_in_pieces(&sse, size)), (expected.clone(), false));
        prop_assert_eq!(told("application/json", &told_in_pieces(&body, size)), (expected.clone(), false));
        if ascii {
            expected.iter_mut().filter(|piece| piece.0 == AnswerText::ToolInput).for_each(|piece| piece.1 = escaped(&piece.1));
            prop_assert_eq!(told("application/json", &told_in_pieces(&escaped(&body), size)), (expected, false));
        }
    }
}

fn told_in_pieces(text: &str, size: usize) -> Vec<&[u8]> {
    text.as_bytes().chunks(size).collect()
}

#[test]
fn first_content_is_a_delta_or_a_block_that_begins_with_words() {
    for (events, first) in [
        ("event: message_start\ndata: {}\n\n", false),
        (
            "event: content_block_start\ndata: {\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            false,
        ),
        (
            "event: content_block_start\ndata: {\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"input\":{}}}\n\n",
            false,
        ),
        (
            "event: content_block_start\ndata: {\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"a\"}}\n\n",
            true,
        ),
        ("event: content_block_delta\ndata: {}\n\n", true),
    ] {
        for with_text in [false, true] {
            let mut reader = AnswerReader::new(Some(b"text/event-stream"));
            if with_text {
                reader.feed_with(events.as_bytes(), |_, _, _| ());
            } else {
                reader.feed(events.as_bytes());
            }
            assert_eq!(reader.first_content_seen(), first, "{events}");
        }
    }
}

#[test]
fn content_that_cannot_be_told_is_noted() {
    let long = format!("event: content_block_delta\ndata: {{\"delta\":{{\"text\":\"{}\"}}}}\n\n", "x".repeat(1 << 20));
    for stream in [long.as_str(), "event: content_block_delta\ndata: {\n\n"] {
        assert_eq!(told("text/event-stream", &told_in_pieces(stream, 1000)), (vec![], true));
    }
}

#[test]
fn half_a_surrogate_pair_reads_as_a_replacement() {
    let body = r#"{"content":[{"t\u0065xt":"\ud83dx\ud83d\ud83d\ude00\ude00"}]}"#;
    let expected = (AnswerText::Text, "\u{fffd}x\u{fffd}\u{1f600}\u{fffd}".to_owned(), 0);
    assert_eq!(told("application/json", &told_in_pieces(body, 1)), (vec![expected], false));
}
