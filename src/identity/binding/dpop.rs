//! One DPoP proof (RFC 9449 section 4): a JWT that brings the public key that signed it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use sha2::{Digest, Sha256};

use super::WINDOW;

/// The claims of a proof whose signature, key and date have been checked. Only [`verify`] makes one.
#[derive(Debug, Deserialize)]
pub(super) struct Proof {
    /// `jti`
    #[serde(rename = "jti")]
    pub(super) id: String,
    /// `htm`
    #[serde(rename = "htm")]
    pub(super) method: String,
    /// `htu`
    #[serde(rename = "htu")]
    pub(super) uri: String,
    #[serde(rename = "iat")]
    issued: f64,
    #[serde(rename = "ath")]
    token_hash: String,
}

impl Proof {
    /// Whether `ath` is the hash of this token (RFC 9449 section 4.2).
    pub(super) fn is_for_token(&self, token: &str) -> bool {
        self.token_hash == BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(token))
    }

    fn is_dated(&self, now: SystemTime) -> bool {
        // Beyond the year 9999 it is no date.
        let issued =
            (0.0..=253_402_300_799.0).contains(&self.issued).then(|| UNIX_EPOCH + Duration::from_secs_f64(self.issued));
        issued.is_some_and(|issued| {
            let apart = now.duration_since(issued).unwrap_or_else(|ahead| ahead.duration());
            apart <= WINDOW
        })
    }
}

/// The header (RFC 9449 section 4.2). A member that stands twice is an error, here and in the claims.
#[derive(Deserialize)]
struct Header {
    typ: String,
    alg: String,
    jwk: Jwk,
    crit: Option<IgnoredAny>,
}

/// A public key (RFC 7517, RFC 7518 section 6), with the members that would make it a private or a shared one.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
}

/// Longest proof that is looked at. One by an RSA key of 4096 bits has about two kilobytes.
const MAX_PROOF: usize = 8 << 10;
/// Longest `jti`.
const MAX_ID: usize = 512;

/// Verifies a proof as far as it goes by itself: it is by the key whose thumbprint is `key`, and dated near `now`. Whether
/// it is for this request and this token is the caller's to check. `None` for everything else.
pub(super) fn verify(proof: &str, key: &[u8; 32], now: SystemTime) -> Option<Proof> {
    if proof.len() > MAX_PROOF {
        return None;
    }
    let (signed, signature) = proof.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let Header { typ, alg, jwk, crit: None } = part(header)? else { return None };
    if typ != "dpop+jwt" {
        return None;
    }
    let public = jwk.public()?;
    // Before the signature, for it costs less: a key of the sender's own choosing ends here.
    if public.thumbprint() != *key {
        return None;
    }
    let algorithm = public.algorithm(&alg)?;
    let decoding = public.decoding()?;
    jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &decoding, algorithm).ok().filter(|good| *good)?;
    let claims: Proof = part(claims)?;
    ((1..=MAX_ID).contains(&claims.id.len()) && claims.is_dated(now)).then_some(claims)
}

/// A part of the JWT: JSON in base64url. Only an object will do; serde would take a list by position.
fn part<T: DeserializeOwned>(encoded: &str) -> Option<T> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?;
    json.starts_with(b"{").then(|| serde_json::from_slice(&json).ok())?
}

/// A public key of a kind that proofs may use. Its members are base64url, as [`Jwk::public`] has checked.
enum PublicKey {
    EllipticCurve { curve: Curve, x: String, y: String },
    Rsa { modulus: String, exponent: String },
    Ed25519 { x: String },
}

#[derive(Clone, Copy)]
enum Curve {
    P256,
    P384,
}

impl Curve {
    fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        }
    }

    fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

impl Jwk {
    /// The key, if it is of a kind that is accepted, of a sound size, and public.
    fn public(self) -> Option<PublicKey> {
        let private = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth, &self.k];
        if private.into_iter().any(Option::is_some) {
            return None;
        }
        let bytes = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("EC", Some(name)) => {
                let curve = [Curve::P256, Curve::P384].into_iter().find(|curve| curve.name() == name)?;
                let (x, y) = (self.x?, self.y?);
                let whole = |text: &str| bytes(text).is_some_and(|bytes| bytes.len() == curve.coordinate_bytes());
                (whole(&x) && whole(&y)).then_some(PublicKey::EllipticCurve { curve, x, y })
            }
            ("RSA", _) => {
                let (modulus, exponent) = (self.n?, self.e?);
                bytes(&exponent)?;
                // RFC 7518 section 3.3: 2048 bits or more.
                let bits = bytes(&modulus)?.iter().skip_while(|byte| **byte == 0).count() * 8;
                (2048..=8192).contains(&bits).then_some(PublicKey::Rsa { modulus, exponent })
            }
            ("OKP", Some("Ed25519")) => {
                let x = self.x?;
                (bytes(&x)?.len() == 32).then_some(PublicKey::Ed25519 { x })
            }
            _ => None,
        }
    }
}

impl PublicKey {
    /// SHA-256 over the required members in the order of the alphabet (RFC 7638, RFC 8037 section 2).
    fn thumbprint(&self) -> [u8; 32] {
        let members = match self {
            Self::EllipticCurve { curve, x, y } => {
                format!(r#"{{"crv":"{}","kty":"EC","x":"{x}","y":"{y}"}}"#, curve.name())
            }
            Self::Rsa { modulus, exponent } => format!(r#"{{"e":"{exponent}","kty":"RSA","n":"{modulus}"}}"#),
            Self::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
        };
        Sha256::digest(members).into()
    }

    /// The header's algorithm, if it is one for this key. Asymmetric ones alone: there is no shared secret to a public key.
    fn algorithm(&self, name: &str) -> Option<Algorithm> {
        match (self, name) {
            (Self::EllipticCurve { curve: Curve::P256, .. }, "ES256") => Some(Algorithm::ES256),
            (Self::EllipticCurve { curve: Curve::P384, .. }, "ES384") => Some(Algorithm::ES384),
            (Self::Rsa { .. }, "RS256") => Some(Algorithm::RS256),
            (Self::Rsa { .. }, "PS256") => Some(Algorithm::PS256),
            (Self::Ed25519 { .. }, "EdDSA") => Some(Algorithm::EdDSA),
            _ => None,
        }
    }

    fn decoding(&self) -> Option<DecodingKey> {
        let key = match self {
            Self::EllipticCurve { x, y, .. } => DecodingKey::from_ec_components(x, y),
            Self::Rsa { modulus, exponent } => DecodingKey::from_rsa_components(modulus, exponent),
            Self::Ed25519 { x } => DecodingKey::from_ed_components(x),
        };
        key.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprints_are_those_of_the_standards() {
        // RFC 7638 section 3.1 and RFC 8037 appendix A.3.
        let rsa = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
        let ed25519 = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        for (jwk, expected) in [
            (rsa, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
            (ed25519, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        ] {
            let key = serde_json::from_str::<Jwk>(jwk).unwrap().public().unwrap();
            assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(key.thumbprint()), expected);
        }
    }
}
