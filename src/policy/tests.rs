use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::claude::{self, EndpointGroup, Pattern, Shape};
use crate::identity::Caller;

fn patterns<T: std::str::FromStr<Err: std::fmt::Debug>>(list: &[&str]) -> Vec<T> {
    list.iter().map(|pattern| pattern.parse().unwrap()).collect()
}

fn grant(scope: &str, models: &[&str], endpoints: &[EndpointGroup], max_tokens: Option<u64>) -> Grant {
    Grant { max_tokens, ..Grant::new(scope, patterns(models), endpoints.to_vec()) }
}

fn grants() -> Vec<Grant> {
    use EndpointGroup::{Batches, CountTokens, Files, Messages};
    vec![
        grant("claude:haiku", &["claude-haiku-*"], &[Messages, CountTokens], None),
        grant("claude:opus", &["claude-opus-*"], &[Messages], Some(1000)),
        grant("claude:opus-long", &["claude-opus-*"], &[Messages, Batches], Some(32_000)),
        grant("claude:files", &[], &[Files], None),
    ]
}

fn policy() -> Policy {
    Policy::new(AddressRules::default(), grants(), Vec::new())
}

fn caller(scopes: &[&str]) -> Caller {
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    Caller::for_tests("alice", scopes, address, SystemTime::UNIX_EPOCH)
}

/// A Tuesday, 15:20 UTC.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_533_600)
}

/// A request to be judged.
struct Request<'a> {
    scopes: &'a [&'a str],
    method: Method,
    path: &'a str,
    body: String,
    betas: &'a [&'a str],
}

impl Request<'_> {
    fn decide(&self, policy: &Policy) -> Result<String, Denial> {
        let found = claude::find(&self.method, self.path).unwrap();
        let shape = if self.path.ends_with("/batches") { Shape::Batch } else { Shape::Message };
        let call = if self.body.is_empty() {
            Peek::of_path(found.model)
        } else {
            claude::peek(self.body.as_bytes(), shape).unwrap()
        };
        let caller = caller(self.scopes);
        policy.admit(&caller, found.endpoint)?;
        let permit = policy.authorize(&caller, found.endpoint, &call, self.betas, now())?;
        Ok(permit.rule())
    }
}

fn post(policy: &Policy, path: &str, body: &Value) -> Result<String, Denial> {
    let request = Request { scopes: &["s", "t"], method: Method::POST, path, body: body.to_string(), betas: &[] };
    request.decide(policy)
}

fn decide(scopes: &[&str], method: &Method, path: &str, body: &str) -> Result<String, Denial> {
    Request { scopes, method: method.clone(), path, body: body.to_owned(), betas: &[] }.decide(&policy())
}

fn messages(scopes: &[&str], body: &str) -> Result<String, Denial> {
    decide(scopes, &Method::POST, "/v1/messages", body)
}

/// What a policy of one grant for haiku, changed by `change`, says of a message that `more` is added to.
fn judged(change: impl FnOnce(&mut Grant), more: &Value) -> Result<String, Denial> {
    judged_at("/v1/messages", change, more)
}

fn judged_at(path: &str, change: impl FnOnce(&mut Grant), more: &Value) -> Result<String, Denial> {
    let mut only = grant("s", &["claude-haiku-*"], &[EndpointGroup::Messages, EndpointGroup::CountTokens], None);
    change(&mut only);
    post(&Policy::new(AddressRules::default(), vec![only], Vec::new()), path, &haiku(more))
}

fn haiku(more: &Value) -> Value {
    let mut body = json!({ "model": "claude-haiku-5", "max_tokens": 2000 });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// What opens a feature in a grant.
type Change = fn(&mut Grant);

fn reason(decision: Result<String, Denial>) -> &'static str {
    decision.map_or_else(|denial| denial.reason(), |_| "allowed")
}

