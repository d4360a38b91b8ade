use proptest::prelude::*;

use super::*;

fn message(body: &str) -> Result<Peek, String> {
    peek(body.as_bytes(), Shape::Message)
}

fn names(peek: &Peek) -> Vec<&str> {
    peek.models.iter().map(Model::as_str).collect()
}

#[test]
fn reads_what_policy_decides_on_wherever_it_stands() {
    let filler = "x".repeat(1 << 20);
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"{filler}"}}],"max_tokens":7,"stream":true,"model":"claude-opus-5"}}"#
    );
    let peek = message(&body).unwrap();
    assert_eq!((names(&peek), peek.stream, peek.max_tokens), (vec!["claude-opus-5"], true, Some(7)));
}

#[test]
fn escapes_do_not_hide_a_model() {
    let peek = message(r#"{"\u006dodel":"claude-\u006fpus-5","messages":[]}"#).unwrap();
    assert_eq!(names(&peek), ["claude-opus-5"]);
}

#[test]
fn every_model_in_the_body_is_found() {
    let peek = message(
        r#"{"model":"claude-haiku-5","tools":[{"type":"advisor","model":"claude-opus-5"},{"name":"t","input_schema":{"model":1}}],
            "fallbacks":[{"model":"claude-sonnet-5","max_tokens":99}],"messages":[{"content":{"model":"no"}}]}"#,
    )
    .unwrap();
    assert_eq!(names(&peek), ["claude-haiku-5", "claude-opus-5", "claude-sonnet-5"]);
    assert_eq!(peek.max_tokens, Some(99));
}

#[test]
fn tools_that_a_conversation_adds_are_judged() {
    for content in [
        r#"[{"type":"text","text":"x"},{"type":"tool_addition","tool":{"type":"tool_definition","definition":{"type":"advisor_20260301","model":"claude-opus-5"}}}]"#,
        r#"[{"type":"tool_addition","tool":{"d\u0065finition":{"mod\u0065l":"claude-opus-5"}}}]"#,
        r#"[{"type":"tool_result","content":[{"type":"tool_addition","tool":{"definition":{"model":"claude-opus-5"}}}]}]"#,
        r#"[{"type":"compaction","tool_changes":[{"tool":{"definition":{"model":"claude-opus-5"}}}]}]"#,
    ] {
        let body = format!(r#"{{"messages":[{{"role":"user","content":{content}}}],"model":"claude-haiku-5"}}"#);
        assert_eq!(names(&message(&body).unwrap()), ["claude-opus-5", "claude-haiku-5"], "{content}");
    }
    // History and data may have a `model` of their own, which chooses nothing.
    let body = r#"{"messages":[{"role":"user","content":"a \"definition\" of model"},
        {"role":"assistant","content":[{"type":"fallback","from":{"model":"claude-opus-5"}},{"type":"tool_use","input":{"definition":{"model":"x y"}}}]}],
        "model":"claude-haiku-5","metadata":{"model":"claude-opus-5"}}"#;
    assert_eq!(names(&message(body).unwrap()), ["claude-haiku-5"]);
    let twice = r#"{"messages":[{"content":[{"tool":{"definition":{"model":"claude-haiku-5","model":"claude-opus-5"}}}]}],"model":"claude-haiku-5"}"#;
    assert_eq!(message(twice).unwrap_err(), "model: is there twice");
}

