//! `portcullis token`: signs a short-lived token, for sandbox, tests and break-glass.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{AlgorithmFamily, EncodingKey, Header};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{ConfigFile, Outcome, load};
use crate::config::{IssuerConfig, KeySource, duration};
use crate::credential::Secret;
use crate::identity::{Accepted, Algorithm, ClaimPath};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Whom the token is for (`sub`)
    #[arg(long)]
    subject: String,
    /// A scope that it carries, such as claude:haiku; may be repeated, or hold several with spaces between
    #[arg(long, required = true)]
    scope: Vec<String>,
    /// The issuer by its configured name [default: the first that can sign]
    #[arg(long)]
    issuer: Option<String>,
    /// The team, in the issuer's `team_claim`
    #[arg(long)]
    team: Option<String>,
    /// How long it lives [default: the issuer's `max_lifetime`, one hour at most]
    #[arg(long, value_parser = parse_duration)]
    lifetime: Option<Duration>,
    /// A private key in PEM to sign with, instead of the issuer's `signing_key`
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
}

fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    duration(text).ok_or("write a duration such as 10m (ms, s, m, h, d)")
}

pub(super) fn command(arguments: &Arguments) -> Outcome {
    let config = load(&arguments.config.path)?;
    let given = match &arguments.signing_key {
        Some(path) => Some(
            std::fs::read(path).map(Secret::new).map_err(|error| format!("cannot read {}: {error}", path.display()))?,
        ),
        None => None,
    };
    let wanted = |issuer: &&IssuerConfig| match &arguments.issuer {
        Some(name) => issuer.rules.name == *name,
        None => given.is_some() || issuer.signing_key.is_some() || matches!(issuer.keys, KeySource::Secret(_)),
    };
    let issuer = config.issuers.iter().find(wanted).ok_or(match &arguments.issuer {
        Some(name) => format!("no issuer is called {name}"),
        None => "no issuer has a secret or a signing_key; give one with --signing-key".to_owned(),
    })?;
    let claims = Claims {
        subject: &arguments.subject,
        scope: &arguments.scope.join(" "),
        team: arguments.team.as_deref(),
        lifetime: arguments
            .lifetime
            .or(issuer.rules.max_lifetime)
            .unwrap_or(HOUR)
            .min(issuer.rules.max_lifetime.unwrap_or(HOUR)),
    };
    println!("{}", sign(issuer, given.as_ref(), &claims)?);
    Ok(())
}

const HOUR: Duration = Duration::from_secs(3600);

/// What a token is to say.
pub(super) struct Claims<'a> {
    /// `sub`
    pub(super) subject: &'a str,
    /// Scopes with spaces between.
    pub(super) scope: &'a str,
    /// The team, if any.
    pub(super) team: Option<&'a str>,
    /// `exp - iat`
    pub(super) lifetime: Duration,
}

