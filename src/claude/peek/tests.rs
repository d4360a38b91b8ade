use proptest::prelude::*;

use super::*;

fn message(body: &str) -> Result<Peek, String> {
    peek(body.as_bytes(), Shape::Message)
}

fn names(peek: &Peek) -> Vec<&str> {
    peek.models().map(Model::as_str).collect()
}

#[test]
fn reads_what_policy_decides_on_wherever_it_stands() {
    let filler = "x".repeat(1 << 20);
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"{filler}"}}],"max_tokens":7,"stream":true,"model":"claude-opus-5"}}"#
    );
    let peek = message(&body).unwrap();
    assert_eq!((names(&peek), peek.stream, peek.max_tokens()), (vec!["claude-opus-5"], true, Some(7)));
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
    assert_eq!(peek.max_tokens(), Some(99));
}

#[test]
fn the_ceiling_of_a_message_is_none_for_a_model_that_a_tool_calls() {
    let tool = |more: &str| {
        let body = format!(
            r#"{{"model":"claude-haiku-5","max_tokens":9,"thinking":{{"type":"disabled"}},
                "tools":[{{"type":"advisor_20260301","model":"claude-opus-5"{more}}}]}}"#
        );
        let peek = message(&body).unwrap();
        let ask = peek.asks().iter().find(|ask| ask.model == Model::parse("claude-opus-5")).unwrap().clone();
        let demand = peek.demands().nth(1).unwrap().clone();
        ((ask.max_tokens, ask.max_thinking), (demand.output_tokens, demand.calls_without_max_tokens), peek.max_tokens())
    };
    let unbounded = ((Some(u64::MAX), u64::MAX), (0, 1), Some(9));
    assert_eq!(tool(""), unbounded);
    assert_eq!(tool(r#","max_tokens":null"#), unbounded);
    assert_eq!(tool(r#","max_tokens":2048"#), ((Some(2048), 2048), (2048, 0), Some(2048)));
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
        assert_eq!(names(&message(&body).unwrap()), ["claude-haiku-5", "claude-opus-5"], "{content}");
    }
    // History and data may have a `model` of their own, which chooses nothing.
    let body = r#"{"messages":[{"role":"user","content":"a \"definition\" of model"},
        {"role":"assistant","content":[{"type":"fallback","from":{"model":"claude-opus-5"}},{"type":"tool_use","input":{"definition":{"model":"x y"}}}]}],
        "model":"claude-haiku-5","metadata":{"model":"claude-opus-5"}}"#;
    assert_eq!(names(&message(body).unwrap()), ["claude-haiku-5"]);
    let twice = r#"{"messages":[{"content":[{"tool":{"definition":{"model":"claude-haiku-5","model":"claude-opus-5"}}}]}],"model":"claude-haiku-5"}"#;
    assert_eq!(message(twice).unwrap_err(), "model: is there twice");
}

fn asks(body: &str) -> Vec<Ask> {
    message(body).unwrap().asks().to_vec()
}

