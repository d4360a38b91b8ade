//! The sandbox's token issuer: a key pair, and its public half as an identity provider serves it.

use std::path::Path;

use axum::routing::get;
use axum::{Json, Router};
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;
use tokio::net::TcpListener;

use super::certificates;
use crate::commands::token;

/// What the issuer serves.
pub(super) struct Issuer {
    keys: JwkSet,
}

impl Issuer {
    /// Makes a key, and writes it to `path` for `portcullis token`.
    pub(super) fn make(path: &Path) -> Result<Self, String> {
        let fault = |error: &dyn std::fmt::Display| format!("cannot make the issuer's key: {error}");
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| fault(&error))?;
        let pem = pair.serialize_pem();
        certificates::write(path, pem.as_bytes())?;
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).map_err(|error| fault(&error))?;
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).map_err(|error| fault(&error))?;
        jwk.common.key_id = Some(token::key_id(&key, Algorithm::ES256)?);
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_algorithm = Some(KeyAlgorithm::ES256);
        Ok(Self { keys: JwkSet { keys: vec![jwk] } })
    }

    /// Serves the key set, and the metadata that points to it (OpenID Connect Discovery 1.0), at `origin`.
    pub(super) async fn serve(self, listener: TcpListener, origin: String) -> std::io::Result<()> {
        let keys = Json(self.keys);
        let metadata = Json(json!({
            "issuer": origin,
            "jwks_uri": format!("{origin}/.well-known/jwks.json"),
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }));
        let router = Router::new()
            .route("/.well-known/jwks.json", get(async move || keys))
            .route("/.well-known/openid-configuration", get(async move || metadata));
        axum::serve(listener, router).await
    }
}
