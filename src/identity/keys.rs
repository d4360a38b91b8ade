//! An issuer's keys: a set of public ones (JWKS, RFC 7517), or a secret that it shares with us. The two are types of
//! their own, so that a public key can never be the secret of an HMAC (RFC 8725 section 2.1).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::algorithm::Algorithm;
use crate::credential::Secret;

/// The keys of a set that can verify a signature. One key that cannot costs only itself.
#[derive(Clone)]
pub struct KeySet(Vec<Arc<Key>>);

/// One public key, parsed and checked once.
pub(super) struct Key {
    id: Option<String>,
    material: Material,
    verifiers: Vec<(Algorithm, ParsedPublicKey)>,
    retired: AtomicBool,
}

/// A public key without what a set says of it: the members that a thumbprint covers (RFC 7638 section 3.2), decoded. Two
/// keys are the same key if these are the same.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// The point is uncompressed.
    Ec {
        curve: Curve,
        point: Vec<u8>,
    },
    Ed25519(Vec<u8>),
}

/// Why a JWKS document gives no key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON of the shape `{"keys": [...]}`.
    #[error("is no JWKS document")]
    Shape,
    /// More keys than an issuer needs.
    #[error("has more than {MAX_KEYS} keys")]
    TooMany,
    /// No key in it can verify a signature that is accepted here.
    #[error(
        "has no key that can verify a signature (RSA of 2048 to 8192 bits, EC P-256, P-384 or P-521, Ed25519; public only)"
    )]
    Empty,
}

/// Most keys in one set. Identity providers have two to a dozen.
pub(super) const MAX_KEYS: usize = 100;

/// Most keys that are tried for one token, where several share its `kid`.
const MAX_TRIED: usize = 4;

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

impl KeySet {
    /// Reads a JWKS document.
    ///
    /// # Errors
    /// When it is none, or none of its keys is of use.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        let document: Document<'_> = serde_json::from_slice(json).map_err(|_| KeySetError::Shape)?;
        if document.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let keys: Vec<Arc<Key>> =
            document.keys.into_iter().filter_map(|key| Key::parse(key.get())).map(Arc::new).collect();
        if keys.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(Self(keys))
    }

    /// The keys to try for a token of this algorithm: those with its `kid`, a few at most where several share it; for a
    /// token without `kid` the only key that fits. Two that fit are one too many to guess.
    pub(super) fn fitting(&self, algorithm: Algorithm, key_id: Option<&str>) -> impl Iterator<Item = &Arc<Key>> {
        let fits = move |key: &&Arc<Key>| {
            key.verifier(algorithm).is_some() && (key_id.is_none() || key.id.as_deref() == key_id)
        };
        let is_ambiguous = key_id.is_none() && self.0.iter().filter(fits).nth(1).is_some();
        self.0.iter().filter(fits).take(if is_ambiguous { 0 } else { MAX_TRIED })
    }

    /// This set with the keys that it shares with the one before as the same values. Whether anything changed, beside it.
    pub(super) fn succeeding(mut self, before: &Self) -> (Self, bool) {
        let mut all_known = true;
        for key in &mut self.0 {
            match before.0.iter().find(|old| old.is_same(key)) {
                Some(old) => *key = Arc::clone(old),
                None => all_known = false,
            }
        }
        let all_kept = before.0.iter().all(|old| self.has(old));
        (self, !(all_known && all_kept))
    }

    /// Takes every key out of force that is not in `kept` as the same value.
    pub(super) fn retire_all_but(&self, kept: Option<&Self>) {
        for key in self.0.iter().filter(|key| !kept.is_some_and(|kept| kept.has(key))) {
            key.retired.store(true, Ordering::Release);
        }
    }

    fn has(&self, key: &Arc<Key>) -> bool {
        self.0.iter().any(|own| Arc::ptr_eq(own, key))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: a set without keys is not made.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

/// A JSON Web Key (RFC 7517 section 4). A member that is there twice or of a wrong type makes it none.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    // Private and secret parts (RFC 7518 sections 6.2.2, 6.3.2, 6.4).
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
}

impl Jwk {
    /// With its private part in it, anybody could have signed.
    fn is_public(&self) -> bool {
        let private = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth, &self.k];
        private.into_iter().all(Option::is_none)
    }
}

impl Key {
    /// `None` for a key that must not or cannot verify: for encryption, symmetric, short, off its curve, of an unknown kind.
    fn parse(json: &str) -> Option<Self> {
        let jwk: Jwk = serde_json::from_str(json).ok()?;
        let for_signatures = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        if !for_signatures || !jwk.is_public() {
            return None;
        }
        let material = Material::of(&jwk)?;
        let own: Option<Option<Algorithm>> = jwk.alg.as_deref().map(|name| name.parse().ok());
        let mut verifiers = Vec::new();
        for &algorithm in material.algorithms() {
            if own.is_none_or(|own| own == Some(algorithm)) {
                verifiers.push((algorithm, material.verifier(algorithm)?));
            }
        }
        (!verifiers.is_empty()).then(|| Self { id: jwk.kid, material, verifiers, retired: AtomicBool::new(false) })
    }

    /// Whether `signature` is this key's over `message`.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.verifier(algorithm).is_some_and(|verifier| verifier.verify_sig(message, signature).is_ok())
    }

    /// Whether it has left its issuer's set since.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.verifiers.iter().find(|(own, _)| *own == algorithm).map(|(_, verifier)| verifier)
    }

    fn is_same(&self, other: &Self) -> bool {
        let algorithms = |key: &Self| key.verifiers.iter().map(|(algorithm, _)| *algorithm).collect::<Vec<_>>();
        self.id == other.id && self.material == other.material && algorithms(self) == algorithms(other)
    }
}

