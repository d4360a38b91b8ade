//! Workload identity federation: no key at all, but the identity token that the platform gives to this workload, exchanged
//! for an access token of the API that lives for minutes.
//!
//! The exchange is that of the official SDKs: the `jwt-bearer` grant (RFC 7523) at `/v1/oauth/token`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key::BETA;
use super::{KeyFault, SecretSource, UpstreamKey};
use crate::follow::{FollowedFile, ReadFault};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Both are sent with this grant (official SDKs, `_JWT_BEARER_BETA_HEADER`).
const BETAS: &str = "oauth-2025-04-20,oidc-federation-2026-04-01";
/// Longest identity token: anything longer is another file.
const MAX_ASSERTION: u64 = 16 << 10;
/// Longest answer.
const MAX_ANSWER: usize = 1 << 20;
/// Longest code of an error that is shown.
const MAX_CODE: usize = 40;
/// Bound on one exchange.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long before its end a token is used no longer, so that none ends on its way.
const MARGIN: Duration = Duration::from_secs(5);

/// Whose tokens, and by which rule they are exchanged.
#[derive(PartialEq, Eq)]
pub struct Federation {
    /// Where the platform puts the identity token. It is read anew for each exchange.
    pub token: SecretSource,
    /// The federation rule, `fdrl_...`.
    pub rule: String,
    /// The organization's UUID.
    pub organization: String,
    /// The service account that the tokens act as, where the rule leaves a choice.
    pub service_account: Option<String>,
    /// The workspace of the tokens, `wrkspc_...` or `default`, where the rule covers several.
    pub workspace: Option<String>,
}

/// An access token and the time for which it is good.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) key: UpstreamKey,
    pub(super) life: Duration,
}

/// Why an exchange gave no token. Nothing in it comes from a body but the code of an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExchangeFault {
    /// The identity token cannot be had.
    #[error("the identity token: {0}")]
    Identity(String),
    /// No answer came.
    #[error("the token endpoint cannot be asked: {0}")]
    Unreachable(String),
    /// The upstream refused.
    #[error("the token endpoint refuses with {status}{}", Code(code))]
    Refused { status: StatusCode, code: Option<String> },
    /// The answer is no token.
    #[error("the token endpoint's answer {0}")]
    Malformed(&'static str),
    /// The token in the answer is none.
    #[error("the access token {0}")]
    Token(#[from] KeyFault),
}

struct Code<'a>(&'a Option<String>);

/// The body of the exchange (official SDKs, `exchange_federation_assertion`).
#[derive(Serialize)]
struct Ask<'a> {
    grant_type: &'static str,
    assertion: &'a str,
    federation_rule_id: &'a str,
    organization_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<&'a str>,
}

/// RFC 6749 section 5.1.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    access_token: Cow<'a, str>,
    #[serde(borrow)]
    token_type: Option<Cow<'a, str>>,
    expires_in: serde_json::Number,
}

impl Federation {
    /// Reads the identity token and exchanges it once, at `now`.
    ///
    /// # Errors
    /// [`ExchangeFault`]
    pub(super) async fn exchange<S, F>(
        &self,
        name: &Arc<str>,
        send: &S,
        now: SystemTime,
    ) -> Result<Issued, ExchangeFault>
    where
        S: Fn(Request<Bytes>) -> F,
        F: Future<Output = Result<Response<Bytes>, String>>,
    {
        let assertion = self.assertion().await?;
        let request = self.request(&assertion)?;
        let answer = tokio::time::timeout(TIMEOUT, send(request)).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        issued(name, &answer.map_err(ExchangeFault::Unreachable)?, now)
    }

    /// Exchanges once, for whoever only wants to know whether that works: the key that `name` would have. `send` is that of
    /// [`KeyRing::upkeep`](super::KeyRing::upkeep).
    ///
    /// # Errors
    /// Says why there is no token, with nothing of the identity token or of an answer's body but the code of an error.
    pub async fn try_once<S, F>(&self, name: &str, send: S, now: SystemTime) -> Result<UpstreamKey, String>
    where
        S: Fn(Request<Bytes>) -> F,
        F: Future<Output = Result<Response<Bytes>, String>>,
    {
        let issued = self.exchange(&name.into(), &send, now).await;
        issued.map(|issued| issued.key).map_err(|fault| fault.to_string())
    }

