use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::*;

fn pieces(body: &str, shape: Shape) -> Vec<(String, Role, bool)> {
    let mut found = Vec::new();
    texts(body.as_bytes(), shape, |piece| found.push((piece.text.to_owned(), piece.role, piece.joins))).unwrap();
    found
}

fn told(body: &Value) -> Vec<(String, Role, bool)> {
    pieces(&body.to_string(), Shape::Message)
}

fn of_role(body: &Value, role: Role) -> Vec<(String, bool)> {
    told(body).into_iter().filter(|piece| piece.1 == role).map(|(text, _, joins)| (text, joins)).collect()
}

fn prompt(body: &str, shape: Shape) -> String {
    let (mut prompt, mut text) = (PromptText::default(), String::new());
    texts(body.as_bytes(), shape, |piece| {
        prompt.take(piece, |part| text.push_str(part));
    })
    .unwrap();
    text
}

fn piece(text: &str, joins: bool) -> (String, bool) {
    (text.to_owned(), joins)
}

#[test]
fn words_of_one_turn_join_whatever_stands_between_them() {
    let body = json!({"model": "claude-haiku-5", "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "my number is 078-05"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
            {"text": "-1120", "type": "text", "cache_control": {"type": "ephemeral"}},
            {"type": "document", "title": "t", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "inner"}]}},
        ]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "text", "text": "so"}]},
        {"role": "user", "content": "plainly"},
    ]});
    assert_eq!(
        of_role(&body, Role::Prompt),
        [
            piece("my number is 078-05", false),
            piece("-1120", true),
            piece("plain", true),
            piece("inner", true),
            piece("hm", false),
            piece("so", true),
            piece("plainly", false)
        ]
    );
    let other: Vec<_> = of_role(&body, Role::Other).into_iter().map(|(text, _)| text).collect();
    assert_eq!(other, ["claude-haiku-5", "image/png", "type", "ephemeral", "text/plain", "t"]);
}

#[test]
fn results_are_apart_from_the_turn_and_from_each_other() {
    let body = json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "a"},
        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "r1"}, {"type": "text", "text": "r2"}]},
        {"type": "tool_result", "tool_use_id": "t2", "content": "r3"},
        {"type": "text", "text": "b"},
    ]}]});
    assert_eq!(of_role(&body, Role::ToolResult), [piece("r1", false), piece("r2", true), piece("r3", false)]);
    assert_eq!(of_role(&body, Role::Prompt), [piece("a", false), piece("b", true)]);
    assert_eq!(prompt(&body.to_string(), Shape::Message), "a\nr1r2\nr3\nb");
}

