use std::net::IpAddr;
use std::time::SystemTime;

use http::Method;

use super::*;
use crate::claude::{self, Shape};
use crate::identity::Caller;

fn grant(scope: &str, models: &[&str], endpoints: &[EndpointGroup], max_tokens: Option<u64>) -> Grant {
    let models = models.iter().map(|pattern| pattern.parse().unwrap()).collect();
    Grant { scope: scope.to_owned(), models, endpoints: endpoints.to_vec(), max_tokens }
}

fn policy() -> Policy {
    use EndpointGroup::{Batches, CountTokens, Files, Messages};
    Policy::new(
        AddressRules::default(),
        vec![
            grant("claude:haiku", &["claude-haiku-*"], &[Messages, CountTokens], None),
            grant("claude:opus", &["claude-opus-*"], &[Messages], Some(1000)),
            grant("claude:opus-long", &["claude-opus-*"], &[Messages, Batches], Some(32_000)),
            grant("claude:files", &[], &[Files], None),
        ],
    )
}

fn caller(scopes: &[&str]) -> Caller {
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    Caller::for_tests("alice", scopes, address, SystemTime::UNIX_EPOCH)
}

fn decide(scopes: &[&str], method: &Method, path: &str, body: &str) -> Result<String, Denial> {
    let found = claude::find(method, path).unwrap();
    let shape = if path.ends_with("/batches") { Shape::Batch } else { Shape::Message };
    let call = if body.is_empty() {
        Peek { models: found.model.into_iter().collect(), ..Peek::default() }
    } else {
        claude::peek(body.as_bytes(), shape).unwrap()
    };
    let caller = caller(scopes);
    policy().admit(&caller, found.endpoint)?;
    policy().authorize(&caller, found.endpoint, &call).map(|permit| permit.rule().to_owned())
}

fn messages(scopes: &[&str], body: &str) -> Result<String, Denial> {
    decide(scopes, &Method::POST, "/v1/messages", body)
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
fn the_highest_ceiling_among_the_grants_counts() {
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
