//! `portcullis explain`: the decision on a request and the rule behind every step, without sending it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{ConfigFile, Outcome, load};
use crate::claude::{self, Ask, BodyRule, Features, Match, Peek, Shape};
use crate::config::{Config, IssuerConfig, IssuerRules, KeySource};
use crate::credential::Secret;
use crate::denial::{Denial, TokenFault};
use crate::identity::{Bearer, Caller, Issuers, KeyFetcher, VerifiedToken};
use crate::policy::{Policy, Step};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// The caller's token
    #[arg(long, value_name = "JWT", required_unless_present = "claims", conflicts_with = "claims")]
    token: Option<String>,
    /// Claims as JSON, for a token that does not exist; `iss`, `aud`, `iat` and `exp` are supposed where they are left out
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// The request's body, - for stdin [default: none, which shows what the caller's grants are]
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// Method and path
    #[arg(long, value_name = "REQUEST", default_value = "POST /v1/messages")]
    endpoint: String,
    /// The address that the request comes from [default: address rules are not asked]
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// A value of anthropic-beta; may be repeated
    #[arg(long, value_name = "VALUE")]
    beta: Vec<String>,
}

pub(super) fn command(arguments: Arguments) -> Outcome {
    let config = load(&arguments.config.path)?;
    let body = arguments.body.as_deref().map(read_body).transpose()?;
    let (method, path) = arguments.endpoint.split_once(' ').ok_or("write --endpoint as \"POST /v1/messages\"")?;
    let who = match (arguments.token, arguments.claims) {
        (Some(token), _) => Who::Token(token),
        (None, Some(claims)) => {
            Who::Claims(serde_json::from_str(&claims).map_err(|error| format!("--claims is no JSON object: {error}"))?)
        }
        (None, None) => return Err("give a --token or --claims".to_owned()),
    };
    let question = Question {
        who,
        method: method.parse().map_err(|_| format!("{method} is no method"))?,
        path: path.split('?').next().unwrap_or_default().to_owned(),
        body,
        address: arguments.address,
        betas: arguments.beta,
    };
    let mut shown = String::new();
    let decision = explain(config, &question, SystemTime::now(), &mut shown);
    print!("{shown}");
    decision.map_err(|denial| {
        let kind = denial.error_type();
        format!("refused: {} ({}): {denial}\nthe caller reads: {}", denial.reason(), kind.status(), denial.message())
    })
}

fn read_body(path: &Path) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut body).map(|_| body)
    } else {
        std::fs::read(path)
    };
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// A request to be explained.
struct Question {
    who: Who,
    method: Method,
    path: String,
    body: Option<Vec<u8>>,
    address: Option<IpAddr>,
    betas: Vec<String>,
}

enum Who {
    Token(String),
    Claims(Map<String, Value>),
}