impl Material {
    /// Reads a JWK that is public and of a kind that can verify. Nothing is said of what it is for.
    pub(super) fn parse(json: &str) -> Option<Self> {
        let jwk: Jwk = serde_json::from_str(json).ok()?;
        jwk.is_public().then(|| Self::of(&jwk))?
    }

    /// SHA-256 over the required members in the order of the alphabet (RFC 7638, RFC 8037 section 2).
    pub(super) fn thumbprint(&self) -> [u8; 32] {
        let encoded = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let members = match self {
            Self::Ec { curve, point } => {
                let mut coordinates = point.get(1..).unwrap_or_default().chunks(curve.field()).map(encoded);
                let (x, y) = (coordinates.next().unwrap_or_default(), coordinates.next().unwrap_or_default());
                format!(r#"{{"crv":"{}","kty":"EC","x":"{x}","y":"{y}"}}"#, curve.name())
            }
            Self::Rsa { modulus, exponent } => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encoded(exponent), encoded(modulus))
            }
            Self::Ed25519(point) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encoded(point)),
        };
        Sha256::digest(members).into()
    }

    /// Whether `signature` is this key's over `message`, by an algorithm of its kind.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verifier = self.algorithms().contains(&algorithm).then(|| self.verifier(algorithm)).flatten();
        verifier.is_some_and(|verifier| verifier.verify_sig(message, signature).is_ok())
    }

    fn of(jwk: &Jwk) -> Option<Self> {
        let decoded = |member: &Option<String>| BASE64_URL_SAFE_NO_PAD.decode(member.as_ref()?).ok();
        match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let number = |member| -> Option<Vec<u8>> {
                    Some(decoded(member)?.into_iter().skip_while(|byte| *byte == 0).collect())
                };
                let (modulus, exponent) = (number(&jwk.n)?, number(&jwk.e)?);
                let bits = modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
                // RFC 7518 section 3.3 asks for 2048 bits; above 8192 one signature costs milliseconds, as it does with a long
                // exponent. An exponent of 1 or an even one verifies anything or nothing.
                let exponent_serves = exponent.len() <= 4 && exponent != [1] && exponent.last()? % 2 == 1;
                ((2048..=8192).contains(&bits) && exponent_serves).then_some(Self::Rsa { modulus, exponent })
            }
            ("EC", Some(name)) => {
                let curve = Curve::named(name)?;
                let (x, y) = (decoded(&jwk.x)?, decoded(&jwk.y)?);
                // RFC 7518 section 6.2.1.2: each coordinate in full length.
                let point = [&[UNCOMPRESSED], x.as_slice(), y.as_slice()].concat();
                (x.len() == curve.field() && y.len() == curve.field()).then_some(Self::Ec { curve, point })
            }
            ("OKP", Some("Ed25519")) => decoded(&jwk.x).filter(|x| x.len() == 32).map(Self::Ed25519),
            // Not "oct": a symmetric key in a set is a published secret.
            _ => None,
        }
    }

    /// What a key of this kind can verify.
    fn algorithms(&self) -> &'static [Algorithm] {
        match self {
            Self::Rsa { .. } => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            Self::Ec { curve: Curve::P256, .. } => &[Algorithm::ES256],
            Self::Ec { curve: Curve::P384, .. } => &[Algorithm::ES384],
            Self::Ec { curve: Curve::P521, .. } => &[Algorithm::ES512],
            Self::Ed25519(_) => &[Algorithm::EdDSA],
        }
    }

    /// `None` for a point that is not on its curve, among others.
    fn verifier(&self, algorithm: Algorithm) -> Option<ParsedPublicKey> {
        match self {
            Self::Rsa { modulus, exponent } => {
                let components = RsaPublicKeyComponents { n: modulus, e: exponent };
                components.to_parsed_public_key(rsa_parameters(algorithm)?).ok()
            }
            Self::Ec { curve, point } => ParsedPublicKey::new(curve.verification(), point).ok(),
            Self::Ed25519(point) => ParsedPublicKey::new(&signature::ED25519, point).ok(),
        }
    }
}

/// The mark before an elliptic curve point with both coordinates (SEC 1 section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// The curves of RFC 7518 section 6.2.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    fn named(name: &str) -> Option<Self> {
        [Self::P256, Self::P384, Self::P521].into_iter().find(|curve| curve.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// Bytes of one coordinate.
    fn field(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// RFC 7518 section 3.4: each curve has one hash, and signatures are the two numbers in full length, not DER.
    fn verification(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

/// A secret that an issuer shares with us. It verifies HMAC and nothing else.
pub(super) struct SharedKey([(Algorithm, hmac::Key); 3]);

impl SharedKey {
    pub(super) fn new(secret: &Secret) -> Self {
        let key = |algorithm| hmac::Key::new(algorithm, secret.expose());
        Self([
            (Algorithm::HS256, key(hmac::HMAC_SHA256)),
            (Algorithm::HS384, key(hmac::HMAC_SHA384)),
            (Algorithm::HS512, key(hmac::HMAC_SHA512)),
        ])
    }

    /// Whether `tag` is this secret's over `message`. `hmac::verify` compares in constant time.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], tag: &[u8]) -> bool {
        let key = self.0.iter().find(|(own, _)| *own == algorithm);
        key.is_some_and(|(_, key)| hmac::verify(key, message, tag).is_ok())
    }
}

#[cfg(test)]
mod tests;
