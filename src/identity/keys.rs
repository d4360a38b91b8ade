//! An issuer's public keys (JWKS, RFC 7517).

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde::Deserialize;

/// The keys of a set that can verify a signature. One key that cannot costs only itself.
pub struct KeySet(Vec<Key>);

struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

/// Why a JWKS document gives no key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON of the shape `{"keys": [...]}`.
    #[error("is no JWKS document")]
    Shape,
    /// No key in it can verify a signature that is accepted here.
    #[error("has no key that can verify a signature (RSA of 2048 bits and up, EC P-256 or P-384, Ed25519)")]
    Empty,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a JWKS document.
    ///
    /// # Errors
    /// When it is none, or none of its keys is of use.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        let document: Document = serde_json::from_slice(json).map_err(|_| KeySetError::Shape)?;
        let keys: Vec<Key> =
            document.keys.into_iter().filter_map(|key| Key::new(&serde_json::from_value(key).ok()?)).collect();
        if keys.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(Self(keys))
    }

    /// The key for a token with this header: by `kid` where the token names one, else the only key that fits the
    /// algorithm. Two that fit are one too many to guess.
    pub(super) fn find(&self, header: &Header) -> Option<&DecodingKey> {
        let mut fitting = self
            .0
            .iter()
            .filter(|key| key.algorithms.contains(&header.alg) && (header.kid.is_none() || header.kid == key.id));
        let key = fitting.next()?;
        fitting.next().is_none().then_some(&key.decoding)
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

impl Key {
    /// `None` for a key that must not or cannot verify: for encryption, symmetric, short, of an unknown kind.
    fn new(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        if common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
            return None;
        }
        if common.key_operations.as_ref().is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
            return None;
        }
        let mut algorithms = algorithms(&jwk.algorithm)?;
        if let Some(own) = common.key_algorithm {
            algorithms.retain(|algorithm| key_algorithm(*algorithm) == Some(own));
        }
        let decoding = DecodingKey::from_jwk(jwk).ok()?;
        (!algorithms.is_empty()).then(|| Self { id: common.key_id.clone(), algorithms, decoding })
    }
}

/// What a key of this kind can verify. A symmetric key in a JWKS is a published secret: it verifies nothing.
fn algorithms(parameters: &AlgorithmParameters) -> Option<Vec<Algorithm>> {
    match parameters {
        AlgorithmParameters::RSA(rsa) => {
            let modulus = BASE64_URL_SAFE_NO_PAD.decode(&rsa.n).ok()?;
            // RFC 7518 section 3.3: 2048 bits or more.
            let bits = modulus.iter().skip_while(|byte| **byte == 0).count() * 8;
            (2048..=8192).contains(&bits).then(|| {
                vec![
                    Algorithm::RS256,
                    Algorithm::RS384,
                    Algorithm::RS512,
                    Algorithm::PS256,
                    Algorithm::PS384,
                    Algorithm::PS512,
                ]
            })
        }
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => Some(vec![Algorithm::ES256]),
            EllipticCurve::P384 => Some(vec![Algorithm::ES384]),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(pair) => {
            (pair.curve == EllipticCurve::Ed25519).then(|| vec![Algorithm::EdDSA])
        }
        _ => None,
    }
}

/// The same algorithm as a JWK names it.
fn key_algorithm(algorithm: Algorithm) -> Option<KeyAlgorithm> {
    format!("{algorithm:?}").parse().ok()
}