/// The only demand of a message to which `more` is added.
fn only_ask(more: &str) -> Ask {
    let [ask] = &asks(&format!(r#"{{"model":"claude-haiku-5","max_tokens":9,{more}}}"#))[..] else { panic!("{more}") };
    ask.clone()
}

#[test]
fn features_are_found_wherever_they_stand() {
    for (more, tools) in [
        (
            r#""tools":[{"type":"web_search_20260318"},{"name":"mine"},{"type":"advisor_20260301"}]"#,
            &["advisor", "web_search"][..],
        ),
        (r#""tools":[{"type":"web_search_20260318"},{"type":"web_search_20250305"}]"#, &["web_search"]),
        (r#""tools":[{"t\u0079pe":"w\u0065b_fetch_20260318"}]"#, &["web_fetch"]),
        (r#""messages":[{"content":[{"tool":{"definition":{"type":"mcp_toolset"}}}]}]"#, &["mcp_toolset"]),
        (r#""messages":[{"content":[{"type":"tool_use","input":{"definition":{"type":"web_fetch_20260318"}}}]}]"#, &[]),
        (r#""tools":null,"messages":[]"#, &[]),
    ] {
        assert_eq!(only_ask(more).features.server_tools.as_slice(), tools, "{more}");
    }
    for (content, files) in [
        (r#"[{"type":"image","source":{"type":"file","file_id":"f"}}]"#, true),
        (r#"[{"type":"image","source":{"file_\u0069d":"f","type":"file"}}]"#, true),
        (
            r#"[{"type":"document","source":{"type":"content","content":[{"type":"image","source":{"file_id":"f"}}]}}]"#,
            true,
        ),
        (r#"[{"type":"tool_result","content":[{"type":"document","source":{"file_id":"f"}}]}]"#, true),
        (r#"{"type":"container_upload","file_id":"f"}"#, true),
        (r#"[{"type":"something_new","file_id":"f"}]"#, true),
        // History and data may hold ids that fetch nothing.
        (
            r#"[{"type":"code_execution_tool_result","content":{"content":[{"file_id":"f","type":"code_execution_output"}]}}]"#,
            false,
        ),
        (
            r#"[{"type":"tool_use","input":{"file_id":"f"}},{"type":"text","text":"file_id","citations":[{"file_id":"f"}]}]"#,
            false,
        ),
        (r#"[{"type":"image","source":{"type":"base64","data":"file_id"}}]"#, false),
    ] {
        let more = format!(r#""messages":[{{"role":"user","content":{content}}}]"#);
        assert_eq!(only_ask(&more).features.files, files, "{content}");
        let more = format!(r#""system":{content}"#);
        assert_eq!(only_ask(&more).features.files, files, "{content}");
    }
    for (more, mcp_servers, skills) in [
        (r#""mcp_servers":[{}]"#, true, false),
        (r#""mcp_servers":null,"container":"c_1""#, false, false),
        (r#""container":{"id":null,"skills":[{"skill_id":"pdf"}]}"#, false, true),
        (r#""container":{"skills":[]},"mcp_servers":[]"#, false, false),
    ] {
        let features = only_ask(more).features;
        assert_eq!((features.mcp_servers, features.skills), (mcp_servers, skills), "{more}");
    }
    assert_eq!(only_ask(r#""inference_geo":"us""#).features.inference_geo.as_deref(), Some("us"));
}

#[test]
fn demands_are_summed_for_each_model_and_those_that_others_contain_are_gathered() {
    let items = [
        r#"{"model":"claude-haiku-5","max_tokens":5,"thinking":{"type":"disabled"}}"#,
        r#"{"model":"claude-haiku-5","max_tokens":7,"thinking":{"type":"disabled"}}"#,
        r#"{"model":"claude-haiku-5","max_tokens":6,"thinking":{"type":"enabled","budget_tokens":3}}"#,
        r#"{"model":"claude-opus-5","fallbacks":[{"model":"claude-haiku-5","max_tokens":1}]}"#,
    ];
    let items: Vec<String> = items.iter().map(|item| format!(r#"{{"params":{item}}}"#)).collect();
    let found = peek(format!(r#"{{"requests":[{}]}}"#, items.join(",")).as_bytes(), Shape::Batch).unwrap();
    let asks: Vec<_> = found.asks().iter().map(|ask| (ask.max_tokens, ask.max_thinking, ask.count)).collect();
    assert_eq!(asks, [(Some(7), 0, 2), (Some(6), 3, 2), (None, u64::MAX, 1)]);
    let demands: Vec<_> = found
        .demands()
        .map(|demand| (demand.model.as_str(), demand.calls, demand.output_tokens, demand.calls_without_max_tokens))
        .collect();
    assert_eq!(demands, [("claude-haiku-5", 4, 19, 0), ("claude-opus-5", 1, 0, 1)]);
    assert_eq!(found.messages, 4);
    let path = Peek::of_path(Model::parse("claude-opus-5"));
    assert_eq!((names(&path), path.messages, path.asks().len()), (vec!["claude-opus-5"], 0, 1));
    assert_eq!(Peek::of_path(None), Peek::default());
}

#[test]
fn a_batch_of_a_hundred_thousand_items_stays_small() {
    let item = |n: usize| {
        format!(r#"{{"custom_id":"{n}","params":{{"model":"claude-haiku-{}","max_tokens":{}}}}}"#, n % 8, n % 5000)
    };
    let items: Vec<String> = (0..100_000).map(item).collect();
    let found = peek(format!(r#"{{"requests":[{}]}}"#, items.join(",")).as_bytes(), Shape::Batch).unwrap();
    assert_eq!((found.messages, found.asks().len()), (100_000, 8));
    assert_eq!(found.asks().iter().map(|ask| ask.count).sum::<u64>(), 100_000);
    assert_eq!(found.demands().map(|demand| demand.calls).sum::<u64>(), 100_000);
}

#[test]
fn more_different_things_than_can_be_judged_are_refused() {
    let batch = |count: usize, params: &dyn Fn(usize) -> String| {
        let items: Vec<String> = (0..count).map(|n| format!(r#"{{"params":{}}}"#, params(n))).collect();
        peek(format!(r#"{{"requests":[{}]}}"#, items.join(",")).as_bytes(), Shape::Batch)
    };
    let tools = |n: usize| format!(r#"{{"model":"claude-haiku-5","tools":[{{"type":"tool_{n}"}}]}}"#);
    assert_eq!(batch(1024, &tools).unwrap().asks().len(), 1024);
    assert_eq!(batch(1025, &tools).unwrap_err(), "the body asks for too many different things at once");
    // The more tokens, the fewer for thinking: no pair contains another.
    let ceilings = |n: usize| {
        let thinking = format!(r#"{{"type":"enabled","budget_tokens":{}}}"#, 9000 - n);
        format!(r#"{{"model":"claude-haiku-5","max_tokens":{n},"thinking":{thinking}}}"#)
    };
    assert_eq!(batch(64, &ceilings).unwrap().asks().len(), 64);
    assert_eq!(batch(65, &ceilings).unwrap_err(), "the body asks for too many different things at once");
    let models = |n: usize| format!(r#"{{"model":"claude-haiku-{n}"}}"#);
    assert_eq!(batch(65, &models).unwrap_err(), "model: too many different ones in one request");
    for (key, element, complaint) in [
        ("fallbacks", r#"{"model":"claude-haiku-5"}"#.to_owned(), "fallbacks: too many"),
        ("tools", r#"{"type":"t_NR"}"#.to_owned(), "tools: too many different ones that the API runs"),
        ("tools", r#"{"model":"claude-haiku-NR"}"#.to_owned(), "tools: too many that name a model"),
    ] {
        let list: Vec<String> = (0..65).map(|n| element.replace("NR", &n.to_string())).collect();
        let body = format!(r#"{{"model":"claude-haiku-5","{key}":[{}]}}"#, list.join(","));
        assert_eq!(message(&body).unwrap_err(), complaint);
    }
}

#[test]
fn fields_that_are_new_are_told_if_they_are_spelled_like_fields() {
    let body =
        r#"{"model":"claude-haiku-5","time_travel":1,"John Doe":2,"temperature":1,"b":0,"c":{"x":1},"d":[],"e":0}"#;
    assert_eq!(message(body).unwrap().unknown_fields().collect::<Vec<_>>(), ["time_travel", "b", "c", "d"]);
    let batch = r#"{"new_one":1,"requests":[{"params":{"model":"claude-haiku-5","two":2}},{"params":{"model":"claude-haiku-5","two":2}}]}"#;
    let found = peek(batch.as_bytes(), Shape::Batch).unwrap();
    assert_eq!(found.unknown_fields().collect::<Vec<_>>(), ["new_one", "two"]);
}

#[test]
fn a_message_that_may_run_in_fast_mode_is_found_however_it_says_so() {
    for (more, fast) in [
        (r#""speed":"fast""#, true),
        (r#""sp\u0065ed":"f\u0061st""#, true),
        (r#""speed":"ludicrous""#, true),
        (r#""fallbacks":[{"model":"claude-opus-5","speed":"fast"}]"#, true),
        (r#""speed":"standard","fallbacks":[{"model":"claude-opus-5","speed":null}]"#, false),
        (r#""messages":[{"role":"user","content":"\"speed\":\"fast\""}],"metadata":{"speed":"fast"}"#, false),
    ] {
        let body = format!(r#"{{"model":"claude-haiku-5",{more}}}"#);
        assert_eq!(message(&body).unwrap().fast, fast, "{more}");
        let batch = format!(r#"{{"requests":[{{"params":{body}}},{{"params":{{"model":"claude-haiku-5"}}}}]}}"#);
        assert_eq!(peek(batch.as_bytes(), Shape::Batch).unwrap().fast, fast, "{more}");
    }
    assert_eq!(message(r#"{"model":"claude-haiku-5","speed":2}"#).unwrap_err(), "speed: must be text");
}

fn tools(body: &str) -> Vec<String> {
    message(body).unwrap().tools().map(str::to_owned).collect()
}

#[test]
fn tools_are_named_once_in_order_and_never_by_content() {
    let body = r#"{"model":"claude-haiku-5","tools":[{"name":"find_it","input_schema":{"name":"no"}},{"type":"custom","name":"b"},
        {"type":"web_search_20250305","name":"web_search"},{"name":"find_it"},{"name":"J\u00f6rg Doe"},{"name":7},{},
        {"n\u0061me":"c.d:e-F"}],"mcp_servers":[{"name":"jira","authorization_token":"t"},{"name":"find_it"},{"url":"u"},"x"],
        "messages":[{"role":"user","content":[{"type":"tool_addition","tool":{"definition":{"name":"late"}}}]}]}"#;
    let expected = ["find_it", "b", "web_search_20250305", "*", "c.d:e-F", "mcp:jira", "mcp:find_it", "mcp:*", "late"];
    assert_eq!(tools(body), expected);
    assert!(
        tools(r#"{"model":"claude-haiku-5","messages":[{"content":[{"type":"tool_use","name":"no"}]}]}"#).is_empty()
    );
    let batch = format!(r#"{{"requests":[{{"params":{body}}},{{"params":{body}}}]}}"#);
    assert_eq!(peek(batch.as_bytes(), Shape::Batch).unwrap().tools().collect::<Vec<_>>(), expected);
}

#[test]
fn names_of_tools_are_bounded() {
    let names: Vec<String> = (0..100).map(|n| format!(r#"{{"name":"t{n}"}}"#)).collect();
    let found = tools(&format!(r#"{{"model":"claude-haiku-5","tools":[{}]}}"#, names.join(",")));
    assert_eq!((found.len(), found[63].as_str()), (64, "t63"));
    for (length, shown) in [(128, 128), (129, 1)] {
        let name = "x".repeat(length);
        let found = tools(&format!(r#"{{"model":"claude-haiku-5","tools":[{{"name":"{name}"}}]}}"#));
        assert_eq!(found[0].len(), shown);
    }
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
    assert_eq!((names(&found), found.messages), (vec!["claude-haiku-5", "claude-opus-5"], 2));
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
        (r#"{"model":{"id":"claude-haiku-5"}}"#, "model: must be a model's name"),
        (r#"{"model":"claude-haiku-5","fallbacks":[{}]}"#, "model: is missing"),
        (r#"{"model":"claude-haiku-5","max_tokens":null}"#, "max_tokens: must be a whole number"),
        (r#"{"model":"claude-haiku-5","thinking":"adaptive"}"#, "thinking: must be an object"),
        (r#"{"model":"claude-haiku-5","thinking":{"budget_tokens":-1}}"#, "budget_tokens: must be a whole number"),
        (r#"{"model":"claude-haiku-5","thinking":{"type":1}}"#, "type: must be text"),
        (r#"{"model":"claude-haiku-5","thinking":{"type":"disabled","type":"enabled"}}"#, "type: is there twice"),
        (r#"{"model":"claude-haiku-5","thinking":{"Type":"disabled"}}"#, "type: is spelled with other letter case"),
        (r#"{"model":"claude-haiku-5","mcp_servers":{}}"#, "mcp_servers: must be a list"),
        (r#"{"model":"claude-haiku-5","MCP_servers":[]}"#, "mcp_servers: is spelled with other letter case"),
        (r#"{"model":"claude-haiku-5","container":{"skills":"pdf"}}"#, "skills: must be a list"),
        (r#"{"model":"claude-haiku-5","inference_geo":7}"#, "inference_geo: must be text"),
        (r#"{"model":"claude-haiku-5","inference_geo":"US"}"#, "inference_geo: is not spelled like a region's name"),
        (
            r#"{"model":"claude-haiku-5","tools":[{"type":"Web_Search_20260318"}]}"#,
            "tools: a type is not spelled like a tool's",
        ),
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
        prop_assert_eq!((peek.stream, peek.max_tokens()), (stream, Some(u64::from(tokens))));
    }
}
