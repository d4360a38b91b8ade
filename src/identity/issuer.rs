//! The issuers whose tokens are believed, and the verification of a token against them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::Url;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::bearer::Bearer;
use super::cache::{CacheBounds, Refused, TokenCache, TokenHash, Verified};
use super::caller::VerifiedToken;
use super::fetch::{KeyFetcher, Source};
use super::fetched::FetchedKeys;
use super::header::Header;
use super::json;
use super::keys::{Key, KeySet, SharedKey};
use super::saved::SavedKeys;
use super::token::{self, Checked, Claims, Unverified};
use crate::config::{IssuerConfig, IssuerRules, KeyLife, KeySource};
use crate::denial::{Denial, TokenFault};

/// All issuers. Verification does no I/O and waits for nobody; keys that are fetched are replaced as a whole.
pub struct Issuers {
    issuers: Vec<Arc<Issuer>>,
    /// Shared with those that come after: what was decided by an issuer that stays is remembered.
    cache: Arc<TokenCache>,
}

/// One issuer. With other rules or another source of keys it would be another value, of another id.
struct Issuer {
    id: IssuerId,
    rules: IssuerRules,
    life: KeyLife,
    source: KeyOrigin,
    keys: Keys,
}

/// Tells every issuer that this process has ever had from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IssuerId(pub(super) u64);

impl IssuerId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Where keys come from, for comparison.
#[derive(Clone, PartialEq, Eq)]
enum KeyOrigin {
    Url {
        url: Url,
        discover: bool,
    },
    File,
    /// SHA-256 of the secret.
    Secret([u8; 32]),
}

enum Keys {
    Shared(Box<SharedKey>),
    Fixed(KeySet),
    Fetched(Arc<FetchedKeys>),
}

/// How an issuer's keys are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySetStatus<'a> {
    /// The issuer's configured name.
    pub issuer: &'a str,
    /// How many keys there are that can verify; a shared secret is one.
    pub keys: usize,
    /// Since when the set was last fetched; `None` where nothing is fetched or nothing has come yet.
    pub age: Option<Duration>,
    /// Fetches that failed since the start.
    pub fetch_failures: u64,
}

/// A token part by part (RFC 7515 section 3.1).
struct Parts<'t> {
    /// What the signature is over: header, dot, claims.
    signed: &'t str,
    header: &'t str,
    claims: &'t str,
    signature: &'t str,
}

impl Issuers {
    /// Makes the issuers, and a fetcher for each whose keys are fetched.
    ///
    /// `folder` is where fetched keys are kept between starts; it is made if it is missing. No token of a fetched issuer
    /// verifies before its first fetch, unless its keys are found there.
    pub fn new(configs: Vec<IssuerConfig>, folder: Option<PathBuf>, bounds: CacheBounds) -> (Self, Vec<KeyFetcher>) {
        Self::make(configs, folder, &[], Arc::new(TokenCache::new(bounds)))
    }

    /// Makes the issuers that come after these. One that is as before stays, with its keys and all that was decided on its
    /// tokens; one with other rules and the same source of keys has those keys at once.
    pub fn succeeded_by(&self, configs: Vec<IssuerConfig>, folder: Option<PathBuf>) -> (Self, Vec<KeyFetcher>) {
        Self::make(configs, folder, &self.issuers, Arc::clone(&self.cache))
    }

