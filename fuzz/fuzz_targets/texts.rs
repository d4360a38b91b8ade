//! Every text that is told is in the body, a free object is told whole, and an answer's words are the same wherever its
//! chunks are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::claude::{AnswerReader, AnswerText, PromptText, Shape, peek, texts};
use serde_json::Value;

fuzz_target!(|input: (u8, Vec<u8>, usize)| {
    let (shape, body, cut) = input;
    let shape = match shape % 3 {
        0 => Shape::Message,
        1 => Shape::Batch,
        _ => Shape::Resource,
    };
    let mut prompt = PromptText::default();
    let read = texts(&body, shape, |piece| {
        prompt.take(piece, |_| ());
    });
    if peek(&body, shape).is_ok() && read.is_ok() {
        let _ = serde_json::from_slice::<Value>(&body);
    }
    // Under `metadata` the client chooses the form: all is told, in order.
    if let Ok(plain) = serde_json::from_slice::<Value>(&body) {
        let body = serde_json::json!({ "metadata": plain }).to_string();
        let mut told = Vec::new();
        if texts(body.as_bytes(), Shape::Message, |piece| told.push(piece.text.to_owned())).is_ok() {
            let mut expected = Vec::new();
            walk(&plain, &mut expected);
            assert_eq!(told, expected);
        }
    }
    let read = |content_type: &[u8], chunks: &[&[u8]]| {
        let mut reader = AnswerReader::new(Some(content_type));
        let mut text = String::new();
        for chunk in chunks {
            reader.feed_with(chunk, |kind, part, _| {
                if kind == AnswerText::Text {
                    text.push_str(part);
                }
            });
        }
        text
    };
    let (head, tail) = body.split_at(cut % (body.len() + 1));
    assert_eq!(read(b"text/event-stream", &[head, tail]), read(b"text/event-stream", &[&body]));
    // An answer that is no UTF-8 may have its broken characters replaced in another way.
    if std::str::from_utf8(&body).is_ok() {
        assert_eq!(read(b"application/json", &[head, tail]), read(b"application/json", &[&body]));
    }
});

fn walk(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => {
            let whole = number.as_u64().or(number.as_i64().map(i64::unsigned_abs));
            if whole.is_some_and(|whole| whole >= 1_000_000) {
                found.push(number.to_string());
            }
        }
        Value::Array(values) => values.iter().for_each(|value| walk(value, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                found.push(key.clone());
                walk(value, found);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}
