//! Sender-constrained tokens: a token that was stolen is of no use without what it is bound to, a client certificate
//! (RFC 8705) or a key that signs a proof for every request (DPoP, RFC 9449).

mod dpop;
mod origin;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use sha2::{Digest, Sha256};

pub use origin::Origin;

use super::bearer::Scheme;
use super::caller::{Confirmation, RequiredBinding};
use crate::denial::{BindingFault, Denial};

/// What a request shows for the binding of its token.
#[derive(Clone, Copy)]
pub struct Presented<'r> {
    /// SHA-256 of the connection's client certificate in DER.
    pub certificate: Option<[u8; 32]>,
    /// What stands in the `DPoP` header.
    pub proof: Presence<'r>,
    /// How the token was sent.
    pub scheme: Scheme,
    /// The token.
    pub token: &'r str,
    /// The request's method.
    pub method: &'r str,
    /// `https` or `http`, as this listener speaks.
    pub uri_scheme: &'r str,
    /// The `Host` header or `:authority`; empty if there is none.
    pub authority: &'r str,
    /// The request's path as it was sent; a query behind it does not count.
    pub path: &'r str,
}

/// A header that may be there once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presence<'r> {
    /// Not there.
    Absent,
    /// There once.
    Once(&'r [u8]),
    /// There more than once.
    Repeated,
}

impl<'r> Presence<'r> {
    /// The `DPoP` header (RFC 9449 section 4.1).
    pub fn of_proof(headers: &'r HeaderMap) -> Self {
        let mut values = headers.get_all("dpop").iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(value), None) => Self::Once(value.as_bytes()),
            (Some(_), Some(_)) => Self::Repeated,
        }
    }
}

/// Checks that whoever presents a token is whom it was issued to.
pub struct Binder {
    origins: Vec<Origin>,
    seen: Cache<[u8; 32], ()>,
    forgotten: Arc<AtomicU64>,
}

/// How far a proof's `iat` may be from now, either way (RFC 9449 section 11.1: an acceptable window, on the order of
/// seconds or minutes).
const WINDOW: Duration = Duration::from_secs(60);

/// Proofs that are remembered. Below this many within two minutes none is forgotten while it could be used again; above it
/// the oldest are forgotten first, so that what a flood gains is the replay of a proof that is seconds old, by someone who
/// also holds the token and has read the proof off the wire.
const MAX_SEEN: u64 = 100_000;

impl Binder {
    /// A binder for requests to these origins; when there is none, a proof must be for the origin that its own request
    /// names. Behind a balancer that ends TLS, only configured origins can match what the client saw.
    pub fn new(origins: Vec<Origin>) -> Self {
        let forgotten = Arc::default();
        Self { origins, seen: proofs_seen(MAX_SEEN, Arc::clone(&forgotten)), forgotten }
    }

    /// A binder for requests to other origins, which has seen the same proofs.
    #[must_use]
    pub fn succeeded_by(&self, origins: Vec<Origin>) -> Self {
        Self { origins, seen: self.seen.clone(), forgotten: Arc::clone(&self.forgotten) }
    }

    /// How many proofs were forgotten before their time because there were too many; for a metric that should stay at 0.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// Checks what a token is bound to against what its request shows. Holds only if all of these do:
    ///
    /// 1. the token has the binding that its issuer demands, and one to a key if it came by the scheme `DPoP`;
    /// 2. a token that is bound to a certificate came over a connection with that certificate;
    /// 3. a token that is bound to a key came with one proof, which is by that key, for this token, method and URI, dated
    ///    within a minute of `now`, and not seen before.
    ///
    /// A bound token may come by any scheme, also in `x-api-key`: the SDKs of the Claude API know no `DPoP`. The proof is
    /// what counts.
    ///
    /// # Errors
    /// [`Denial::TokenBinding`] with the first of these that does not hold.
    pub fn check(
        &self,
        confirmation: &Confirmation,
        required: Option<RequiredBinding>,
        presented: &Presented<'_>,
        now: SystemTime,
    ) -> Result<(), Denial> {
        self.fault(confirmation, required, presented, now).map_err(Denial::TokenBinding)
    }

    fn fault(
        &self,
        confirmation: &Confirmation,
        required: Option<RequiredBinding>,
        presented: &Presented<'_>,
        now: SystemTime,
    ) -> Result<(), BindingFault> {
        let (certificate, key) = (confirmation.certificate, confirmation.dpop_key);
        let bound = match required {
            None => true,
            Some(RequiredBinding::Certificate) => certificate.is_some(),
            Some(RequiredBinding::Dpop) => key.is_some(),
            Some(RequiredBinding::Any) => certificate.is_some() || key.is_some(),
        };
        // RFC 9449 section 7.1: under the scheme `DPoP` the token must be bound to the proof's key.
        if !bound || presented.scheme == Scheme::Dpop && key.is_none() {
            return Err(BindingFault::Unbound);
        }
        // Hashes of what every handshake shows are no secret: comparing them in constant time would protect nothing.
        if certificate.is_some() && certificate != presented.certificate {
            return Err(BindingFault::Certificate);
        }
        match key {
            Some(key) => self.check_proof(&key, presented, now),
            None => Ok(()),
        }
    }

    fn check_proof(&self, key: &[u8; 32], presented: &Presented<'_>, now: SystemTime) -> Result<(), BindingFault> {
        let Presence::Once(proof) = presented.proof else { return Err(BindingFault::ProofMissing) };
        let proof = std::str::from_utf8(proof).ok().and_then(|proof| dpop::verify(proof, key, now));
        let claims = proof.ok_or(BindingFault::ProofInvalid)?;
        let path = presented.path;
        let is_for_this_uri = if self.origins.is_empty() {
            Origin::of_request(presented.uri_scheme, presented.authority)
                .is_some_and(|own| own.holds(&claims.uri, path))
        } else {
            self.origins.iter().any(|origin| origin.holds(&claims.uri, path))
        };
        if claims.method != presented.method || !is_for_this_uri || !claims.is_for_token(presented.token) {
            return Err(BindingFault::ProofInvalid);
        }
        // Last, so that only a proof that was good takes a place. Of several that race one wins: `or_insert_with` looks and
        // notes in one step, which moka's `or_insert` does in two.
        let name = Sha256::new().chain_update(key).chain_update(&claims.id).finalize();
        if self.seen.entry(name.into()).or_insert_with(|| ()).is_fresh() {
            Ok(())
        } else {
            Err(BindingFault::ProofReplayed)
        }
    }
}

/// The names of at most `max` proofs, for as long as one is good. What does not fit is counted in `forgotten`.
fn proofs_seen(max: u64, forgotten: Arc<AtomicU64>) -> Cache<[u8; 32], ()> {
    // A proof may be dated up to one window ahead, and is good until one window after its date.
    let lifetime = 2 * WINDOW + Duration::from_secs(1);
    let count = move |_, (), cause| {
        if cause == RemovalCause::Size {
            forgotten.fetch_add(1, Ordering::Relaxed);
        }
    };
    let builder = Cache::builder().max_capacity(max).time_to_live(lifetime);
    builder.eviction_policy(EvictionPolicy::lru()).eviction_listener(count).build()
}

#[cfg(test)]
mod tests;
