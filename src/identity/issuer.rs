//! The issuers whose tokens are believed, and the verification of a token against them.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use jsonwebtoken::{DecodingKey, Header, Validation};

use super::bearer::Bearer;
use super::caller::VerifiedToken;
use super::fetch::KeyFetcher;
use super::keys::KeySet;
use super::token::{self, Claims, Unverified};
use crate::config::{IssuerConfig, IssuerRules, KeySource};
use crate::denial::{Denial, TokenFault};

/// All issuers. Verification takes no lock and does no I/O; keys that are fetched are replaced as a whole.
pub struct Issuers(Vec<Issuer>);

struct Issuer {
    rules: IssuerRules,
    keys: Keys,
}

enum Keys {
    Shared(DecodingKey),
    Fixed(KeySet),
    Fetched(Arc<FetchedKeys>),
}

/// The last good key set of an issuer, and a bell for when a token names a key that is not in it.
#[derive(Default)]
pub(super) struct FetchedKeys {
    pub(super) set: ArcSwapOption<KeySet>,
    pub(super) wanted: tokio::sync::Notify,
}

impl Issuers {
    /// Makes the issuers, and a fetcher for each whose keys are fetched; no token of those verifies before the first
    /// fetch.
    pub fn new(configs: Vec<IssuerConfig>) -> (Self, Vec<KeyFetcher>) {
        let mut fetchers = Vec::new();
        let mut issuers = Vec::new();
        for IssuerConfig { rules, keys, signing_key: _ } in configs {
            let mut fetched = |url, discover| {
                let keys = Arc::<FetchedKeys>::default();
                fetchers.push(KeyFetcher::new(&rules, url, discover, Arc::clone(&keys)));
                Keys::Fetched(keys)
            };
            let keys = match keys {
                KeySource::Secret(secret) => Keys::Shared(DecodingKey::from_secret(secret.expose())),
                KeySource::File(set) => Keys::Fixed(set),
                KeySource::Uri(url) => fetched(url, false),
                KeySource::Discovery(url) => fetched(url, true),
            };
            issuers.push(Issuer { rules, keys });
        }
        (Self(issuers), fetchers)
    }

    /// Whether every issuer has keys.
    pub fn are_ready(&self) -> bool {
        self.0.iter().all(|issuer| match &issuer.keys {
            Keys::Shared(_) | Keys::Fixed(_) => true,
            Keys::Fetched(keys) => keys.set.load().is_some(),
        })
    }

    /// Verifies `token` as of `now`. Holds only if all of these do:
    ///
    /// 1. its `iss` is a configured issuer's, to the letter;
    /// 2. its `alg` is among that issuer's algorithms, and its header brings no key and no critical extension;
    /// 3. a key of that issuer, fit for that algorithm, verifies the signature;
    /// 4. `aud`, `exp`, `nbf`, `iat` and the lifetime are within that issuer's rules.
    ///
    /// # Errors
    /// The first of these that does not hold (RFC 7519 section 7.2, RFC 8725).
    pub fn verify(&self, token: Bearer<'_>, now: SystemTime) -> Result<VerifiedToken, Denial> {
        let invalid = |fault| Denial::TokenInvalid(fault);
        let text = token.expose();
        let header = jsonwebtoken::decode_header(text).map_err(|_| invalid(TokenFault::Malformed))?;
        let unverified: Unverified =
            jsonwebtoken::dangerous::insecure_decode_claims(text).map_err(|_| invalid(TokenFault::Malformed))?;
        let issuer = self.0.iter().find(|issuer| issuer.rules.issuer == unverified.iss).ok_or(Denial::IssuerUnknown)?;
        if !issuer.rules.algorithms.contains(&header.alg) {
            return Err(invalid(TokenFault::Algorithm));
        }
        if brings_its_own(&header) {
            return Err(invalid(TokenFault::Header));
        }
        let claims = issuer.signed_claims(text, &header)?;
        token::verified(&issuer.rules, &claims, now)
    }
}

impl Issuer {
    fn signed_claims(&self, text: &str, header: &Header) -> Result<Claims, Denial> {
        let loaded; // keeps a fetched set alive while its key is in use
        let key = match &self.keys {
            Keys::Shared(key) => Some(key),
            Keys::Fixed(set) => set.find(header),
            Keys::Fetched(keys) => {
                loaded = keys
                    .set
                    .load_full()
                    .ok_or_else(|| Denial::IssuerUnavailable { issuer: self.rules.name.clone() })?;
                let key = loaded.find(header);
                if key.is_none() {
                    keys.wanted.notify_one();
                }
                key
            }
        };
        let key = key.ok_or(Denial::TokenInvalid(TokenFault::Key))?;
        let mut validation = Validation::new(header.alg);
        // Claims are checked by `token::verified`, with a clock that is passed in.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        match jsonwebtoken::decode::<Claims>(text, key, &validation) {
            Ok(data) => Ok(data.claims),
            Err(error) => Err(Denial::TokenInvalid(match error.kind() {
                jsonwebtoken::errors::ErrorKind::InvalidSignature => TokenFault::Signature,
                _ => TokenFault::Malformed,
            })),
        }
    }
}

/// A key that the token itself brings proves nothing, and an extension that must be understood is not (RFC 7515
/// sections 4.1.2 to 4.1.6 and 4.1.11).
fn brings_its_own(header: &Header) -> bool {
    header.jku.is_some()
        || header.jwk.is_some()
        || header.x5u.is_some()
        || header.x5c.is_some()
        || header.crit.is_some()
}