#[test]
fn the_grant_that_allows_is_named() {
    assert_eq!(messages(&["claude:haiku"], r#"{"model":"claude-haiku-5"}"#), Ok("claude:haiku".to_owned()));
    assert_eq!(decide(&["claude:files"], &Method::GET, "/v1/files", ""), Ok("claude:files".to_owned()));
}

#[test]
fn refuses_whatever_no_grant_names() {
    for (scopes, body, reason) in [
        (&["claude:haiku"][..], r#"{"model":"claude-opus-5"}"#, "model_forbidden"),
        (&[], r#"{"model":"claude-haiku-5"}"#, "endpoint_forbidden"),
        (&["claude:files"], r#"{"model":"claude-haiku-5"}"#, "endpoint_forbidden"),
        (&["claude:haik"], r#"{"model":"claude-haiku-5"}"#, "endpoint_forbidden"),
        (&["claude:haiku"], r#"{"model":"claude-zeus-1"}"#, "model_forbidden"),
        (&["claude:haiku"], r#"{"model":"claude-haiku-5","fallbacks":[{"model":"claude-opus-5"}]}"#, "model_forbidden"),
        (&["claude:haiku"], r#"{"model":"claude-haiku-5","tools":[{"model":"claude-opus-5"}]}"#, "model_forbidden"),
    ] {
        let denial = messages(scopes, body).unwrap_err();
        assert_eq!(denial.reason(), reason, "{scopes:?} {body}");
    }
    assert!(
        Policy::default().admit(&caller(&["x"]), claude::find(&Method::GET, "/v1/models").unwrap().endpoint).is_err()
    );
}

#[test]
fn every_model_of_a_batch_needs_a_grant_for_batches() {
    let batch = |model: &str| {
        format!(r#"{{"requests":[{{"params":{{"model":"claude-opus-5"}}}},{{"params":{{"model":"{model}"}}}}]}}"#)
    };
    let decide = |scopes: &[&str], model| decide(scopes, &Method::POST, "/v1/messages/batches", &batch(model));
    assert_eq!(decide(&["claude:opus-long"], "claude-opus-5-5"), Ok("claude:opus-long".to_owned()));
    let denial = decide(&["claude:opus-long", "claude:haiku"], "claude-haiku-5").unwrap_err();
    assert_eq!(denial.reason(), "model_forbidden");
}

#[test]
fn the_highest_ceiling_among_equal_grants_counts() {
    let body = |tokens: u64| format!(r#"{{"model":"claude-opus-5","max_tokens":{tokens}}}"#);
    assert_eq!(messages(&["claude:opus"], &body(1000)), Ok("claude:opus".to_owned()));
    assert_eq!(messages(&["claude:opus"], &body(1001)), Err(Denial::MaxTokensForbidden { asked: 1001, ceiling: 1000 }));
    assert_eq!(messages(&["claude:opus", "claude:opus-long"], &body(1001)), Ok("claude:opus-long".to_owned()));
    assert_eq!(
        messages(&["claude:opus", "claude:opus-long"], &body(40_000)),
        Err(Denial::MaxTokensForbidden { asked: 40_000, ceiling: 32_000 })
    );
}

#[test]
fn whoever_may_use_a_model_may_look_it_up() {
    let look = |path| decide(&["claude:opus"], &Method::GET, path, "");
    assert!(look("/v1/models").is_ok());
    assert!(look("/v1/models/claude-opus-5").is_ok());
    assert_eq!(look("/v1/models/claude-haiku-5").unwrap_err().reason(), "model_forbidden");
    assert_eq!(decide(&["claude:files"], &Method::GET, "/v1/models", "").unwrap_err().reason(), "endpoint_forbidden");
}

#[test]
fn the_grant_that_names_the_model_most_closely_decides() {
    let wide = Grant { server_tools: vec![Pattern::any()], ..grant("s", &["*"], &[EndpointGroup::Messages], None) };
    let close = Grant {
        name: "close".to_owned(),
        ..grant("t", &["claude-haiku-*", "claude-opus-5"], &[EndpointGroup::Messages], Some(1000))
    };
    let policy = Policy::new(AddressRules::default(), vec![wide, close], Vec::new());
    let decide =
        |model: &str, tokens: u64| post(&policy, "/v1/messages", &json!({ "model": model, "max_tokens": tokens }));
    assert_eq!(decide("claude-haiku-5", 1000), Ok("close".to_owned()));
    assert_eq!(decide("claude-haiku-5", 1001), Err(Denial::MaxTokensForbidden { asked: 1001, ceiling: 1000 }));
    assert_eq!(decide("claude-opus-5", 1001), Err(Denial::MaxTokensForbidden { asked: 1001, ceiling: 1000 }));
    assert_eq!(decide("claude-opus-5-5", 1001), Ok("s".to_owned()));
    let both = json!({ "model": "claude-haiku-5", "max_tokens": 9, "fallbacks": [{ "model": "claude-sonnet-5" }] });
    assert_eq!(post(&policy, "/v1/messages", &both), Ok("close s".to_owned()));
}

#[test]
fn thinking_is_bounded_by_its_budget_or_else_by_max_tokens() {
    let ceiling = |grant: &mut Grant| grant.max_thinking_tokens = Some(1500);
    for (more, asked) in [
        (json!({ "thinking": { "type": "enabled", "budget_tokens": 1500 } }), None),
        (json!({ "thinking": { "budget_tokens": 1501, "type": "enabled" } }), Some(1501)),
        (json!({ "thinking": { "type": "disabled" } }), None),
        (json!({ "thinking": { "type": "disabled", "budget_tokens": 9999 } }), None),
        (json!({ "thinking": { "type": "adaptive" } }), Some(2000)),
        (json!({ "thinking": { "type": "adaptive", "budget_tokens": 1 } }), Some(2000)),
        (json!({ "thinking": { "type": "between_tools" } }), Some(2000)),
        (json!({ "thinking": { "type": "enabled" } }), Some(2000)),
        (json!({ "thinking": { "type": "adaptive" }, "max_tokens": 1500 }), None),
        // Newer models think when nothing is said of it.
        (json!({}), Some(2000)),
        (json!({ "thinking": null }), Some(2000)),
        (json!({ "max_tokens": 1500 }), None),
        // A fallback that takes no budgets decides for itself.
        (
            json!({ "thinking": { "type": "enabled", "budget_tokens": 1 }, "fallbacks": [{ "model": "claude-haiku-6" }] }),
            Some(2000),
        ),
        (
            json!({ "thinking": { "type": "disabled" }, "fallbacks": [{ "model": "claude-haiku-6", "max_tokens": 1500 }] }),
            None,
        ),
        (
            json!({ "thinking": { "type": "disabled" }, "fallbacks": [{ "model": "claude-haiku-6", "thinking": { "type": "enabled", "budget_tokens": 7 } }] }),
            None,
        ),
    ] {
        let expected =
            asked.map_or(Ok("s".to_owned()), |asked| Err(Denial::ThinkingForbidden { asked, ceiling: 1500 }));
        assert_eq!(judged(ceiling, &more), expected, "{more}");
        assert_eq!(judged(|_| {}, &more), Ok("s".to_owned()), "{more}");
        assert_eq!(judged_at("/v1/messages/count_tokens", ceiling, &more), Ok("s".to_owned()), "{more}");
    }
}

#[test]
fn a_fallback_has_the_ceiling_of_the_message_or_its_own() {
    let ceiling = |grant: &mut Grant| grant.max_tokens = Some(2000);
    for (fallback, allowed) in [
        (json!({ "model": "claude-haiku-6" }), true),
        (json!({ "model": "claude-haiku-6", "max_tokens": null }), true),
        (json!({ "model": "claude-haiku-6", "max_tokens": 2001 }), false),
        (json!({ "model": "claude-sonnet-6", "max_tokens": 1 }), false),
    ] {
        let decision = judged(ceiling, &json!({ "fallbacks": [fallback] }));
        assert_eq!(decision.is_ok(), allowed, "{fallback} {decision:?}");
    }
}

#[test]
fn features_need_their_key() {
    let file =
        json!([{ "role": "user", "content": [{ "type": "document", "source": { "type": "file", "file_id": "f" } }] }]);
    let added = json!([{ "role": "system", "content": [
        { "type": "tool_addition", "tool": { "type": "tool_definition", "definition": { "type": "web_fetch_20260318" } } },
    ] }]);
    let rows: [(Value, &str, Change); 10] = [
        (
            json!({ "tools": [{ "type": "web_search_20260318", "name": "web_search" }] }),
            "server_tool_forbidden",
            |grant| {
                grant.server_tools = patterns(&["web_fetch", "web_search"]);
            },
        ),
        (json!({ "tools": [{ "type": "launch_rocket_20270101" }] }), "server_tool_forbidden", |grant| {
            grant.server_tools = patterns(&["launch_*"]);
        }),
        (json!({ "messages": added }), "server_tool_forbidden", |grant| grant.server_tools = patterns(&["web_fetch"])),
        (json!({ "tools": [{ "type": "mcp_toolset" }] }), "server_tool_forbidden", |grant| grant.mcp_servers = true),
        (json!({ "mcp_servers": [{ "url": "https://x" }] }), "mcp_servers_forbidden", |grant| grant.mcp_servers = true),
        (json!({ "messages": file }), "files_forbidden", |grant| grant.files = true),
        (json!({ "container": { "skills": [{ "skill_id": "x" }] } }), "skills_forbidden", |grant| grant.skills = true),
        (json!({ "inference_geo": "global" }), "allowed", |_| {}),
        (
            json!({ "tools": [{ "name": "mine" }, { "type": "custom" }, { "type": null }, { "type": "bash_20250124" }] }),
            "allowed",
            |_| {},
        ),
        (json!({ "mcp_servers": [], "container": { "id": "c", "skills": null }, "tools": [] }), "allowed", |_| {}),
    ];
    for (more, refusal, opened) in rows {
        assert_eq!(reason(judged(|_| {}, &more)), refusal, "{more}");
        assert_eq!(reason(judged(opened, &more)), "allowed", "{more}");
    }
    let opus =
        grant("s", &["claude-opus-*"], &[EndpointGroup::Messages, EndpointGroup::Files, EndpointGroup::Skills], None);
    assert!(opus.files && opus.skills && !opus.mcp_servers && opus.server_tools.is_empty());
}

#[test]
fn a_fallback_uses_what_the_message_uses() {
    let search = json!([{ "type": "web_search_20260318" }]);
    let mut sonnet = grant("t", &["claude-sonnet-*"], &[EndpointGroup::Messages], None);
    let mut haiku_grant = grant("s", &["claude-haiku-*"], &[EndpointGroup::Messages], None);
    haiku_grant.server_tools = patterns(&["web_search"]);
    let body = haiku(&json!({ "tools": search, "fallbacks": [{ "model": "claude-sonnet-5" }] }));
    let decide = |sonnet: &Grant| {
        let grants = vec![haiku_grant.clone(), sonnet.clone()];
        reason(post(&Policy::new(AddressRules::default(), grants, Vec::new()), "/v1/messages", &body))
    };
    assert_eq!(decide(&sonnet), "server_tool_forbidden");
    sonnet.server_tools = patterns(&["web_search"]);
    assert_eq!(decide(&sonnet), "allowed");
}

#[test]
fn a_required_region_must_be_named() {
    let region = |grant: &mut Grant| grant.inference_geo = vec!["us".to_owned(), "eu".to_owned()];
    for (more, expected) in [
        (json!({ "inference_geo": "us" }), "allowed"),
        (json!({ "inference_geo": "eu" }), "allowed"),
        (json!({ "inference_geo": "global" }), "inference_geo_forbidden"),
        (json!({ "inference_geo": null }), "inference_geo_forbidden"),
        (json!({}), "inference_geo_forbidden"),
        (json!({ "inference_geo": "us", "fallbacks": [{ "model": "claude-haiku-6" }] }), "allowed"),
        (
            json!({ "inference_geo": "us", "fallbacks": [{ "model": "claude-haiku-6", "inference_geo": "global" }] }),
            "inference_geo_forbidden",
        ),
    ] {
        assert_eq!(reason(judged(region, &more)), expected, "{more}");
    }
    // Counting has no such field, and no answer that would come from a region.
    assert_eq!(reason(judged_at("/v1/messages/count_tokens", region, &json!({}))), "allowed");
    assert_eq!(
        reason(judged_at("/v1/messages/count_tokens", region, &json!({ "inference_geo": "global" }))),
        "inference_geo_forbidden"
    );
}

#[test]
fn beta_values_are_judged_at_every_endpoint() {
    let mut only = grant("s", &["claude-haiku-*"], &[EndpointGroup::Messages, EndpointGroup::Files], None);
    let decide = |grant: &Grant, path, body: &str, betas: &[&str]| {
        let method = if body.is_empty() { Method::GET } else { Method::POST };
        let request = Request { scopes: &["s"], method, path, body: body.to_owned(), betas };
        reason(request.decide(&Policy::new(AddressRules::default(), vec![grant.clone()], Vec::new())))
    };
    let both = |grant: &Grant, betas: &[&str]| {
        let at_messages = decide(grant, "/v1/messages", r#"{"model":"claude-haiku-5"}"#, betas);
        assert_eq!(at_messages, decide(grant, "/v1/files", "", betas));
        at_messages
    };
    assert_eq!(both(&only, &["anything-2031-01-01"]), "allowed");
    only.deny_betas = patterns(&["mcp-*"]);
    assert_eq!(both(&only, &["context-1m-2025-08-07"]), "allowed");
    assert_eq!(both(&only, &["context-1m-2025-08-07", "MCP-client-2025-11-20"]), "beta_forbidden");
    only.betas = patterns(&["context-*"]);
    assert_eq!(both(&only, &["context-1m-2025-08-07"]), "allowed");
    assert_eq!(both(&only, &["files-api-2025-04-14"]), "beta_forbidden");
    assert_eq!(both(&only, &[]), "allowed");
}

#[test]
fn a_grant_is_closed_outside_its_hours() {
    let at = |windows: &[&str]| {
        let hours = Hours { windows: patterns(windows), ..Hours::default() };
        judged(|grant| grant.hours = hours, &json!({}))
    };
    assert_eq!(at(&["15:00-16:00"]), Ok("s".to_owned()));
    assert_eq!(at(&["16:00-17:00"]), Err(Denial::HoursForbidden { rule: "s".to_owned() }));
}

#[test]
fn a_grant_for_a_team_is_for_its_members() {
    let mut only = grant("*", &["claude-haiku-*"], &[EndpointGroup::Messages], None);
    only.holders.teams = vec!["research".to_owned()];
    assert!(!only.holders.have(&caller(&["s"])));
    only.holders.teams.clear();
    assert!(only.holders.have(&caller(&["s"])));
}

fn without(rule: DenyRule, path: &str, body: &Value, betas: &[&str]) -> &'static str {
    let endpoints = [EndpointGroup::Messages, EndpointGroup::Batches, EndpointGroup::CountTokens];
    let open = Grant {
        server_tools: vec![Pattern::any()],
        mcp_servers: true,
        files: true,
        skills: true,
        ..grant("s", &["*", "claude-zeus-*"], &endpoints, None)
    };
    let policy = Policy::new(AddressRules::default(), vec![open], vec![rule]);
    let request = Request { scopes: &["s"], method: Method::POST, path, body: body.to_string(), betas };
    reason(request.decide(&policy))
}

#[test]
fn a_rule_that_denies_covers_a_call_that_meets_all_that_it_states() {
    let search = json!({ "tools": [{ "type": "web_search_20260318" }] });
    let everybody = || DenyRule::new("*");
    let opus = json!({ "model": "claude-opus-5" });
    let rows = [
        (everybody(), haiku(&json!({})), true),
        (DenyRule::new("t"), haiku(&json!({})), false),
        (DenyRule { endpoints: vec![EndpointGroup::Batches], ..everybody() }, haiku(&json!({})), false),
        (DenyRule { models: patterns(&["claude-opus-*"]), ..everybody() }, haiku(&json!({})), false),
        (DenyRule { models: patterns(&["claude-opus-*"]), ..everybody() }, opus.clone(), true),
        (
            DenyRule { models: patterns(&["claude-opus-*"]), ..everybody() },
            haiku(&json!({ "fallbacks": [{ "model": "claude-opus-5" }] })),
            true,
        ),
        (DenyRule { models: patterns(&["*"]), ..everybody() }, json!({ "model": "claude-zeus-1" }), true),
        (DenyRule { server_tools: patterns(&["web_*"]), ..everybody() }, haiku(&json!({})), false),
        (DenyRule { server_tools: patterns(&["web_*"]), ..everybody() }, haiku(&search), true),
        (
            DenyRule { server_tools: patterns(&["web_*"]), models: patterns(&["claude-opus-*"]), ..everybody() },
            haiku(&search),
            false,
        ),
        (DenyRule { mcp_servers: true, ..everybody() }, haiku(&json!({})), false),
        (DenyRule { mcp_servers: true, ..everybody() }, haiku(&json!({ "tools": [{ "type": "mcp_toolset" }] })), true),
        (DenyRule { files: true, ..everybody() }, haiku(&json!({})), false),
        (DenyRule { skills: true, ..everybody() }, haiku(&json!({ "container": { "skills": [1] } })), true),
        (DenyRule { betas: patterns(&["two-*"]), ..everybody() }, haiku(&json!({})), true),
        (DenyRule { betas: patterns(&["three-*"]), ..everybody() }, haiku(&json!({})), false),
        (
            DenyRule { hours: Hours { windows: patterns(&["16:00-17:00"]), ..Hours::default() }, ..everybody() },
            haiku(&json!({})),
            false,
        ),
    ];
    for (rule, body, denied) in rows {
        let expected = if denied { "rule_denied" } else { "allowed" };
        assert_eq!(without(rule.clone(), "/v1/messages", &body, &["one-1", "TWO-2"]), expected, "{rule:?} {body}");
    }
}

#[test]
fn a_list_of_models_shows_what_may_be_used() {
    let policy = |rule: DenyRule| Policy::new(AddressRules::default(), grants(), vec![rule]);
    let caller = caller(&["claude:haiku", "claude:opus"]);
    let shows = |rule: DenyRule| {
        let policy = policy(rule);
        ["claude-haiku-5", "claude-opus-5", "claude-sonnet-5"]
            .map(|name| policy.shows(&caller, &Model::parse(name).unwrap()))
    };
    assert_eq!(shows(DenyRule::new("nobody")), [true, true, false]);
    assert_eq!(shows(DenyRule { models: patterns(&["*opus*"]), ..DenyRule::new("*") }), [true, false, false]);
    // Denied in part only: it may be used.
    let in_part = DenyRule { models: patterns(&["*opus*"]), mcp_servers: true, ..DenyRule::new("*") };
    assert_eq!(shows(in_part), [true, true, false]);
}

#[test]
fn grants_are_shown_to_their_holder() {
    let (policy, caller) = (policy(), caller(&["claude:opus", "x"]));
    let shown: Vec<Value> =
        policy.grants_of(&caller).map(|grant| serde_json::to_value(grant.view()).unwrap()).collect();
    let expected = json!([{
        "name": "claude:opus", "scope": "claude:opus", "models": ["claude-opus-*"], "endpoints": ["messages"],
        "max_tokens": 1000, "max_thinking_tokens": null, "server_tools": [], "mcp_servers": false, "files": false,
        "skills": false, "betas": ["*"], "deny_betas": [], "inference_geo": [], "hours": "always",
    }]);
    assert_eq!(json!(shown), expected);
}

#[test]
fn every_step_of_a_decision_can_be_seen() {
    let call = claude::peek(br#"{"model":"claude-opus-5","max_tokens":2000}"#, Shape::Message).unwrap();
    let endpoint = claude::find(&Method::POST, "/v1/messages").unwrap().endpoint;
    let policy = Policy::new(AddressRules::default(), grants(), vec![DenyRule::new("contractor")]);
    let mut steps = Vec::new();
    let caller = caller(&["claude:opus", "claude:opus-long"]);
    let decided = policy.explain(&caller, endpoint, &call, &[], now(), |step| {
        steps.push(match step {
            Step::Judging(ask) => format!("judging {}", ask.model.as_ref().unwrap()),
            Step::Denies(rule) => format!("{} denies", rule.name),
            Step::Spares(rule, why) => format!("{} spares: {why}", rule.name),
            Step::Silent(grant, why) => format!("{} is silent: {why}", grant.name),
            Step::Refuses(grant, denial) => format!("{} refuses: {}", grant.name, denial.reason()),
            Step::Allows(grant) => format!("{} allows", grant.name),
        });
    });
    assert_eq!(decided.unwrap().rule(), "claude:opus-long");
    let expected = [
        "contractor spares: it is for others",
        "claude:haiku is silent: it is for others",
        "claude:files is silent: it is for others",
        "judging claude-opus-5",
        "claude:opus refuses: max_tokens_forbidden",
        "claude:opus-long allows",
    ];
    assert_eq!(steps, expected);
}

fn a_message() -> impl Strategy<Value = Value> {
    let model = prop::sample::select(vec!["claude-haiku-5", "claude-opus-5", "claude-opus-5-5", "claude-sonnet-5"]);
    let more = prop::sample::select(vec![
        json!({}),
        json!({ "tools": [{ "type": "web_search_20260318" }] }),
        json!({ "tools": [{ "type": "web_fetch_20260318" }, { "type": "web_search_20250305" }] }),
        json!({ "mcp_servers": [{}] }),
        json!({ "container": { "skills": [{}] } }),
        json!({ "inference_geo": "us" }),
        json!({ "fallbacks": [{ "model": "claude-haiku-5" }] }),
        json!({ "tools": [{ "type": "advisor_20260301", "model": "claude-opus-5", "max_tokens": 3000 }] }),
    ]);
    let thinking = prop::sample::select(vec![
        json!({}),
        json!({ "thinking": { "type": "disabled" } }),
        json!({ "thinking": { "type": "enabled", "budget_tokens": 900 } }),
        json!({ "thinking": { "type": "enabled", "budget_tokens": 1100 } }),
    ]);
    (model, more, thinking, 1_u64..4000).prop_map(|(model, more, thinking, tokens)| {
        let mut body = json!({ "model": model, "max_tokens": tokens });
        for (key, value) in [more, thinking].iter().flat_map(|part| part.as_object().unwrap()) {
            body[key] = value.clone();
        }
        body
    })
}

fn a_grant() -> impl Strategy<Value = Grant> {
    let models = prop::sample::select(vec!["*", "claude-haiku-*", "claude-opus-*", "claude-opus-5", "claude-*"]);
    let tools = prop::sample::select(vec!["*", "web_search", "advisor"]);
    let ceiling = || prop::option::of(prop::sample::select(vec![1000_u64, 2000, 3500]));
    let flags = (any::<bool>(), any::<bool>(), prop::option::of(Just("us".to_owned())));
    let scope = prop::sample::select(vec!["s", "t", "u"]);
    (scope, models, tools, ceiling(), ceiling(), flags).prop_map(
        |(scope, models, tools, max_tokens, max_thinking_tokens, (mcp_servers, skills, geo))| Grant {
            server_tools: patterns(&[tools]),
            max_thinking_tokens,
            mcp_servers,
            skills,
            inference_geo: geo.into_iter().collect(),
            ..grant(scope, &[models], &[EndpointGroup::Messages, EndpointGroup::Batches], max_tokens)
        },
    )
}

fn a_denial() -> impl Strategy<Value = DenyRule> {
    let models = prop::sample::select(vec![&[][..], &["claude-opus-*"], &["*5"]]);
    let tools = prop::sample::select(vec![&[][..], &["web_*"], &["advisor"]]);
    (prop::sample::select(vec!["*", "s", "u"]), models, tools, any::<bool>()).prop_map(
        |(scope, models, tools, mcp_servers)| DenyRule {
            models: patterns(models),
            server_tools: patterns(tools),
            mcp_servers,
            ..DenyRule::new(scope)
        },
    )
}

proptest! {
    #[test]
    fn a_batch_is_allowed_if_and_only_if_each_item_is(
        items in prop::collection::vec(a_message(), 1..24),
        grants in prop::collection::vec(a_grant(), 1..6),
        denials in prop::collection::vec(a_denial(), 0..2),
    ) {
        let policy = Policy::new(AddressRules::default(), grants, denials);
        let batch = |items: &[Value]| {
            let requests: Vec<Value> = items.iter().map(|item| json!({ "custom_id": "x", "params": item })).collect();
            post(&policy, "/v1/messages/batches", &json!({ "requests": requests }))
        };
        let alone = items.iter().all(|item| {
            let as_batch = batch(std::slice::from_ref(item)).is_ok();
            assert_eq!(as_batch, post(&policy, "/v1/messages", item).is_ok(), "{item}");
            as_batch
        });
        prop_assert_eq!(batch(&items).is_ok(), alone);
    }

    #[test]
    fn a_rule_that_denies_never_allows_more(
        message in a_message(),
        grants in prop::collection::vec(a_grant(), 0..6),
        denials in prop::collection::vec(a_denial(), 0..3),
        added in a_denial(),
    ) {
        let more: Vec<DenyRule> = denials.iter().cloned().chain([added]).collect();
        let before = post(&Policy::new(AddressRules::default(), grants.clone(), denials), "/v1/messages", &message);
        let after = post(&Policy::new(AddressRules::default(), grants, more), "/v1/messages", &message);
        prop_assert!(before.is_ok() || after.is_err());
        prop_assert!(after.is_err() || after == before);
    }
}