    fn make(
        configs: Vec<IssuerConfig>,
        folder: Option<PathBuf>,
        before: &[Arc<Issuer>],
        cache: Arc<TokenCache>,
    ) -> (Self, Vec<KeyFetcher>) {
        let folder = folder.filter(|folder| match std::fs::create_dir_all(folder) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "issuers' keys cannot be kept on disk");
                false
            }
        });
        let made = configs.into_iter().map(|config| Issuer::make(config, before, folder.as_deref()));
        let (issuers, fetchers): (Vec<_>, Vec<_>) = made.unzip();
        (Self { issuers, cache }, fetchers.into_iter().flatten().collect())
    }

    /// The issuers without keys that `before` did not have, or had with keys of another source: tokens of theirs would be
    /// refused for want of keys.
    pub fn lacking_keys(&self, before: &Self) -> Vec<&str> {
        let was_there = |issuer: &Issuer| before.issuers.iter().any(|other| other.shares_keys_with(issuer));
        let lacking = self.issuers.iter().filter(|issuer| !issuer.has_keys() && !was_there(issuer));
        lacking.map(|issuer| issuer.rules.name.as_str()).collect()
    }

    /// Whether tokens can be verified: some issuer has keys, and every other one has them or was asked for them once. An
    /// identity provider that is down keeps none of the others waiting.
    pub fn are_ready(&self) -> bool {
        let settled = |issuer: &Arc<Issuer>| match &issuer.keys {
            Keys::Shared(_) | Keys::Fixed(_) => true,
            Keys::Fetched(keys) => keys.are_settled(),
        };
        self.issuers.iter().all(settled) && self.issuers.iter().any(|issuer| issuer.has_keys())
    }

    /// How each issuer's keys are doing at `now`.
    pub fn key_sets(&self, now: SystemTime) -> impl Iterator<Item = KeySetStatus<'_>> {
        self.issuers.iter().map(move |issuer| {
            let (keys, age, fetch_failures) = match &issuer.keys {
                Keys::Shared(_) => (1, None, 0),
                Keys::Fixed(set) => (set.len(), None, 0),
                Keys::Fetched(keys) => {
                    let (count, age) = keys.size_and_age(now);
                    (count, age, keys.failures())
                }
            };
            KeySetStatus { issuer: &issuer.rules.name, keys, age, fetch_failures }
        })
    }

    /// Verifies `token` as of `now`. Holds only if all of these do:
    ///
    /// 1. its `iss` is a configured issuer's, to the letter;
    /// 2. its `alg` is among that issuer's algorithms, and its header brings no key, no extension and no foreign type;
    /// 3. a key of that issuer, fit for that algorithm, verifies the signature;
    /// 4. `aud`, `exp`, `nbf`, `iat`, the lifetime and the required claims are within that issuer's rules.
    ///
    /// What was decided on the same token before is remembered: that it verified until it expires or its key leaves the
    /// issuer's set, that it was refused for ten seconds or until that set changes. Whether the token was revoked, and
    /// whether its sender may use it, is asked elsewhere and every time.
    ///
    /// # Errors
    /// The first of these that does not hold (RFC 7519 section 7.2, RFC 8725).
    pub fn verify(&self, token: Bearer<'_>, now: SystemTime) -> Result<Arc<VerifiedToken>, Denial> {
        let hash = self.cache.hash(token.expose());
        if let Some(known) = self.cache.verified(&hash) {
            if self.is_in_force(&known, now) {
                return if now < known.until { Ok(Arc::clone(&known.token)) } else { Err(Denial::TokenExpired) };
            }
            self.cache.forget(&hash);
        }
        if let Some(refused) = self.cache.refused(&hash, now)
            && self.by_id(refused.issuer).is_some_and(|issuer| issuer.generation() == refused.generation)
        {
            return Err(refused.denial);
        }
        self.verify_unknown(hash, token.expose(), now)
    }

    /// What a token with `claims` would be, had an issuer signed it. No signature stands behind the result: this is for
    /// `portcullis explain --claims`, which decides nothing, and for nothing else.
    ///
    /// # Errors
    /// As [`Issuers::verify`], but for header, key and signature.
    pub fn suppose(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<Arc<VerifiedToken>, Denial> {
        let iss = claims.get("iss").and_then(Value::as_str).ok_or(Denial::TokenInvalid(TokenFault::Malformed))?;
        let issuer = self.issuer(iss).ok_or(Denial::IssuerUnknown)?;
        token::check(&issuer.rules, claims, now).map(|checked| Arc::new(checked.token))
    }

    /// How many tokens are remembered as verified and as refused.
    #[cfg(test)]
    pub(super) fn cached_tokens(&self) -> (u64, u64) {
        self.cache.counts()
    }

    fn issuer(&self, iss: &str) -> Option<&Issuer> {
        self.issuers.iter().map(Arc::as_ref).find(|issuer| issuer.rules.issuer == iss)
    }

    fn by_id(&self, id: IssuerId) -> Option<&Issuer> {
        self.issuers.iter().map(Arc::as_ref).find(|issuer| issuer.id == id)
    }

    /// Whether a token that was verified before still counts as verified, if it has not expired.
    fn is_in_force(&self, known: &Verified, now: SystemTime) -> bool {
        known.from <= now
            && !known.key.as_ref().is_some_and(|key| key.is_retired())
            && self.by_id(known.issuer).is_some_and(|issuer| match &issuer.keys {
                Keys::Shared(_) | Keys::Fixed(_) => true,
                Keys::Fetched(keys) => keys.serve_at(now),
            })
    }

    /// Verifies a token that nothing is known of, and remembers the outcome.
    fn verify_unknown(&self, hash: TokenHash, text: &str, now: SystemTime) -> Result<Arc<VerifiedToken>, Denial> {
        let invalid = Denial::TokenInvalid;
        let parts = Parts::of(text).ok_or(invalid(TokenFault::Malformed))?;
        let header = Header::parse(parts.header).map_err(invalid)?;
        let json = BASE64_URL_SAFE_NO_PAD.decode(parts.claims).map_err(|_| invalid(TokenFault::Malformed))?;
        let unverified: Unverified = serde_json::from_slice(&json).map_err(|_| invalid(TokenFault::Malformed))?;
        let issuer = self.issuer(&unverified.iss).ok_or(Denial::IssuerUnknown)?;
        if !issuer.rules.algorithms.contains(&header.algorithm) {
            return Err(invalid(TokenFault::Algorithm));
        }
        // What is refused up to here is refused for less than remembering it would cost.
        let generation = issuer.generation();
        match issuer.verify(&parts, &header, &json, now) {
            Ok((Checked { token, from, until }, key)) => {
                let token = Arc::new(token);
                let verified = Verified { token: Arc::clone(&token), issuer: issuer.id, key, from, until };
                self.cache.keep(hash, verified);
                Ok(token)
            }
            Err(denial) => {
                if is_final(&denial) {
                    let refused = Refused { denial: denial.clone(), issuer: issuer.id, generation, at: now };
                    self.cache.keep_refused(hash, refused);
                }
                Err(denial)
            }
        }
    }
}

