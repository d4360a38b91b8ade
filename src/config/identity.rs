//! `[[issuer]]`: whose tokens are believed, and by which keys.

use std::collections::HashSet;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use reqwest::Url;

use super::reader::Section;
use crate::credential::Secret;
use crate::identity::KeySet;

/// One issuer of tokens.
#[derive(Debug)]
pub struct IssuerConfig {
    /// What its tokens must say.
    pub rules: IssuerRules,
    /// Where its keys come from.
    pub keys: KeySource,
    /// A private key (PEM) that `portcullis token` signs with: for sandbox, tests and break-glass.
    pub signing_key: Option<Secret>,
}

/// What an issuer's tokens must say.
#[derive(Debug)]
pub struct IssuerRules {
    /// The name that records know it by.
    pub name: String,
    /// The `iss` claim, compared as it is.
    pub issuer: String,
    /// A token must be meant for one of these (`aud`).
    pub audience: Vec<String>,
    /// The signature algorithms that are accepted; a token's header never adds one.
    pub algorithms: Vec<Algorithm>,
    /// A token that lives longer (`exp - iat`) is refused.
    pub max_lifetime: Option<Duration>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// The claim with the scopes; by default the first there of `scope`, `scp`, `permissions`, `roles`.
    pub scope_claim: Option<String>,
    /// The claim with the team, if any.
    pub team_claim: Option<String>,
}

/// Where an issuer's keys come from.
#[derive(Debug)]
pub enum KeySource {
    /// A JWKS document that is fetched (RFC 7517).
    Uri(Url),
    /// The issuer's own metadata names the JWKS document (OpenID Connect Discovery 1.0).
    Discovery(Url),
    /// Keys that the configuration holds: a JWKS file.
    File(KeySet),
    /// A secret that the issuer shares with us.
    Secret(Secret),
}

pub(super) fn read(root: &Section<'_>) -> Option<Vec<IssuerConfig>> {
    root.required("issuer")?;
    let mut seen = HashSet::new();
    let issuers: Vec<_> = root.tables("issuer", |section| {
        let issuer = issuer(section)?;
        if !seen.insert(issuer.rules.issuer.clone()) {
            section.fault("issuer", "names an issuer a second time", "keep one [[issuer]] for each `iss`");
        }
        Some(issuer)
    });
    issuers.into_iter().collect()
}

fn issuer(section: &Section<'_>) -> Option<IssuerConfig> {
    let name = section.required_text("name");
    let issuer = section.required_text("issuer");
    let audience = section.required_texts("audience");
    let secret = section.secret("secret");
    let secret_given = section.has("secret");
    let algorithms = algorithms(section, secret_given);
    let keys = match (section.has("jwks_uri"), section.has("jwks_file"), secret_given) {
        (false, false, true) => secret.map(KeySource::Secret),
        (false, true, false) => section
            .file("jwks_file")
            .and_then(|json| section.usable("jwks_file", KeySet::parse(&json).map_err(|error| error.to_string())))
            .map(KeySource::File),
        (true, false, false) => {
            section.text("jwks_uri").and_then(|uri| fetchable(section, "jwks_uri", &uri)).map(KeySource::Uri)
        }
        (false, false, false) => {
            issuer.as_ref().and_then(|issuer| discovery(section, issuer)).map(KeySource::Discovery)
        }
        _ => {
            section.fault(
                "",
                "has more than one of jwks_uri, jwks_file and secret",
                "keep the one that this issuer uses",
            );
            None
        }
    };
    let signing_key = section.secret("signing_key");
    let rules = IssuerRules {
        max_lifetime: section.duration("max_lifetime"),
        leeway: section.duration("leeway").unwrap_or(Duration::from_secs(30)),
        scope_claim: section.text("scope_claim"),
        team_claim: section.text("team_claim"),
        name: name?,
        issuer: issuer?,
        audience: audience?,
        algorithms: algorithms?,
    };
    Some(IssuerConfig { rules, keys: keys?, signing_key })
}

/// A shared secret verifies only HS algorithms and public keys never do: a token signed by HMAC with a public key as the
/// secret has nothing here that would accept it (RFC 8725 section 2.1).
fn algorithms(section: &Section<'_>, secret_given: bool) -> Option<Vec<Algorithm>> {
    let names = section.texts("algorithms");
    if names.is_empty() {
        return Some(if secret_given { vec![Algorithm::HS256] } else { vec![Algorithm::RS256, Algorithm::ES256] });
    }
    let mut algorithms = Vec::new();
    for name in names {
        let Ok(algorithm) = name.parse::<Algorithm>() else {
            section.fault(
                "algorithms",
                format!("{name} is not a signature algorithm"),
                "use names of RFC 7518 such as RS256, ES256 or HS256",
            );
            return None;
        };
        if is_hmac(algorithm) != secret_given {
            let mend =
                if secret_given { "with a secret use HS256, HS384 or HS512" } else { "HS algorithms need a secret" };
            section.fault("algorithms", format!("{name} does not fit where the keys come from"), mend);
            return None;
        }
        algorithms.push(algorithm);
    }
    Some(algorithms)
}

fn is_hmac(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

/// OpenID Connect Discovery 1.0 section 4.1: the issuer without its final slash, then the well-known path.
fn discovery(section: &Section<'_>, issuer: &str) -> Option<Url> {
    fetchable(section, "issuer", &format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))
}

fn fetchable(section: &Section<'_>, key: &str, uri: &str) -> Option<Url> {
    let url = section.usable(key, Url::parse(uri).map_err(|error| format!("is not a URL: {error}")))?;
    if crate::identity::may_fetch(&url) {
        return Some(url);
    }
    section.fault(key, "is not https", "keys are fetched by https; plain http is for loopback only");
    None
}