/// Takes the request through the checks of the proxy, in its order, and writes each with its outcome to `shown`.
fn explain(config: Config, question: &Question, now: SystemTime, shown: &mut String) -> Result<(), Denial> {
    let Config { policy, issuers, listen, .. } = config;
    match question.address {
        None => line(shown, "address", "not given, so its rules are not asked"),
        Some(address) => {
            let decision = policy.addresses().decide(address);
            let word = if decision.allowed { "allowed" } else { "refused" };
            line(shown, "address", &format!("{address} is {word}: {}", decision.rule));
            if !decision.allowed {
                return Err(Denial::AddressForbidden);
            }
        }
    }
    let token = match &question.who {
        Who::Token(token) => caller_from_token(issuers, token, now, shown)?,
        Who::Claims(claims) => caller_from_claims(issuers, claims, now, shown)?,
    };
    let caller = Caller::new(token, question.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    show_caller(shown, &caller, now);

    let found = claude::find(&question.method, &question.path).ok_or(Denial::EndpointUnknown)?;
    let group = found.endpoint.group;
    line(shown, "endpoint", &format!("{} {} belongs to {group}", question.method, found.endpoint.route));
    policy.admit(&caller, found.endpoint)?;
    let lines = question.betas.iter().map(String::as_bytes);
    let betas = claude::betas(lines).ok_or(Denial::RequestMalformed("its anthropic-beta"))?;
    if !betas.is_empty() {
        line(shown, "betas", &betas.join(" "));
    }
    let Some(call) = asked(&found, question.body.as_deref(), listen.max_body)? else {
        line(shown, "body", "not given; the grants of the caller that list the endpoint:");
        for grant in policy.grants_of(&caller).filter(|grant| grant.endpoints.contains(&group)) {
            let view = serde_json::to_string(&grant.view()).unwrap_or_default();
            let _ = writeln!(shown, "  {view}");
        }
        return Ok(());
    };
    decide(&policy, &caller, &found, &call, &betas, now, shown)
}

/// What the request asks for; `None` when that is in a body that was not given.
fn asked(found: &Match, body: Option<&[u8]>, max_body: usize) -> Result<Option<Peek>, Denial> {
    match (found.endpoint.body, body) {
        (BodyRule::Judged(Shape::Message | Shape::Batch), None) => Ok(None),
        (BodyRule::Judged(Shape::Resource), None | Some([])) | (BodyRule::Streamed, _) => Ok(Some(Peek::default())),
        (BodyRule::Absent, None) => Ok(Some(Peek::of_path(found.model.clone()))),
        (BodyRule::Absent, Some(_)) => Err(Denial::BodyMalformed("this endpoint takes no body".to_owned())),
        (BodyRule::Judged(_), Some(body)) if body.len() > max_body => Err(Denial::BodyTooLarge { limit: max_body }),
        (BodyRule::Judged(shape), Some(body)) => claude::peek(body, shape).map(Some).map_err(Denial::BodyMalformed),
    }
}

fn decide(
    policy: &Policy,
    caller: &Caller,
    found: &Match,
    call: &Peek,
    betas: &[&str],
    now: SystemTime,
    shown: &mut String,
) -> Result<(), Denial> {
    line(shown, "asks", &format!("{} message(s), {} distinct demand(s)", call.messages, call.asks().len()));
    let permit = policy.explain(caller, found.endpoint, call, betas, now, |step| {
        let _ = match step {
            Step::Judging(ask) => {
                line(shown, "demand", &demand(ask));
                Ok(())
            }
            Step::Denies(rule) => writeln!(shown, "  {} denies", rule.name),
            Step::Spares(rule, why) => writeln!(shown, "  {} does not deny: {why}", rule.name),
            Step::Silent(grant, why) => writeln!(shown, "  {} has no say: {why}", grant.name),
            Step::Refuses(grant, denial) => writeln!(shown, "  {} refuses: {denial}", grant.name),
            Step::Allows(grant) => writeln!(shown, "  {} allows", grant.name),
        };
    })?;
    line(shown, "decision", &format!("allowed by {}", permit.rule()));
    Ok(())
}

fn line(shown: &mut String, what: &str, text: &str) {
    let _ = writeln!(shown, "{what:<9} {}", if text.is_empty() { "none" } else { text });
}

fn show_caller(shown: &mut String, caller: &Caller, now: SystemTime) {
    let left = caller.expires().duration_since(now).unwrap_or_default().as_secs();
    line(shown, "caller", &format!("{} of {}, for {left} s more", caller.subject(), caller.issuer()));
    line(shown, "scopes", &caller.scopes().join(" "));
    line(shown, "teams", &caller.teams().join(" "));
}

/// A demand in one line.
fn demand(ask: &Ask) -> String {
    let Features { server_tools, mcp_servers, files, skills, inference_geo } = &ask.features;
    let mut text = ask.model.as_ref().map_or_else(|| "no model".to_owned(), ToString::to_string);
    if let Some(tokens) = ask.max_tokens {
        let _ = write!(text, ", max_tokens {tokens}");
    }
    match ask.max_thinking {
        0 => {}
        u64::MAX => text.push_str(", thinking without a bound"),
        tokens => {
            let _ = write!(text, ", up to {tokens} tokens of thinking");
        }
    }
    for tool in server_tools {
        let _ = write!(text, ", {tool}");
    }
    for (_, name) in
        [(mcp_servers, "mcp_servers"), (files, "files"), (skills, "skills")].iter().filter(|(used, _)| **used)
    {
        let _ = write!(text, ", {name}");
    }
    if let Some(geo) = inference_geo {
        let _ = write!(text, ", inference_geo {geo}");
    }
    if ask.count > 1 {
        let _ = write!(text, " ({} times)", ask.count);
    }
    text
}

/// Verifies the token as the proxy does; keys that are fetched are fetched now.
fn caller_from_token(
    issuers: Vec<IssuerConfig>,
    token: &str,
    now: SystemTime,
    shown: &mut String,
) -> Result<VerifiedToken, Denial> {
    // Through headers, as a client would send it, for a stray Anthropic key to be told.
    let mut headers = HeaderMap::new();
    let value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| Denial::CredentialMalformed)?;
    headers.insert(header::AUTHORIZATION, value);
    let bearer = Bearer::from_headers(&headers)?;
    let claims: HashMap<String, Value> = jsonwebtoken::dangerous::insecure_decode_claims(bearer.expose())
        .map_err(|_| Denial::TokenInvalid(TokenFault::Malformed))?;
    let issuer = of_claims(issuers, claims.get("iss")).ok_or(Denial::IssuerUnknown)?;
    line(shown, "issuer", &format!("{} ({})", issuer.rules.name, issuer.rules.issuer));
    let (issuers, fetchers) = Issuers::new(vec![issuer]);
    if let Err(problem) = fetch_keys(&issuers, &fetchers) {
        line(shown, "keys", &problem);
    }
    let verified = issuers.verify(bearer, now)?;
    line(shown, "token", "its signature, audience and times hold");
    Ok(verified)
}

