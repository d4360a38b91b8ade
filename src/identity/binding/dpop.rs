//! One DPoP proof (RFC 9449 section 4): a JWT that brings the public key that signed it.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::super::keys::Material;
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
struct Header<'h> {
    typ: Cow<'h, str>,
    alg: Cow<'h, str>,
    #[serde(borrow)]
    jwk: &'h RawValue,
    crit: Option<IgnoredAny>,
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
    let header = decoded(header)?;
    let Header { typ, alg, jwk, crit: None } = serde_json::from_slice(&header).ok()? else { return None };
    if typ != "dpop+jwt" {
        return None;
    }
    let public = Material::parse(jwk.get())?;
    // Before the signature, for it costs less: a key of the sender's own choosing ends here.
    if public.thumbprint() != *key {
        return None;
    }
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
    // The key's kind decides: there is no shared secret to a public key.
    if !public.verifies(alg.parse().ok()?, signed.as_bytes(), &signature) {
        return None;
    }
    let claims: Proof = serde_json::from_slice(&decoded(claims)?).ok()?;
    ((1..=MAX_ID).contains(&claims.id.len()) && claims.is_dated(now)).then_some(claims)
}

/// A part of the JWT: JSON in base64url. Only an object will do; serde would take a list by position.
fn decoded(part: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part).ok().filter(|json| json.starts_with(b"{"))
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
            let key = Material::parse(jwk).unwrap();
            assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(key.thumbprint()), expected);
        }
    }
}
