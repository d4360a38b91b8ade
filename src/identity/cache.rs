//! What was decided on tokens before: verified ones with what they say, refused ones with the reason.
//!
//! Keyed by a hash under a key that only this process has, never by the token: who reads the memory of the cache finds no
//! token in it, and nobody can make another token that meets an entry.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use moka::sync::Cache;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::caller::VerifiedToken;
use super::issuer::IssuerId;
use super::keys::Key;
use crate::denial::Denial;

/// How many tokens are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheBounds {
    /// Verified ones; about a kilobyte each.
    pub verified: u64,
    /// Refused ones.
    pub refused: u64,
}

impl Default for CacheBounds {
    /// 50,000 verified and 10,000 refused.
    fn default() -> Self {
        Self { verified: 50_000, refused: 10_000 }
    }
}

/// A token, hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenHash([u8; 32]);

/// A token that was verified.
pub(super) struct Verified {
    pub(super) token: Arc<VerifiedToken>,
    /// By which of the issuers.
    pub(super) issuer: IssuerId,
    /// The public key that verified it, if it was one.
    pub(super) key: Option<Arc<Key>>,
    /// When it begins to be valid, with leeway.
    pub(super) from: SystemTime,
    /// When it ends to be valid, with leeway.
    pub(super) until: SystemTime,
}

/// A token that was refused after its issuer's keys were asked.
#[derive(Clone)]
pub(super) struct Refused {
    pub(super) denial: Denial,
    /// By which of the issuers.
    pub(super) issuer: IssuerId,
    /// The generation of that issuer's keys.
    pub(super) generation: u64,
    /// When.
    pub(super) at: SystemTime,
}

/// How long a refusal is remembered.
const REFUSED: Duration = Duration::from_secs(10);

/// Both caches.
pub(super) struct TokenCache {
    /// SHA-256 that has taken in a block that only this process knows.
    keyed: Sha256,
    verified: Cache<TokenHash, Arc<Verified>, BuildHasherDefault<Leading>>,
    refused: Cache<TokenHash, Refused, BuildHasherDefault<Leading>>,
}

impl TokenCache {
    pub(super) fn new(bounds: CacheBounds) -> Self {
        // 488 random bits from the system fill the first block.
        let secret: [Uuid; 4] = std::array::from_fn(|_| Uuid::new_v4());
        Self {
            keyed: secret.iter().fold(Sha256::new(), Sha256::chain_update),
            verified: Cache::builder().max_capacity(bounds.verified).build_with_hasher(BuildHasherDefault::default()),
            refused: Cache::builder().max_capacity(bounds.refused).build_with_hasher(BuildHasherDefault::default()),
        }
    }

    /// The hash that `token` is known by.
    ///
    /// What HMAC adds keeps others from extending a hash that they have seen. No hash leaves this process, and on the way
    /// of every request that fourth of the time is worth saving. Even with the secret known a meeting of two tokens would
    /// be a collision of SHA-256, which is more than faster hashes such as GMAC could say.
    pub(super) fn hash(&self, token: &str) -> TokenHash {
        TokenHash(self.keyed.clone().chain_update(token).finalize().into())
    }

    pub(super) fn verified(&self, hash: &TokenHash) -> Option<Arc<Verified>> {
        self.verified.get(hash)
    }

    pub(super) fn keep(&self, hash: TokenHash, verified: Verified) {
        self.verified.insert(hash, Arc::new(verified));
    }

    pub(super) fn forget(&self, hash: &TokenHash) {
        self.verified.invalidate(hash);
    }

    /// A refusal that is younger than ten seconds.
    pub(super) fn refused(&self, hash: &TokenHash, now: SystemTime) -> Option<Refused> {
        self.refused.get(hash).filter(|refused| now.duration_since(refused.at).is_ok_and(|age| age < REFUSED))
    }

    pub(super) fn keep_refused(&self, hash: TokenHash, refused: Refused) {
        self.refused.insert(hash, refused);
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (u64, u64) {
        self.verified.run_pending_tasks();
        self.refused.run_pending_tasks();
        (self.verified.entry_count(), self.refused.entry_count())
    }
}

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// Takes the leading bytes as they are: they come from a keyed hash already, and nobody outside can choose them.
#[derive(Default)]
struct Leading(u64);

impl Hasher for Leading {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(leading) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*leading);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_differ_by_token_and_by_process() {
        let (one, other) = (TokenCache::new(CacheBounds::default()), TokenCache::new(CacheBounds::default()));
        assert!(one.hash("a.b.c") == one.hash("a.b.c"));
        assert!(one.hash("a.b.c") != one.hash("a.b.d"));
        assert!(one.hash("a.b.c") != other.hash("a.b.c"), "each has a key of its own");
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let cache = TokenCache::new(CacheBounds { verified: 10, refused: 20 });
        let now = SystemTime::UNIX_EPOCH;
        for number in 0..1000 {
            let refused = Refused { denial: Denial::TokenExpired, issuer: IssuerId(1), generation: 0, at: now };
            cache.keep_refused(cache.hash(&number.to_string()), refused);
        }
        assert!(cache.counts().1 <= 20, "{:?}", cache.counts());
    }

    #[test]
    fn refusals_are_remembered_for_ten_seconds() {
        let cache = TokenCache::new(CacheBounds::default());
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let hash = cache.hash("a.b.c");
        cache.keep_refused(hash, Refused { denial: Denial::TokenExpired, issuer: IssuerId(1), generation: 0, at });
        assert!(cache.refused(&hash, at + Duration::from_millis(9_999)).is_some());
        assert!(cache.refused(&hash, at + Duration::from_secs(10)).is_none());
        assert!(cache.refused(&hash, at - Duration::from_secs(1)).is_none(), "the clock was set back");
    }
}