/// Signs a token as `issuer`, with `given` or with what the issuer's configuration holds.
pub(super) fn sign(issuer: &IssuerConfig, given: Option<&Secret>, claims: &Claims<'_>) -> Result<String, String> {
    let (key, algorithm) = match (given.or(issuer.signing_key.as_ref()), &issuer.keys) {
        (Some(pem), _) => private_key(pem, &issuer.rules.algorithms)?,
        (None, KeySource::Secret(secret)) => {
            let algorithm = issuer.rules.algorithms.first().and_then(|algorithm| algorithm.for_signing());
            (EncodingKey::from_secret(secret.expose()), algorithm.unwrap_or_default())
        }
        (None, _) => return Err(format!("issuer {} has neither a secret nor a signing_key", issuer.rules.name)),
    };
    let mut header = Header::new(algorithm);
    if algorithm.family() != AlgorithmFamily::Hmac {
        header.kid = Some(key_id(&key, algorithm)?);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut body = Map::new();
    body.insert("iss".to_owned(), issuer.rules.issuer.clone().into());
    body.insert("aud".to_owned(), issuer.rules.audience.first().cloned().into());
    body.insert("iat".to_owned(), now.as_secs().into());
    body.insert("exp".to_owned(), (now + claims.lifetime).as_secs().into());
    body.insert("jti".to_owned(), Uuid::now_v7().to_string().into());
    for required in &issuer.rules.required_claims {
        // What must merely be there is not ours to make up.
        if let (Accepted::OneOf(texts), None) = (&required.accepted, required.claim.find(&body)) {
            required.claim.put(&mut body, texts.first().cloned().into());
        }
    }
    issuer.rules.subject_claim.put(&mut body, claims.subject.into());
    match &issuer.rules.scope_claim {
        Some(claim) => ClaimPath::put(claim, &mut body, claims.scope.into()),
        None => _ = body.insert("scope".to_owned(), claims.scope.into()),
    }
    if let (Some(claim), Some(team)) = (&issuer.rules.team_claim, claims.team) {
        claim.put(&mut body, json!([team]));
    }
    jsonwebtoken::encode(&header, &Value::Object(body), &key).map_err(|error| format!("cannot sign: {error}"))
}

/// The key and the first of the issuer's algorithms that it can sign with.
fn private_key(pem: &Secret, algorithms: &[Algorithm]) -> Result<(EncodingKey, jsonwebtoken::Algorithm), String> {
    for algorithm in algorithms.iter().filter_map(|algorithm| algorithm.for_signing()) {
        let key = match algorithm.family() {
            AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(pem.expose()),
            AlgorithmFamily::Ec => EncodingKey::from_ec_pem(pem.expose()),
            AlgorithmFamily::Ed => EncodingKey::from_ed_pem(pem.expose()),
            AlgorithmFamily::Hmac => continue,
        };
        if let Ok(key) = key {
            return Ok((key, algorithm));
        }
    }
    Err("the signing key is no PEM private key for any of the issuer's algorithms".to_owned())
}

/// The key's thumbprint (RFC 7638), which is also its `kid` in the sandbox's JWKS.
pub(super) fn key_id(key: &EncodingKey, algorithm: jsonwebtoken::Algorithm) -> Result<String, String> {
    let jwk =
        Jwk::from_encoding_key(key, algorithm).map_err(|error| format!("the signing key is of no use: {error}"))?;
    jwk.thumbprint(ThumbprintHash::SHA256).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{IssuerRules, KeyLife};
    use crate::identity::{Bearer, CacheBounds, Caller, Issuers, RequiredClaim};

    #[test]
    fn what_is_signed_verifies_with_every_claim_where_the_issuer_has_it() {
        let config = || {
            let tenant = Accepted::OneOf(vec!["t-1".to_owned(), "t-2".to_owned()]);
            let rules = IssuerRules {
                name: "test".to_owned(),
                issuer: "https://issuer.test".to_owned(),
                audience: vec!["api://claude".to_owned()],
                algorithms: vec![Algorithm::HS512],
                max_lifetime: Some(HOUR),
                leeway: Duration::ZERO,
                required_claims: vec![RequiredClaim { claim: "/ids/tenant".parse().unwrap(), accepted: tenant }],
                scope_claim: Some("/realm_access/roles".parse().unwrap()),
                team_claim: Some("/realm_access/teams".parse().unwrap()),
                subject_claim: "/ids/user".parse().unwrap(),
                email_claim: None,
                required_binding: None,
            };
            let keys = KeySource::Secret(Secret::new(vec![7; 64]));
            IssuerConfig { rules, keys, life: KeyLife::default(), signing_key: None }
        };
        let claims = Claims { subject: "alice", scope: "a b", team: Some("red"), lifetime: HOUR };
        let token = sign(&config(), None, &claims).unwrap();
        let (issuers, _) = Issuers::new(vec![config()], None, CacheBounds::default());
        let token = issuers.verify(Bearer::parse(&token).unwrap(), SystemTime::now()).unwrap();
        let caller = Caller::new(token, std::net::Ipv4Addr::LOCALHOST.into());
        assert_eq!(
            (caller.subject(), caller.scopes(), caller.teams()),
            ("alice", &["a".to_owned(), "b".to_owned()][..], &["red".to_owned()][..])
        );
    }
}
