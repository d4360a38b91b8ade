//! The claims of a token whose signature has been verified, checked against its issuer's rules.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::caller::{Confirmation, VerifiedToken};
use super::claim::{ClaimPath, RequiredClaim};
use crate::config::IssuerRules;
use crate::denial::{Denial, TokenFault};

/// The payload of a JWT (RFC 7519 section 4).
pub(super) type Claims = Map<String, Value>;

/// The one claim that is read before the signature: it only chooses whose keys to try.
#[derive(Deserialize)]
pub(super) struct Unverified {
    pub(super) iss: String,
}

/// A token that keeps its issuer's rules, and from when until when it does, leeway included.
pub(super) struct Checked {
    pub(super) token: VerifiedToken,
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

/// A claim that must be there is not, has a wrong type, or is beyond a bound.
const CLAIMS: Denial = Denial::TokenInvalid(TokenFault::Claims);

/// Checks audience, times and required claims, and takes out what policy needs.
///
/// # Errors
/// The first rule of the issuer that a claim breaks.
pub(super) fn check(rules: &IssuerRules, claims: &Claims, now: SystemTime) -> Result<Checked, Denial> {
    if !audience(claims).any(|audience| rules.audience.iter().any(|accepted| accepted == audience)) {
        return Err(Denial::TokenInvalid(TokenFault::Audience));
    }
    let expires = date(claims, "exp")?.ok_or(CLAIMS)?;
    let issued = date(claims, "iat")?;
    let not_before = date(claims, "nbf")?;
    let until = expires + rules.leeway;
    if until <= now {
        return Err(Denial::TokenExpired);
    }
    let from = not_before.max(issued).unwrap_or(UNIX_EPOCH);
    if from > now + rules.leeway {
        return Err(Denial::TokenNotYetValid);
    }
    if let Some(longest) = rules.max_lifetime {
        // Without `iat` the token is at least as old as this moment.
        let issued = issued.unwrap_or(now);
        if expires.duration_since(issued).is_ok_and(|lifetime| lifetime > longest) {
            return Err(Denial::TokenLifetime);
        }
    }
    if !rules.required_claims.iter().all(|required| RequiredClaim::holds(required, claims)) {
        return Err(CLAIMS);
    }
    let token = VerifiedToken {
        issuer: rules.name.clone(),
        subject: text(rules.subject_claim.find(claims))?.ok_or(CLAIMS)?,
        // A token whose id cannot be read could not be revoked by it.
        token_id: text(claims.get("jti"))?,
        teams: match rules.team_claim.as_ref().and_then(|path| path.find(claims)) {
            Some(Value::String(team)) => bounded([team.as_str()])?,
            team => texts(team)?,
        },
        scopes: texts(scopes(rules.scope_claim.as_ref(), claims))?,
        expires,
        issued,
        // For records alone, so that an odd one costs nobody the access.
        email: text(rules.email_claim.as_ref().and_then(|path| path.find(claims))).unwrap_or_default(),
        confirmation: confirmation(claims)?,
        required_binding: rules.required_binding,
    };
    Ok(Checked { token, from: from.checked_sub(rules.leeway).unwrap_or(UNIX_EPOCH), until })
}

/// Longest subject, token id, email, scope or team: longer ones would bloat every record.
const MAX_TEXT: usize = 1024;
/// Most scopes, and most teams. Entra lists at most 200 groups in a token.
const MAX_TEXTS: usize = 512;

/// `aud` is one text or a list (RFC 7519 section 4.1.3).
fn audience(claims: &Claims) -> impl Iterator<Item = &str> {
    let value = claims.get("aud");
    let many = value.and_then(Value::as_array).into_iter().flatten();
    value.into_iter().chain(many).filter_map(Value::as_str)
}

/// A NumericDate (RFC 7519 section 2): seconds since 1970, a fraction allowed, in the next few thousand years.
fn date(claims: &Claims, name: &str) -> Result<Option<SystemTime>, Denial> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=253_402_300_799.0).contains(seconds));
    match seconds {
        Some(seconds) => Ok(Some(UNIX_EPOCH + Duration::from_secs_f64(seconds))),
        None => Err(CLAIMS),
    }
}

/// A text that is neither empty nor beyond its bound, where there is a value.
fn text(value: Option<&Value>) -> Result<Option<String>, Denial> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= MAX_TEXT => Ok(Some(text.clone())),
        Some(_) => Err(CLAIMS),
    }
}

/// The scopes of the issuer's claim, or of the first of the usual ones that is there.
fn scopes<'c>(path: Option<&ClaimPath>, claims: &'c Claims) -> Option<&'c Value> {
    match path {
        Some(path) => path.find(claims),
        None => ["scope", "scp", "permissions", "roles"]
            .iter()
            .find_map(|name| claims.get(*name).filter(|value| !value.is_null())),
    }
}

/// A claim with several values: a list of texts, or one text with spaces between (RFC 8693 section 4.2).
fn texts(value: Option<&Value>) -> Result<Vec<String>, Denial> {
    match value {
        Some(Value::String(text)) => bounded(text.split_ascii_whitespace()),
        Some(Value::Array(values)) => bounded(values.iter().filter_map(Value::as_str)),
        _ => Ok(Vec::new()),
    }
}

fn bounded<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Vec<String>, Denial> {
    let texts: Vec<String> = texts.into_iter().take(MAX_TEXTS + 1).map(str::to_owned).collect();
    let is_bounded = texts.len() <= MAX_TEXTS && texts.iter().all(|text| text.len() <= MAX_TEXT);
    is_bounded.then_some(texts).ok_or(CLAIMS)
}

/// What the token is bound to (RFC 7800 section 3.1). A binding that cannot be checked must not be ignored, so one that is
/// malformed or of a kind not known here refuses the token.
fn confirmation(claims: &Claims) -> Result<Confirmation, Denial> {
    let Some(value) = claims.get("cnf") else { return Ok(Confirmation::default()) };
    let members = value.as_object().ok_or(CLAIMS)?;
    let hash = |name| members.get(name).map(|value| sha256(value).ok_or(CLAIMS)).transpose();
    let confirmation = Confirmation { certificate: hash("x5t#S256")?, dpop_key: hash("jkt")? };
    if confirmation == Confirmation::default() { Err(CLAIMS) } else { Ok(confirmation) }
}

/// A SHA-256 value in base64url.
fn sha256(value: &Value) -> Option<[u8; 32]> {
    BASE64_URL_SAFE_NO_PAD.decode(value.as_str()?).ok()?.try_into().ok()
}