impl KeyOrigin {
    fn of(keys: &KeySource) -> Self {
        match keys {
            KeySource::Uri(url) => Self::Url { url: url.clone(), discover: false },
            KeySource::Discovery(url) => Self::Url { url: url.clone(), discover: true },
            KeySource::File(_) => Self::File,
            KeySource::Secret(secret) => Self::Secret(Sha256::digest(secret.expose()).into()),
        }
    }
}

impl Keys {
    /// Whether both are the same, given that they come from the same place.
    fn are_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fixed(own), Self::Fixed(others)) => !others.clone().succeeding(own).1,
            (Self::Fetched(own), Self::Fetched(others)) => Arc::ptr_eq(own, others),
            (Self::Shared(_), Self::Shared(_)) => true, // the secret is its place
            _ => false,
        }
    }
}

/// The keys of an issuer that were kept on disk, if they are there and not too old.
fn kept(rules: &IssuerRules, life: KeyLife, saved: Option<&SavedKeys>) -> FetchedKeys {
    let keys = FetchedKeys::new(life.max_age);
    let now = SystemTime::now();
    if let Some((set, fetched)) = saved.and_then(|saved| saved.load(now)) {
        tracing::info!(issuer = rules.name, keys = set.len(), "took the issuer's keys from disk");
        keys.put(set, fetched);
        keys.drop_if_old(now);
    }
    keys
}

/// Whether the same token would be refused again in a moment, with the same keys.
fn is_final(denial: &Denial) -> bool {
    matches!(denial, Denial::TokenInvalid(_) | Denial::TokenExpired | Denial::TokenLifetime)
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        (!claims.contains('.')).then_some(Self { signed, header, claims, signature })
    }
}

