//! `portcullis explain`: the decision on a request and the rule behind every step, without sending it.

mod limits;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Map, Value};

use super::{ConfigFile, Outcome, load};
use crate::claude::{self, Ask, BodyRule, Features, Match, Peek, Shape};
use crate::config::{Config, IssuerConfig, IssuerRules, RevocationConfig};
use crate::denial::{Denial, TokenFault};
use crate::identity::{Bearer, CacheBounds, Caller, Issuers, KeyFetcher, Revocations, VerifiedToken};
use crate::policy::{Policy, Step};
use crate::privacy::{Listener, Privacy, Prompts};

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
    if let Err(denial) = &decision {
        let status = denial.error_type().status();
        line(&mut shown, "decision", &format!("refused with {status}, {}: {denial}", denial.reason()));
        line(&mut shown, "answer", &denial.message());
    }
    print!("{shown}");
    decision.map_err(|denial| format!("the call would be refused: {}", denial.reason()))
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
    let Config { policy, issuers, listen, revocation, limits, prices, privacy, .. } = config;
    match question.address {
        None => line(shown, "address", "not given, so its rules are not asked"),
        Some(address) => {
            let decision = policy.addresses().decide(address);
            let word = if decision.allowed { "allowed" } else { "refused" };
            line(shown, "address", &format!("{address} is {word}: {}", decision.rule));
            if !decision.allowed {
                return Err(Denial::AddressForbidden { rule: decision.rule.to_string() });
            }
        }
    }
    let token = match &question.who {
        Who::Token(token) => caller_from_token(issuers, token, now, shown)?,
        Who::Claims(claims) => caller_from_claims(issuers, claims, now, shown)?,
    };
    let caller = Caller::new(token, question.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    show_caller(shown, &caller, now);
    ask_revocations(revocation, &caller, shown)?;

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
        line(shown, "decision", "the endpoint is open; give a --body for the decision on a call");
        return Ok(());
    };
    let rule = decide(&policy, &caller, &found, &call, &betas, now, shown)?;
    for taken in limits::taken((limits, prices), &caller, group, &call, question.body.as_deref())? {
        line(shown, "limit", &taken);
    }
    if let (BodyRule::Judged(shape), Some(body)) = (found.endpoint.body, question.body.as_deref()) {
        listen_to(privacy, body, shape, shown)?;
    }
    line(shown, "decision", &format!("allowed by {rule}"));
    Ok(())
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
) -> Result<String, Denial> {
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
    Ok(permit.rule())
}

/// What is found in the body, where prompts are looked at.
fn listen_to(privacy: Privacy, body: &[u8], shape: Shape, shown: &mut String) -> Result<(), Denial> {
    if privacy.prompt_rule().prompts == Prompts::Off {
        return Ok(());
    }
    let said = Listener::new(privacy, None).request(body, shape);
    let said = said.map_err(|unreadable| Denial::BodyMalformed(unreadable.to_string()))?;
    let found: Vec<_> = said.findings.iter().map(|(kind, count)| format!("{count} {}", kind.name())).collect();
    line(shown, "content", &found.join(", "));
    match said.blocked_by {
        Some(kind) => Err(Denial::ContentForbidden { kind }),
        None => Ok(()),
    }
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
    match ask.max_tokens {
        None => {}
        Some(u64::MAX) => text.push_str(", max_tokens unbounded"),
        Some(tokens) => {
            let _ = write!(text, ", max_tokens {tokens}");
        }
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
) -> Result<Arc<VerifiedToken>, Denial> {
    // Through headers, as a client would send it, for a stray Anthropic key to be told.
    let mut headers = HeaderMap::new();
    let value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| Denial::CredentialMalformed)?;
    headers.insert(header::AUTHORIZATION, value);
    let bearer = Bearer::from_headers(&headers)?;
    let claims: HashMap<String, Value> = jsonwebtoken::dangerous::insecure_decode_claims(bearer.expose())
        .map_err(|_| Denial::TokenInvalid(TokenFault::Malformed))?;
    let issuer = of_claims(issuers, claims.get("iss")).ok_or(Denial::IssuerUnknown)?;
    line(shown, "issuer", &format!("{} ({})", issuer.rules.name, issuer.rules.issuer));
    let (issuers, fetchers) = Issuers::new(vec![issuer], None, CacheBounds::default());
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
fn caller_from_claims(
    issuers: Vec<IssuerConfig>,
    claims: &Map<String, Value>,
    now: SystemTime,
    shown: &mut String,
) -> Result<Arc<VerifiedToken>, Denial> {
    let issuer = match claims.get("iss") {
        None => issuers.into_iter().next(),
        issuer => of_claims(issuers, issuer),
    };
    let issuer = issuer.ok_or(Denial::IssuerUnknown)?;
    line(shown, "issuer", &format!("{} ({})", issuer.rules.name, issuer.rules.issuer));
    let claims = completed(claims, &issuer.rules, now);
    let supposed = Issuers::new(vec![issuer], None, CacheBounds::default()).0.suppose(&claims, now)?;
    line(shown, "token", "claims supposed, no signature; audience and times hold");
    Ok(supposed)
}

/// Whether the file of revocations names the token. The set in a store is not asked: nothing is sent anywhere.
fn ask_revocations(revocation: RevocationConfig, caller: &Caller, shown: &mut String) -> Result<(), Denial> {
    if revocation.store_key.is_some() {
        line(shown, "revoked", "the set in the store is not asked");
    }
    let Some(file) = revocation.file else { return Ok(()) };
    let revocations = Arc::<Revocations>::default();
    revocations.adopt(Some(file.follow(Arc::clone(&revocations)).part()), None);
    let by = revocations.revoked(caller.issuer(), caller.subject(), caller.token_id(), caller.issued());
    if let Some(by) = by {
        return Err(Denial::TokenRevoked { by });
    }
    line(shown, "revoked", "no, says the file");
    Ok(())
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
mod tests;