#[test]
fn the_system_prompt_comes_first_wherever_it_stands_and_blocks_read_as_one() {
    let turns = r#""messages":[{"role":"user","content":"one"},{"role":"user","content":[{"type":"text","text":"t"},{"type":"text","text":"wo"}]}]"#;
    let system = r#""system":[{"type":"text","text":"be"},{"type":"text","text":" kind"}]"#;
    for body in [
        format!("{{{turns},{system}}}"),
        format!("{{{system},{turns}}}"),
        format!(r#"{{{turns},"stream":true,"system":"be\u0020kind"}}"#),
    ] {
        assert_eq!(prompt(&body, Shape::Message), "be kind\none\ntwo", "{body}");
        let batch =
            format!(r#"{{"requests":[{{"custom_id":"a","params":{body}}},{{"custom_id":"b","params":{body}}}]}}"#);
        assert_eq!(prompt(&batch, Shape::Batch), "be kind\none\ntwo\nbe kind\none\ntwo", "{batch}");
    }
}

#[test]
fn tools_metadata_and_what_is_not_known_are_told_with_their_keys() {
    let body = json!({
        "tools": [{"name": "find", "input_schema": {"properties": {"ssn": {"description": "d"}}}}],
        "mcp_servers": [{"name": "m", "url": "https://m", "authorization_token": "secret"}],
        "metadata": {"user_id": "u@example.com"},
        "messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "i", "name": "find", "input": {"card": 4_111_111_111_111_111_u64, "n": 7}}]}],
        "shiny": {"new": ["x", -12_345_678]},
    });
    let of = |role| of_role(&body, role).into_iter().map(|(text, _)| text).collect::<Vec<_>>();
    let tools = of(Role::ToolDefinition);
    for text in ["find", "input_schema", "properties", "ssn", "description", "d", "m", "https://m"] {
        assert!(tools.iter().any(|told| told == text), "{text}: {tools:?}");
    }
    let other = of(Role::Other);
    for text in ["user_id", "u@example.com", "card", "4111111111111111", "shiny", "new", "x", "-12345678"] {
        assert!(other.iter().any(|told| told == text), "{text}: {other:?}");
    }
    assert!(!tools.iter().chain(&other).any(|text| text == "secret" || text == "7" || text == "metadata"));
}

#[test]
fn only_what_the_api_alone_can_read_is_left_out() {
    let block = |block: &str| {
        let body = format!(r#"{{"messages":[{{"role":"user","content":[{block}]}}]}}"#);
        pieces(&body, Shape::Message).into_iter().map(|(text, ..)| text).collect::<Vec<_>>()
    };
    for opaque in [
        r#"{"source":{"data":"QUJD","type":"base64"},"type":"image"}"#,
        r#"{"source":{"type":"base64","data":"a\/b+\r\n=="},"type":"image"}"#,
        r#"{"type":"redacted_thinking","data":"QUJD"}"#,
        r#"{"signature":"QUJD","type":"thinking"}"#,
        r#"{"type":"web_search_tool_result","content":[{"type":"web_search_result","encrypted_content":"QUJD"}]}"#,
        r#"{"type":"text","citations":[{"type":"web_search_result_location","encrypted_index":"QUJD"}]}"#,
    ] {
        assert_eq!(block(opaque), Vec::<String>::new(), "{opaque}");
    }
    for (open, text) in [
        (r#"{"source":{"data":"078051120","type":"text"}}"#, "078051120"),
        (r#"{"source":{"data":"078051120","type":"base64","type":"text"}}"#, "078051120"),
        (r#"{"source":{"data":"078051120","data":"QUJD","type":"text"}}"#, "078051120"),
        (r#"{"source":{"data":"QUJD","type":"base64","data":"078051120"}}"#, "078051120"),
        (r#"{"source":{"data":"078-05 1120","type":"base64"}}"#, "078-05 1120"),
        (r#"{"type":"text","signature":"078051120"}"#, "078051120"),
        (r#"{"type":"tool_use","input":{"type":"thinking","signature":"078051120"}}"#, "078051120"),
        (r#"{"type":"078051120"}"#, "078051120"),
        (r#"{"type":["078051120"]}"#, "078051120"),
    ] {
        assert!(block(open).iter().any(|told| told == text), "{open}");
    }
}

#[test]
fn words_of_other_resources_are_prompts_too() {
    let body = json!({"agent": "a", "events": [{"type": "user.message", "content": [
        {"type": "text", "text": "078-05"}, {"type": "text", "text": "-1120"},
    ]}], "system": "s", "tools": [{"name": "t"}]});
    let found = pieces(&body.to_string(), Shape::Resource);
    for piece in [
        ("078-05", Role::Prompt, false),
        ("-1120", Role::Prompt, true),
        ("s", Role::System, false),
        ("t", Role::ToolDefinition, false),
    ] {
        assert!(found.contains(&(piece.0.to_owned(), piece.1, piece.2)), "{piece:?} {found:?}");
    }
}

#[test]
fn what_cannot_be_read_is_told() {
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let half = r#"{"messages":[{"content":"\ud83d"}]}"#;
    for shape in [Shape::Message, Shape::Batch, Shape::Resource] {
        assert_eq!(texts(deep.as_bytes(), shape, |_| ()), Err(Unreadable::TooDeep));
        assert_eq!(texts(half.as_bytes(), shape, |_| ()), Err(Unreadable::Invalid));
        assert_eq!(texts(b"{\"x\":\"\xff\"}", shape, |_| ()), Err(Unreadable::Invalid));
    }
    let deep_turns = format!(r#"{{"messages":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    assert_eq!(texts(deep_turns.as_bytes(), Shape::Message, |_| ()), Err(Unreadable::TooDeep));
}

/// Every string, key and long whole number of a document.
#[derive(Default)]
struct Plain(Vec<String>);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Plain;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value")
            }
            fn visit_str<E>(self, text: &str) -> Result<Plain, E> {
                Ok(Plain(vec![text.to_owned()]))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Plain, E> {
                Ok(Plain(if number < 1_000_000 { vec![] } else { vec![number.to_string()] }))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Plain, E> {
                Ok(Plain(if number.unsigned_abs() < 1_000_000 { vec![] } else { vec![number.to_string()] }))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Plain, E> {
                Ok(Plain::default())
            }
            fn visit_bool<E>(self, _: bool) -> Result<Plain, E> {
                Ok(Plain::default())
            }
            fn visit_unit<E>(self) -> Result<Plain, E> {
                Ok(Plain::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Plain, A::Error> {
                let mut all = Plain::default();
                while let Some(Plain(inner)) = seq.next_element()? {
                    all.0.extend(inner);
                }
                Ok(all)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Plain, A::Error> {
                let mut all = Plain::default();
                while let Some((key, Plain(inner))) = map.next_entry::<String, Plain>()? {
                    all.0.push(key);
                    all.0.extend(inner);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_any(All)
    }
}

fn reference(body: &str) -> Vec<String> {
    serde_json::from_str::<Plain>(body).unwrap().0
}

/// A document with the API's own keys and types in all the wrong places, and texts that no word of the API is spelled like.
fn document(keys: &'static str) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        "(text|thinking|base64|redacted_thinking|tool_result|compaction|QUJD|X yé\"\\\\|\u{1F600}| -7)"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((keys, inner), 0..6).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn free_objects_are_told_whole_and_in_order(free in document("(a|b c|type|data|signature|text|source)")) {
        let body = json!({"metadata": free}).to_string();
        let found: Vec<String> = pieces(&body, Shape::Message).into_iter().map(|(text, ..)| text).collect();
        prop_assert_eq!(found.as_slice(), &reference(&body)[1..]);
    }

    #[test]
    fn nothing_is_left_out_but_words_of_the_api_and_base64(
        content in document("(type|text|thinking|content|source|data|signature|encrypted_content|citations|input|title|A b)"),
        batch: bool,
    ) {
        let message = json!({"messages": [{"role": "user", "content": content}], "system": content, "zz": content});
        let (body, shape) = if batch {
            (json!({"requests": [{"custom_id": "c", "params": message}]}).to_string(), Shape::Batch)
        } else {
            (message.to_string(), Shape::Message)
        };
        let mut missing = reference(&body);
        for (text, ..) in pieces(&body, shape) {
            let at = missing.iter().position(|there| *there == text);
            prop_assert!(at.is_some(), "{} is not in the body", text);
            missing.swap_remove(at.unwrap());
        }
        for text in missing {
            let word = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            // Whole numbers are told where the client chose the form.
            let number = text.parse::<i64>().is_ok();
            prop_assert!(word || number || text == "QUJD", "{} is missing", text);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for shape in [Shape::Message, Shape::Batch, Shape::Resource] {
            let _ = texts(&body, shape, |_| ());
        }
    }
}