    async fn assertion(&self) -> Result<Zeroizing<Vec<u8>>, ExchangeFault> {
        let source = self.token.clone();
        let read = tokio::task::spawn_blocking(move || read(&source)).await;
        read.unwrap_or_else(|_| Err("reading it was called off".to_owned())).map_err(ExchangeFault::Identity)
    }

    fn request(&self, assertion: &[u8]) -> Result<Request<Bytes>, ExchangeFault> {
        let assertion = std::str::from_utf8(assertion.trim_ascii()).unwrap_or_default();
        if assertion.is_empty() || !assertion.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ExchangeFault::Identity("it is empty or no JWT".to_owned()));
        }
        let ask = Ask {
            grant_type: GRANT_TYPE,
            assertion,
            federation_rule_id: &self.rule,
            organization_id: &self.organization,
            service_account_id: self.service_account.as_deref(),
            workspace_id: self.workspace.as_deref(),
        };
        // With room for all of it, for a vector that grows leaves what it held behind: text doubles at most when it is quoted.
        let names = [&self.rule, &self.organization].into_iter().chain(&self.service_account).chain(&self.workspace);
        let room = 512 + 2 * (assertion.len() + names.map(String::len).sum::<usize>());
        let mut body = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *body, &ask).map_err(|_| ExchangeFault::Identity("it cannot be sent".to_owned()))?;
        let mut request = Request::new(Bytes::from_owner(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/v1/oauth/token");
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(BETA, HeaderValue::from_static(BETAS));
        Ok(request)
    }
}

/// Reads the identity token. Blocks.
fn read(source: &SecretSource) -> Result<Zeroizing<Vec<u8>>, String> {
    let content = match source.path() {
        Some(path) => {
            FollowedFile::open(path, MAX_ASSERTION).map(|(_, content)| content).map_err(|fault| match fault {
                ReadFault::TooLarge(_) => format!("{} {TOO_LONG}", path.display()),
                ReadFault::Unreadable(_) => format!("{}: {fault}", path.display()),
            })?
        }
        None => Zeroizing::new(source.read()?.expose().to_vec()),
    };
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > MAX_ASSERTION {
        return Err(TOO_LONG.to_owned());
    }
    Ok(content)
}

const TOO_LONG: &str = "is above 16 KiB, so it is no identity token but another file";

fn issued(name: &Arc<str>, answer: &Response<Bytes>, now: SystemTime) -> Result<Issued, ExchangeFault> {
    let (status, body) = (answer.status(), answer.body());
    if body.len() > MAX_ANSWER {
        return Err(ExchangeFault::Malformed("is above 1 MiB"));
    }
    if !status.is_success() {
        return Err(ExchangeFault::Refused { status, code: code(body) });
    }
    // The parser's own words could show a piece of the answer.
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|_| ExchangeFault::Malformed("is no JSON object with access_token and expires_in"))?;
    if answer.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(ExchangeFault::Malformed("has a token_type other than Bearer"));
    }
    let seconds = answer.expires_in.as_f64().unwrap_or_default();
    let life = Duration::try_from_secs_f64(seconds.trunc()).unwrap_or_default();
    // From before it was asked for, so that it ends here before it ends there.
    let ends = now.checked_add(life.saturating_sub(MARGIN.min(life / 4))).filter(|_| !life.is_zero());
    let ends = ends.ok_or(ExchangeFault::Malformed("has an expires_in that is no time to come"))?;
    let key = UpstreamKey::bearer(Arc::clone(name), answer.access_token.as_bytes(), ends)?;
    Ok(Issued { key, life })
}

/// The code of an error: `error` of RFC 6749 section 5.2, or `error.type` in the API's own shape. Only what is spelled like
/// one, for an answer may repeat what it was asked with.
fn code(body: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let error = answer.get("error")?;
    let code = error.as_str().or_else(|| error.get("type")?.as_str())?;
    let is_code = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (code.len() <= MAX_CODE && code.bytes().all(is_code)).then(|| code.to_owned())
}

impl fmt::Display for Code<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |code| write!(f, " ({code})"))
    }
}

impl fmt::Debug for Federation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Federation").field("rule", &self.rule).field("token", &self.token).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
