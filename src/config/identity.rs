//! `[[issuer]]`: whose tokens are believed, and by which keys.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::Url;
use toml::de::DeValue;

use super::reader::Section;
use crate::credential::Secret;
use crate::identity::{Accepted, Algorithm, ClaimPath, KeySet, RequiredBinding, RequiredClaim};

/// One issuer of tokens.
#[derive(Debug)]
pub struct IssuerConfig {
    /// What its tokens must say.
    pub rules: IssuerRules,
    /// Where its keys come from.
    pub keys: KeySource,
    /// How long keys that are fetched serve.
    pub life: KeyLife,
    /// A private key (PEM) that `portcullis token` signs with: for sandbox, tests and break-glass.
    pub signing_key: Option<Secret>,
}

/// What an issuer's tokens must say.
#[derive(Debug, PartialEq, Eq)]
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
    /// Claims that every token must have.
    pub required_claims: Vec<RequiredClaim>,
    /// The claim with the scopes; by default the first there of `scope`, `scp`, `permissions`, `roles`.
    pub scope_claim: Option<ClaimPath>,
    /// The claim with the team, if any.
    pub team_claim: Option<ClaimPath>,
    /// The claim that names the caller.
    pub subject_claim: ClaimPath,
    /// The claim with the caller's email address, if any.
    pub email_claim: Option<ClaimPath>,
    /// Which binding to its sender every token must have, if any.
    pub required_binding: Option<RequiredBinding>,
}

/// How long keys that are fetched serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLife {
    /// How often they are fetched; a document that asks for it is fetched more often.
    pub refresh: Duration,
    /// How long the last good set serves while no newer one can be had.
    pub max_age: Duration,
}

impl Default for KeyLife {
    /// Every five minutes, and for a day.
    fn default() -> Self {
        Self { refresh: Duration::from_secs(300), max_age: Duration::from_secs(86_400) }
    }
}

impl IssuerRules {
    /// Whether tokens that must be bound may be bound to a DPoP key.
    pub(super) fn may_require_proofs(&self) -> bool {
        matches!(self.required_binding, Some(RequiredBinding::Dpop | RequiredBinding::Any))
    }
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
        (false, false, true) => secret
            .and_then(|secret| long_enough(section, secret, algorithms.as_deref().unwrap_or_default()))
            .map(KeySource::Secret),
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
    let life = life(section);
    let signing_key = section.secret("signing_key");
    let rules = IssuerRules {
        max_lifetime: section.duration("max_lifetime"),
        leeway: leeway(section),
        required_claims: required_claims(section),
        scope_claim: claim(section, "scope_claim"),
        team_claim: claim(section, "team_claim"),
        subject_claim: claim(section, "subject_claim").or_else(|| "sub".parse().ok())?,
        email_claim: claim(section, "email_claim"),
        required_binding: section.parsed("require_binding", "\"certificate\", \"dpop\" or \"any\""),
        name: name?,
        issuer: issuer?,
        audience: audience?,
        algorithms: algorithms?,
    };
    Some(IssuerConfig { rules, keys: keys?, life: life?, signing_key })
}

/// Clocks that differ by more want mending, and dates near the end of time stay dates.
const MAX_LEEWAY: Duration = Duration::from_secs(600);
/// A set is not asked for more often, not even by tokens with unknown keys.
const MIN_REFRESH: Duration = Duration::from_secs(10);

fn leeway(section: &Section<'_>) -> Duration {
    let leeway = section.duration("leeway").unwrap_or(Duration::from_secs(30));
    if leeway > MAX_LEEWAY {
        section.fault("leeway", "is above 10m", "set the clocks instead");
    }
    leeway
}

fn life(section: &Section<'_>) -> Option<KeyLife> {
    let default = KeyLife::default();
    let refresh = section.duration("refresh").unwrap_or(default.refresh);
    let max_age = section.duration("max_age").unwrap_or(default.max_age.max(refresh));
    if refresh < MIN_REFRESH {
        section.fault("refresh", "is below 10s", "fetch less often");
        return None;
    }
    if max_age < refresh {
        section.fault("max_age", "is below refresh", "let keys serve until they are fetched again, and some");
        return None;
    }
    Some(KeyLife { refresh, max_age })
}

fn claim(section: &Section<'_>, key: &'static str) -> Option<ClaimPath> {
    section.parsed(key, "a claim's name, or a JSON pointer such as \"/realm_access/roles\"")
}

/// `{ tid = "...", groups = ["a", "b"], "/act/sub" = true }`
fn required_claims(section: &Section<'_>) -> Vec<RequiredClaim> {
    section.members("required_claims", "a text, a list of texts, or true", |name, value| {
        let accepted = match value {
            DeValue::Boolean(true) => Accepted::Present,
            DeValue::String(text) => Accepted::OneOf(vec![text.to_string()]),
            DeValue::Array(values) if !values.is_empty() => {
                let texts = values.iter().map(|value| value.get_ref().as_str().map(str::to_owned));
                Accepted::OneOf(texts.collect::<Option<_>>()?)
            }
            _ => return None,
        };
        Some(RequiredClaim { claim: name.parse().ok()?, accepted })
    })
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
        if algorithm.is_hmac() != secret_given {
            let mend =
                if secret_given { "with a secret use HS256, HS384 or HS512" } else { "HS algorithms need a secret" };
            section.fault("algorithms", format!("{name} does not fit where the keys come from"), mend);
            return None;
        }
        algorithms.push(algorithm);
    }
    Some(algorithms)
}

/// A shorter one could be found by trying (RFC 7518 section 3.2).
fn long_enough(section: &Section<'_>, secret: Secret, algorithms: &[Algorithm]) -> Option<Secret> {
    let length = secret.expose().len();
    let weak = algorithms
        .iter()
        .find_map(|algorithm| Some((algorithm, algorithm.shortest_secret()?)).filter(|(_, least)| length < *least));
    let Some((algorithm, least)) = weak else { return Some(secret) };
    section.fault(
        "secret",
        format!("has {length} bytes, and {algorithm} asks for {least}"),
        format!("make one of {least} random bytes or more"),
    );
    None
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