impl Issuer {
    /// The issuer of `config`: the one of `before` that is the same, if there is one. With what fetches its keys, where they
    /// are fetched.
    fn make(config: IssuerConfig, before: &[Arc<Self>], folder: Option<&Path>) -> (Arc<Self>, Option<KeyFetcher>) {
        let IssuerConfig { rules, keys, life, signing_key: _ } = config;
        let former = before.iter().find(|issuer| issuer.rules.issuer == rules.issuer);
        let source = KeyOrigin::of(&keys);
        let same_keys = former.filter(|former| former.source == source && former.life == life);
        let mut fetcher = None;
        let keys = match keys {
            KeySource::Secret(secret) => Keys::Shared(Box::new(SharedKey::new(&secret))),
            KeySource::File(set) => Keys::Fixed(set),
            KeySource::Uri(url) | KeySource::Discovery(url) => {
                let saved = folder.map(|folder| SavedKeys::new(folder, &rules.issuer, &url));
                let at_hand = same_keys.and_then(|former| match &former.keys {
                    Keys::Fetched(keys) => Some(Arc::clone(keys)),
                    Keys::Shared(_) | Keys::Fixed(_) => None,
                });
                let keys = at_hand.unwrap_or_else(|| Arc::new(kept(&rules, life, saved.as_ref())));
                let discover = matches!(source, KeyOrigin::Url { discover: true, .. });
                fetcher =
                    Some(KeyFetcher::new(&rules, Source { url, discover }, life.refresh, Arc::clone(&keys), saved));
                Keys::Fetched(keys)
            }
        };
        if let Some(same) = same_keys.filter(|same| same.rules == rules && same.keys.are_as(&keys)) {
            return (Arc::clone(same), fetcher);
        }
        (Arc::new(Self { id: IssuerId::next(), rules, life, source, keys }), fetcher)
    }

    fn has_keys(&self) -> bool {
        match &self.keys {
            Keys::Shared(_) | Keys::Fixed(_) => true,
            Keys::Fetched(keys) => keys.has_any(),
        }
    }

    fn shares_keys_with(&self, other: &Self) -> bool {
        matches!((&self.keys, &other.keys), (Keys::Fetched(own), Keys::Fetched(others)) if Arc::ptr_eq(own, others))
    }

    /// Changes with the keys.
    fn generation(&self) -> u64 {
        match &self.keys {
            Keys::Shared(_) | Keys::Fixed(_) => 0,
            Keys::Fetched(keys) => keys.generation(),
        }
    }

    /// Signature first, then the claims in `json`; the public key that verified, if it was one.
    fn verify(
        &self,
        parts: &Parts<'_>,
        header: &Header,
        json: &[u8],
        now: SystemTime,
    ) -> Result<(Checked, Option<Arc<Key>>), Denial> {
        let signature = BASE64_URL_SAFE_NO_PAD.decode(parts.signature);
        let signature = signature.map_err(|_| Denial::TokenInvalid(TokenFault::Malformed))?;
        let message = parts.signed.as_bytes();
        let key = match &self.keys {
            Keys::Shared(secret) => {
                let verifies = secret.verifies(header.algorithm, message, &signature);
                if verifies { Ok(None) } else { Err(Denial::TokenInvalid(TokenFault::Signature)) }
            }
            Keys::Fixed(set) => signed_by(set, header, message, &signature).map(Some),
            Keys::Fetched(keys) => {
                let dated =
                    keys.at(now).ok_or_else(|| Denial::IssuerUnavailable { issuer: self.rules.name.clone() })?;
                let key = signed_by(&dated.keys, header, message, &signature);
                if matches!(key, Err(Denial::TokenInvalid(TokenFault::Key))) {
                    keys.miss(header.key_id.as_deref(), now);
                }
                key.map(Some)
            }
        }?;
        let claims: Claims = json::object(json).ok_or(Denial::TokenInvalid(TokenFault::Malformed))?;
        token::check(&self.rules, &claims, now).map(|checked| (checked, key))
    }
}

/// The key of `set` that made `signature`.
fn signed_by(set: &KeySet, header: &Header, message: &[u8], signature: &[u8]) -> Result<Arc<Key>, Denial> {
    let mut fault = TokenFault::Key;
    for key in set.fitting(header.algorithm, header.key_id.as_deref()) {
        if key.verifies(header.algorithm, message, signature) {
            return Ok(Arc::clone(key));
        }
        fault = TokenFault::Signature;
    }
    Err(Denial::TokenInvalid(fault))
}