/// Fetches keys once, and waits for as long as one fetch may take.
fn fetch_keys(issuers: &Issuers, fetchers: &[KeyFetcher]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot be fetched: {error}"))?;
    for fetcher in fetchers {
        let ready = async {
            while !issuers.are_ready() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let fetched = runtime.block_on(async {
            tokio::time::timeout(FETCH, async {
                tokio::select! {
                    () = fetcher.run() => {}
                    () = ready => {}
                }
            })
            .await
        });
        fetched.map_err(|_| "could not be fetched in time".to_owned())?;
    }
    Ok(())
}

const FETCH: Duration = Duration::from_secs(11);

/// The caller of a token with these claims, if its signature were good.
///
/// The claims are signed here with a secret that nobody else knows, and verified by their issuer's rules with that secret
/// for a key: all but the signature is judged as it would be.
fn caller_from_claims(
    issuers: Vec<IssuerConfig>,
    claims: &Map<String, Value>,
    now: SystemTime,
    shown: &mut String,
) -> Result<VerifiedToken, Denial> {
    let unusable = |_| Denial::TokenInvalid(TokenFault::Claims);
    let IssuerConfig { rules, .. } = match claims.get("iss") {
        None => issuers.into_iter().next(),
        issuer => of_claims(issuers, issuer),
    }
    .ok_or(Denial::IssuerUnknown)?;
    line(shown, "issuer", &format!("{} ({})", rules.name, rules.issuer));
    let claims = completed(claims, &rules, now);
    let secret = format!("{}{}", Uuid::new_v4(), Uuid::new_v4()).into_bytes();
    let key = EncodingKey::from_secret(&secret);
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(unusable)?;
    let rules = IssuerRules { algorithms: vec![Algorithm::HS256], ..rules };
    let config = IssuerConfig { rules, keys: KeySource::Secret(Secret::new(secret)), signing_key: None };
    let bearer = Bearer::parse(&token).ok_or(Denial::CredentialMalformed)?;
    let verified = Issuers::new(vec![config]).0.verify(bearer, now)?;
    line(shown, "token", "claims supposed, no signature; audience and times hold");
    Ok(verified)
}

/// `claims` with what every token has and a person who tries out a policy leaves out.
fn completed(claims: &Map<String, Value>, rules: &IssuerRules, now: SystemTime) -> Map<String, Value> {
    const HOUR: Duration = Duration::from_secs(3600);
    let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let expires = issued + rules.max_lifetime.map_or(HOUR, |longest| longest.min(HOUR));
    let mut all = Map::from_iter([
        ("iss".to_owned(), rules.issuer.clone().into()),
        ("aud".to_owned(), rules.audience.clone().into()),
        ("iat".to_owned(), issued.as_secs().into()),
        ("exp".to_owned(), expires.as_secs().into()),
    ]);
    all.extend(claims.clone());
    all
}

/// The issuer that an `iss` claim names.
fn of_claims(issuers: Vec<IssuerConfig>, issuer: Option<&Value>) -> Option<IssuerConfig> {
    let issuer = issuer?.as_str()?;
    issuers.into_iter().find(|config| config.rules.issuer == issuer)
}

#[cfg(test)]
mod tests {
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
[upstream]
endpoints = ["10.0.0.1:443"]
server_name = "api.anthropic.com"
[[upstream.key]]
name = "one"
secret = { file = "secret" }
[audit]
directory = "audit"
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
demand    claude-opus-5, max_tokens 900
  no-mcp does not deny: no MCP server is used
  claude:haiku has no say: it does not cover the model
  opus-by-name allows
decision  allowed by opus-by-name
";
        assert_eq!((decision, shown.replace("3600 s", "3599 s").as_str()), (Ok(()), expected));
    }

    #[test]
    fn a_refusal_says_which_rule_refused() {
        let (decision, shown) = explained(&question(alice(), &json!({ "model": "claude-opus-5", "max_tokens": 1001 })));
        assert_eq!(decision, Err("max_tokens_forbidden"));
        assert!(shown.ends_with("opus-by-name refuses: max_tokens 1001 is above the grant's 1000\n"), "{shown}");
        let denied = json!({ "model": "claude-haiku-5", "mcp_servers": [{}] });
        let (decision, shown) = explained(&question(alice(), &denied));
        assert_eq!(decision, Err("rule_denied"));
        assert!(shown.ends_with("thinking without a bound, mcp_servers\n  no-mcp denies\n"), "{shown}");
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
}