#[test]
fn a_fallback_that_the_api_chooses_is_refused() {
    let chosen = message(r#"{"model":"claude-haiku-5","fallbacks":"default"}"#);
    assert_eq!(chosen.unwrap_err(), "fallbacks: must name its models; \"default\" would leave the choice to the API");
    assert!(message(r#"{"model":"claude-haiku-5","fallbacks":null,"tools":null}"#).is_ok());
}

#[test]
fn batches_are_read_item_by_item() {
    let body = br#"{"requests":[{"custom_id":"a","params":{"model":"claude-haiku-5","max_tokens":5}},{"params":{"model":"claude-opus-5"},"custom_id":"b"}]}"#;
    let found = peek(body, Shape::Batch).unwrap();
    assert_eq!((names(&found), found.items), (vec!["claude-haiku-5", "claude-opus-5"], 2));
    for bad in [
        "{}",
        r#"{"requests":[]}"#,
        r#"{"requests":null}"#,
        r#"{"requests":{}}"#,
        r#"{"requests":[{}]}"#,
        r#"{"requests":[{"params":{}}]}"#,
        r#"{"requests":[1]}"#,
    ] {
        assert!(peek(bad.as_bytes(), Shape::Batch).is_err(), "{bad}");
    }
}

#[test]
fn resources_may_name_a_model_as_text_or_object_or_not_at_all() {
    for (body, expected) in [
        ("{}", vec![]),
        (r#"{"model":"claude-opus-5"}"#, vec!["claude-opus-5"]),
        (r#"{"model":{"id":"claude-opus-5","speed":"fast"}}"#, vec!["claude-opus-5"]),
        (
            r#"{"agent":{"model":"claude-opus-5"},"multiagent":[{"type":"advisor","model":{"id":"claude-fable-5"}}],"x":[1,-1,1.5,null,true,""]}"#,
            vec!["claude-opus-5", "claude-fable-5"],
        ),
    ] {
        assert_eq!(names(&peek(body.as_bytes(), Shape::Resource).unwrap()), expected, "{body}");
    }
}

#[test]
fn refuses_whatever_could_be_read_in_two_ways() {
    for (body, complaint) in [
        (r#"{"model":"claude-haiku-5","model":"claude-opus-5"}"#, "model: is there twice"),
        (r#"{"model":"claude-haiku-5","mod\u0065l":"claude-opus-5"}"#, "model: is there twice"),
        (r#"{"model":"claude-haiku-5","x":1,"x":2}"#, "x: is there twice"),
        (r#"{"model":"claude-haiku-5","John Doe":1,"John Doe":2}"#, "a key: is there twice"),
        (r#"{"model":"claude-haiku-5","Model":"claude-opus-5"}"#, "model: is spelled with other letter case"),
        ("{\"model\":\"claude-haiku-5\",\"\u{17f}tream\":true}", "stream: is spelled with other letter case"),
        (
            r#"{"model":"claude-haiku-5","tools":[{"model":"claude-haiku-5","model":"claude-opus-5"}]}"#,
            "model: is there twice",
        ),
        (r#"{"model":"Claude-Opus-5"}"#, "model: is not spelled like a model's name"),
        (r#"{"model":7}"#, "model: must be a model's name"),
        (r#"{"model":["claude-opus-5"]}"#, "model: must be a model's name"),
        (r#"{"model":null}"#, "model: must be a model's name"),
        (r#"{"model":"claude-haiku-5","max_tokens":"7"}"#, "max_tokens: must be a whole number"),
        (r#"{"model":"claude-haiku-5","max_tokens":-1}"#, "max_tokens: must be a whole number"),
        (r#"{"model":"claude-haiku-5","max_tokens":1.5}"#, "max_tokens: must be a whole number"),
        (r#"{"model":"claude-haiku-5","stream":"true"}"#, "stream: must be true or false"),
        (r#"{"model":"claude-haiku-5","tools":{"model":"x"}}"#, "tools: must be a list of objects"),
        (r#"{"messages":[]}"#, "model: is missing"),
        (r#"[{"model":"claude-haiku-5"}]"#, "the body must be a JSON object"),
        (r#"{"model":"claude-haiku-5"} {}"#, "the body is not valid JSON"),
        ("\u{feff}{\"model\":\"claude-haiku-5\"}", "the body is not valid JSON"),
        ("", "the body is not valid JSON"),
    ] {
        assert_eq!(message(body).unwrap_err(), complaint, "{body}");
    }
    assert_eq!(
        peek(b"{\"model\":\"claude-haiku-5\",\"x\":\"\xff\"}", Shape::Message).unwrap_err(),
        "the body is not valid UTF-8"
    );
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let body = format!(r#"{{"x":{}{},"model":"claude-haiku-5"}}"#, "[".repeat(100_000), "]".repeat(100_000));
    // Values that policy does not read are passed over without recursion.
    assert_eq!(names(&message(&body).unwrap()), ["claude-haiku-5"]);
    for deep in [body.clone(), body.replace('[', "{\"a\":").replace("{\"a\":]", "{}]").replace(']', "}")] {
        assert_eq!(peek(deep.as_bytes(), Shape::Resource).unwrap_err(), "the body is not valid JSON", "{deep:.40}");
    }
}

#[test]
fn a_body_with_a_million_keys_is_refused_early() {
    let keys: Vec<String> = (0..1_000_000).map(|n| format!("\"k{n}\":0,")).collect();
    let keys = keys.concat();
    assert_eq!(message(&format!("{{{keys}\"model\":\"claude-haiku-5\"}}")).unwrap_err(), "an object has too many keys");
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for shape in [Shape::Message, Shape::Batch, Shape::Resource] {
            let _ = peek(&body, shape);
        }
    }

    #[test]
    fn whatever_is_accepted_is_what_a_plain_parser_reads(model in "[a-z0-9-]{1,12}", stream: bool, tokens: u32, extra in "[a-z]{1,6}") {
        let body = serde_json::json!({ "x": [extra.clone()], "stream": stream, "max_tokens": tokens, "model": model }).to_string();
        let peek = message(&body).unwrap();
        prop_assert_eq!(names(&peek), vec![model.as_str()]);
        prop_assert_eq!((peek.stream, peek.max_tokens), (stream, Some(u64::from(tokens))));
    }
}
