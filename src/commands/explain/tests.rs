use serde_json::json;

use super::*;
use crate::commands::token::{self, Claims};

const CONFIG: &str = r#"
[listen]
address = "127.0.0.1:8443"
[address]
deny = ["10.66.0.0/16"]
[[issuer]]
name = "test"
issuer = "https://issuer.test"
audience = ["api://claude"]
secret = { file = "secret" }
team_claim = "groups"
[[grant]]
scope = "claude:haiku"
models = ["claude-haiku-*"]
[[grant]]
name = "opus-by-name"
scope = "claude:opus"
models = ["claude-opus-5"]
max_tokens = 1000
[[grant]]
name = "no-mcp"
scope = "*"
deny = true
mcp_servers = true
[[limit]]
per = "subject"
models = ["claude-opus-*"]
output_tokens = "950/min"
cost_usd = "2.50/day"
[upstream]
endpoints = ["10.0.0.1:443"]
server_name = "api.anthropic.com"
[[upstream.key]]
name = "one"
secret = { file = "secret" }
[audit]
directory = "audit"
[privacy]
prompts = "block"
block = ["CREDIT_CARD"]
"#;

fn config() -> Config {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "a-secret-of-thirty-two-bytes-....").unwrap();
    Config::parse(Path::new(&folder.path().join("p.toml")), CONFIG.to_owned())
        .map_err(|faults| faults.to_string())
        .unwrap()
}

fn question(who: Who, body: &Value) -> Question {
    Question {
        who,
        method: Method::POST,
        path: "/v1/messages".to_owned(),
        body: Some(body.to_string().into_bytes()),
        address: Some("192.0.2.1".parse().unwrap()),
        betas: Vec::new(),
    }
}

fn claims(claims: &Value) -> Who {
    Who::Claims(claims.as_object().unwrap().clone())
}

fn explained(question: &Question) -> (Result<(), &'static str>, String) {
    let mut shown = String::new();
    let decision = explain(config(), question, SystemTime::now(), &mut shown);
    (decision.map_err(|denial| denial.reason()), shown)
}

fn alice() -> Who {
    claims(&json!({ "sub": "alice", "scope": "claude:haiku claude:opus", "groups": ["research"] }))
}

#[test]
fn every_step_is_shown_with_the_rule_behind_it() {
    let body = json!({ "model": "claude-opus-5", "max_tokens": 900, "thinking": { "type": "disabled" } });
    let (decision, shown) = explained(&question(alice(), &body));
    let expected = "\
address   192.0.2.1 is allowed: no network of address.deny has it
issuer    test (https://issuer.test)
token     claims supposed, no signature; audience and times hold
caller    alice of test, for 3599 s more
scopes    claude:haiku claude:opus
teams     research
endpoint  POST /v1/messages belongs to messages
asks      1 message(s), 1 distinct demand(s)
  no-mcp does not deny: no MCP server is used
demand    claude-opus-5, max_tokens 900
  claude:haiku has no say: it does not cover the model
  opus-by-name allows
limit     subject claude-opus-*: 900 of 950 output tokens in a min, per subject
limit     subject claude-opus-*: $0.02275 of $2.5 cost in a day, per subject
content   none
decision  allowed by opus-by-name
";
    assert_eq!((decision, shown.replace("3600 s", "3599 s").as_str()), (Ok(()), expected));
}

#[test]
fn a_refusal_says_which_rule_refused() {
    let (decision, shown) = explained(&question(alice(), &json!({ "model": "claude-opus-5", "max_tokens": 1001 })));
    assert_eq!(decision, Err("max_tokens_forbidden"));
    assert!(shown.ends_with("opus-by-name refuses: max_tokens 1001 is above the grant's 1000\n"), "{shown}");
    let (decision, _) = explained(&question(alice(), &json!({ "model": "claude-opus-5", "max_tokens": 960 })));
    assert_eq!(decision, Err("limit_output_tokens"), "the call alone is above the limit");
    let denied = json!({ "model": "claude-haiku-5", "mcp_servers": [{}] });
    let (decision, shown) = explained(&question(alice(), &denied));
    assert_eq!(decision, Err("rule_denied"));
    assert!(shown.ends_with("thinking without a bound, mcp_servers\n  no-mcp denies\n"), "{shown}");
    let paying = "for jane@example.com, with 4111 1111 1111 1111";
    let messages = json!([{ "role": "user", "content": paying }]);
    let body = json!({ "model": "claude-haiku-5", "max_tokens": 1, "messages": messages });
    let (decision, shown) = explained(&question(alice(), &body));
    assert_eq!(decision, Err("content_forbidden"));
    assert!(shown.ends_with(" allows\ncontent   1 CREDIT_CARD, 1 EMAIL\n"), "{shown}");
    let mut from_afar = question(alice(), &denied);
    from_afar.address = Some("10.66.1.1".parse().unwrap());
    let (decision, shown) = explained(&from_afar);
    assert_eq!(decision, Err("address_forbidden"));
    assert_eq!(shown, "address   10.66.1.1 is refused: address.deny 10.66.0.0/16\n");
}

#[test]
fn claims_are_judged_as_a_tokens_are() {
    let body = json!({ "model": "claude-haiku-5" });
    for (supposed, reason) in [
        (json!({ "sub": "a", "iss": "https://other.test" }), "issuer_unknown"),
        (json!({ "sub": "a", "aud": "api://other" }), "token_invalid"),
        (json!({ "sub": "a", "exp": 1 }), "token_expired"),
        (json!({ "scope": "claude:haiku" }), "token_invalid"),
        (json!({ "sub": "a", "scope": "claude:haik" }), "endpoint_forbidden"),
    ] {
        assert_eq!(explained(&question(claims(&supposed), &body)).0, Err(reason), "{supposed}");
    }
}

#[test]
fn a_token_is_verified_and_never_shown() {
    let config = config();
    let claims = Claims { subject: "bob", scope: "claude:haiku", team: None, lifetime: Duration::from_secs(60) };
    let token = token::sign(config.issuers.first().unwrap(), None, &claims).unwrap();
    let body = json!({ "model": "claude-haiku-5" });
    let (decision, shown) = explained(&question(Who::Token(token.clone()), &body));
    assert_eq!(decision, Ok(()), "{shown}");
    assert!(shown.contains("caller    bob of test") && !shown.contains(&token), "{shown}");
    let forged = format!("{}x", token.split_at(token.len() - 6).0);
    assert_eq!(explained(&question(Who::Token(forged), &body)).0, Err("token_invalid"));
    assert_eq!(explained(&question(Who::Token("sk-ant-x".to_owned()), &body)).0, Err("anthropic_credential"));
}

#[test]
fn without_a_body_the_grants_are_shown() {
    let mut bare = question(alice(), &json!({}));
    bare.body = None;
    let (decision, shown) = explained(&bare);
    assert_eq!(decision, Ok(()));
    assert!(shown.contains("{\"name\":\"opus-by-name\",\"scope\":\"claude:opus\""), "{shown}");
    bare.method = Method::GET;
    bare.path = "/v1/models/claude-opus-5".to_owned();
    assert!(explained(&bare).1.contains("decision  allowed by opus-by-name"));
}
