//! Tokens with any claims, signed as the sandbox's issuer signs them.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{Sandbox, unique_id};

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Sandbox {
    /// Claims of a token that is good for ten minutes.
    pub fn claims(&self, subject: &str, scope: &str) -> Value {
        json!({
            "iss": self.ready.issuer_url, "aud": "api://claude", "sub": subject, "jti": unique_id(), "scope": scope,
            "iat": now(), "exp": now() + 600,
        })
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let pem = std::fs::read(self.folder.path().join("issuer.key")).unwrap();
        let key = EncodingKey::from_ec_pem(&pem).unwrap();
        let mut header = Header::new(Algorithm::ES256);
        let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        header.kid = Some(jwk.thumbprint(ThumbprintHash::SHA256).unwrap());
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }

    /// A token of `subject` with these scopes.
    pub fn token_of(&self, subject: &str, scope: &str) -> String {
        self.sign(&self.claims(subject, scope))
    }
}
