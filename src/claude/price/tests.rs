use super::super::usage::{CacheCreation, ServerToolUse};
use super::*;

const MILLION: u64 = 1_000_000;
const DOLLAR: u64 = 1_000_000_000;

fn price(model: &str) -> Price {
    *Prices::builtin().of_name(model).unwrap_or_else(|| panic!("no price of {model}"))
}

fn cost(model: &str, usage: &Usage) -> u64 {
    Prices::builtin().cost(usage, Some(model), &price(model), false)
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() }
}

#[test]
fn the_file_that_comes_with_the_program_is_whole() {
    let prices = Prices::parse(include_bytes!("../../../conf/prices.json")).unwrap();
    assert_eq!(prices.exact.len(), 22);
    assert!(prices.date.len() == 10 && !prices.source.is_empty() && prices.web_search > 0);
    for (name, price) in &prices.exact {
        assert!(price.standard.input > 0 && price.standard.cache_read < price.standard.input, "{name}");
        assert!(price.max_output_tokens >= 64_000, "{name}");
    }
}

#[test]
fn each_kind_of_token_has_its_price() {
    assert_eq!(cost("claude-opus-5-5", &tokens(MILLION, 0)), 4 * DOLLAR);
    assert_eq!(cost("claude-opus-5-5", &tokens(0, MILLION)), 20 * DOLLAR);
    let cached = Usage {
        cache_creation_input_tokens: Some(3 * MILLION),
        cache_creation: Some(CacheCreation {
            ephemeral_5m_input_tokens: Some(MILLION),
            ephemeral_1h_input_tokens: Some(MILLION),
        }),
        cache_read_input_tokens: Some(MILLION),
        ..Usage::default()
    };
    // Two million for five minutes, for the split lags by one, at 5; one for an hour at 8; one read at 0.2.
    assert_eq!(cost("claude-opus-5-5", &cached), 18_200_000_000);
    let unsplit = Usage { cache_creation_input_tokens: Some(MILLION), ..Usage::default() };
    assert_eq!(cost("claude-opus-5-5", &unsplit), 5 * DOLLAR);
}

#[test]
fn batches_fast_mode_place_and_searches_change_the_price() {
    let usage = tokens(MILLION, 0);
    let with = |change: fn(&mut Usage)| {
        let mut usage = usage.clone();
        change(&mut usage);
        cost("claude-opus-5-5", &usage)
    };
    assert_eq!(with(|usage| usage.service_tier = Some("batch".to_owned())), 2 * DOLLAR);
    assert_eq!(with(|usage| usage.service_tier = Some("priority".to_owned())), 4 * DOLLAR);
    assert_eq!(with(|usage| usage.speed = Some("fast".to_owned())), 8 * DOLLAR);
    assert_eq!(with(|usage| usage.inference_geo = Some("us".to_owned())), 4_400_000_000);
    assert_eq!(
        with(|usage| usage.server_tool_use =
            Some(ServerToolUse { web_search_requests: Some(100), ..Default::default() })),
        5 * DOLLAR
    );
    assert_eq!(Prices::builtin().cost(&usage, None, &price("claude-opus-5-5"), true), 2 * DOLLAR);
}

#[test]
fn a_long_prompt_costs_more_where_the_model_says_so() {
    assert_eq!(cost("claude-haiku-5-5", &tokens(100_000, 100_000)), 60_000_000);
    assert_eq!(cost("claude-haiku-5-5", &tokens(100_001, 100_000)), 300_000_500);
    let read = Usage { cache_read_input_tokens: Some(100_001), ..Usage::default() };
    assert_eq!(cost("claude-haiku-5-5", &read), 5_000_050);
    assert_eq!(cost("claude-opus-5", &tokens(200_000, 0)), DOLLAR);
}

#[test]
fn parts_that_the_totals_leave_out_are_counted_at_their_own_price() {
    let part = |kind: &str, model: Option<&str>| Iteration {
        kind: Some(kind.to_owned()),
        model: model.map(str::to_owned),
        input_tokens: Some(MILLION),
        ..Iteration::default()
    };
    for (kind, model, expected) in [
        ("message", None, 0),
        ("message", Some("claude-opus-5-5"), 0),
        ("fallback_message", Some("claude-opus-5-5"), 0),
        ("message", Some("claude-sonnet-5"), 2),
        ("compaction", None, 4),
        ("advisor_message", Some("claude-fable-5"), 10),
        ("advisor_message", Some("no-such-model"), 4),
        ("shiny_new", None, 4),
    ] {
        let usage = Usage { iterations: Some(vec![part(kind, model)]), ..Usage::default() };
        assert_eq!(cost("claude-opus-5-5", &usage), expected * DOLLAR, "{kind} {model:?}");
        let counted = if expected > 0 { MILLION } else { 0 };
        assert_eq!(usage.all_input_tokens(Some("claude-opus-5-5")), counted, "{kind} {model:?}");
    }
}

#[test]
fn a_ceiling_is_never_below_the_cost() {
    let price = price("claude-haiku-5-5");
    for (input, output) in [(1, 1), (99_999, 5), (100_001, 64_000)] {
        for tariff in [Tariff::default(), Tariff { us: true, ..Tariff::default() }] {
            let usage = Usage {
                cache_creation: Some(CacheCreation { ephemeral_1h_input_tokens: Some(input), ..Default::default() }),
                output_tokens: Some(output),
                inference_geo: tariff.us.then(|| "us".to_owned()),
                ..Usage::default()
            };
            let cost = Prices::builtin().cost(&usage, None, &price, false);
            assert!(price.ceiling(input, output, 1, tariff) >= cost, "{input} {output}");
        }
    }
    assert_eq!(price.ceiling(200_000, 0, 10, Tariff { batch: true, ..Tariff::default() }), 20_000_000);
    assert_eq!(price.ceiling(u64::MAX, u64::MAX, 1, Tariff::default()), u64::MAX);
}

#[test]
fn rows_of_an_own_file_replace_and_add_and_may_be_patterns() {
    let row =
        r#"{"input":IN,"output":1,"cache_write_5m":1,"cache_write_1h":1,"cache_read":0,"max_output_tokens":1000}"#;
    let file = format!(
        r#"{{"date":"2026-12-01","source":"contract","models":{{"claude-opus-5":{},"claude-*-5-2":{},"claude-fable-5-*":{}}}}}"#,
        row.replace("IN", "7"),
        row.replace("IN", "8"),
        row.replace("IN", "9"),
    );
    let prices = Prices::builtin().overridden(file.as_bytes()).unwrap();
    let input = |model| prices.of_name(model).map(|price| price.standard.input / MILLION);
    assert_eq!(input("claude-opus-5"), Some(7));
    assert_eq!(input("claude-mythos-5-2"), Some(8));
    assert_eq!(input("claude-fable-5-2"), Some(9));
    assert_eq!(input("claude-fable-5-1"), Some(10));
    assert_eq!(input("claude-haiku-9"), None);
    assert_eq!(prices.source, "contract");
    for bad in [
        "{}".to_owned(),
        file.replace("claude-opus-5\"", "Claude\""),
        file.replace(":7", ":-7"),
        file.replace("\"input\":7", "\"inptu\":7"),
    ] {
        assert!(Prices::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}
