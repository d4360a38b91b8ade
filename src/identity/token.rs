//! The claims of a token whose signature has been verified, checked against its issuer's rules.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::caller::{Confirmation, VerifiedToken};
use crate::config::IssuerRules;
use crate::denial::{Denial, TokenFault};

/// The payload of a JWT (RFC 7519 section 4).
pub(super) type Claims = Map<String, Value>;

/// The one claim that is read before the signature: it only chooses whose keys to try.
#[derive(Deserialize)]
pub(super) struct Unverified {
    pub(super) iss: String,
}

/// Checks audience and times and takes out what policy needs.
///
/// # Errors
/// The first rule of the issuer that a claim breaks.
pub(super) fn verified(rules: &IssuerRules, claims: &Claims, now: SystemTime) -> Result<VerifiedToken, Denial> {
    if !audience(claims).any(|audience| rules.audience.iter().any(|accepted| accepted == audience)) {
        return Err(Denial::TokenInvalid(TokenFault::Audience));
    }
    let expires = date(claims, "exp")?.ok_or(Denial::TokenInvalid(TokenFault::Claims))?;
    let issued = date(claims, "iat")?;
    if expires + rules.leeway <= now {
        return Err(Denial::TokenExpired);
    }
    if [date(claims, "nbf")?, issued].into_iter().flatten().any(|from| from > now + rules.leeway) {
        return Err(Denial::TokenNotYetValid);
    }
    if let Some(longest) = rules.max_lifetime {
        // Without `iat` the token is at least as old as this moment.
        let from = issued.unwrap_or(now);
        if expires.duration_since(from).is_ok_and(|lifetime| lifetime > longest) {
            return Err(Denial::TokenLifetime);
        }
    }
    let subject =
        claims.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty() && subject.len() <= MAX_TEXT);
    Ok(VerifiedToken {
        issuer: rules.name.clone(),
        subject: subject.ok_or(Denial::TokenInvalid(TokenFault::Claims))?.to_owned(),
        token_id: claims.get("jti").and_then(Value::as_str).filter(|id| id.len() <= MAX_TEXT).map(str::to_owned),
        teams: rules.team_claim.as_ref().and_then(|name| claims.get(name)).map(list).unwrap_or_default(),
        scopes: scopes(rules, claims),
        expires,
        issued,
        email: None,
        confirmation: Confirmation::default(),
    })
}

/// Longest subject or token id: longer ones would bloat every record.
const MAX_TEXT: usize = 1024;

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
        None => Err(Denial::TokenInvalid(TokenFault::Claims)),
    }
}

/// The scopes of the issuer's claim, or of the first of the usual ones that is there.
fn scopes(rules: &IssuerRules, claims: &Claims) -> Vec<String> {
    let value = match &rules.scope_claim {
        Some(name) => claims.get(name),
        None => ["scope", "scp", "permissions", "roles"].iter().find_map(|name| claims.get(*name)),
    };
    value.map(list).unwrap_or_default()
}

/// A claim with several values: a list of texts, or one text with spaces between (RFC 8693 section 4.2).
fn list(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.split_ascii_whitespace().map(str::to_owned).collect(),
        Value::Array(values) => values.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
