//! No proof by another key is accepted whatever the request says, one by the key only for its own request and token and only
//! once, and nothing panics.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use portcullis::identity::binding::{Binder, Presence, Presented};
use portcullis::identity::{Confirmation, RequiredBinding, Scheme};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A request with a proof.
#[derive(Debug, Arbitrary)]
struct Input {
    proof: Proof,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    scheme: u8,
    token: String,
    method: String,
    uri_scheme: bool,
    authority: String,
    path: String,
    certificate: Option<[u8; 32]>,
    required: u8,
    configured_origin: bool,
    seconds: u16,
}

/// Where a proof comes from.
#[derive(Debug, Arbitrary)]
enum Proof {
    /// Whoever sends whatever.
    Bytes(Vec<u8>),
    /// Somebody without the key, who knows the form of a proof.
    Forged { header: Option<String>, claims: String, signature: Vec<u8> },
    /// The owner of the key, who may claim what no proof should.
    Signed { claims: String },
    /// The owner of the key, with a proof for this request as far as it goes.
    Fitting { id: String, uri: Option<String>, method: Option<String>, token: Option<String>, ahead: i16 },
}

// The key pair of RFC 8037 appendix A.
const SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const HEADER: &str = r#"{"typ":"dpop+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}"#;
const THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
/// An Ed25519 key in PKCS #8 up to the key (RFC 8410 section 7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const NOW: Duration = Duration::from_secs(1_800_000_000);

static KEY: LazyLock<EncodingKey> = LazyLock::new(|| EncodingKey::from_ed_der(&[&PKCS8[..], &decoded(SEED)].concat()));

fn decoded(text: &str) -> [u8; 32] {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap().try_into().unwrap()
}

fn signed(claims: &str) -> String {
    let [header, claims] = [HEADER, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{claims}");
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &KEY, Algorithm::EdDSA).unwrap();
    format!("{message}.{signature}")
}

fuzz_target!(|input: Input| {
    let uri_scheme = if input.uri_scheme { "https" } else { "http" };
    let (proof, owner) = match &input.proof {
        Proof::Bytes(bytes) => (bytes.clone(), false),
        Proof::Forged { header, claims, signature } => {
            let [header, claims] = [header.as_deref().unwrap_or(HEADER), claims].map(|part| part.as_bytes());
            let parts = [header, claims, signature].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
            (parts.join(".").into_bytes(), false)
        }
        Proof::Signed { claims } => (signed(claims).into_bytes(), true),
        Proof::Fitting { id, uri, method, token, ahead } => {
            let uri = uri.clone().unwrap_or_else(|| format!("{uri_scheme}://{}{}", input.authority, input.path));
            let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_ref().unwrap_or(&input.token)));
            let claims = json!({
                "jti": id, "htu": uri, "htm": method.as_ref().unwrap_or(&input.method), "ath": hash,
                "iat": NOW.as_secs() as i64 + i64::from(input.seconds) + i64::from(*ahead),
            });
            (signed(&claims.to_string()).into_bytes(), true)
        }
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &input.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    if let Ok(value) = HeaderValue::from_bytes(&proof) {
        headers.append("dpop", value);
    }
    let presented = Presented {
        certificate: input.certificate,
        proof: Presence::of_proof(&headers),
        scheme: [Scheme::Bearer, Scheme::Dpop, Scheme::ApiKey][usize::from(input.scheme % 3)],
        token: &input.token,
        method: &input.method,
        uri_scheme,
        authority: &input.authority,
        path: &input.path,
    };
    let required = [None, Some(RequiredBinding::Dpop), Some(RequiredBinding::Certificate), Some(RequiredBinding::Any)];
    let required = required[usize::from(input.required % 4)];
    let origins = if input.configured_origin { vec!["https://gateway.example".parse().unwrap()] } else { Vec::new() };
    let binder = Binder::new(origins);
    let bound = Confirmation { certificate: None, dpop_key: Some(decoded(THUMBPRINT)) };
    let now: SystemTime = UNIX_EPOCH + NOW + Duration::from_secs(input.seconds.into());
    let accepted = binder.check(&bound, required, &presented, now).is_ok();
    if accepted {
        assert!(owner, "a proof without the key");
        let claims = std::str::from_utf8(&proof).unwrap().split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        assert_eq!(claims["htm"], input.method);
        assert_eq!(claims["ath"], BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&input.token)));
        assert!((claims["iat"].as_f64().unwrap() - NOW.as_secs_f64() - f64::from(input.seconds)).abs() <= 60.0);
        assert!(binder.check(&bound, required, &presented, now).is_err(), "a proof twice");
        let elsewhere = Binder::new(vec!["https://elsewhere.example".parse().unwrap()]);
        if !claims["htu"].as_str().unwrap().to_ascii_lowercase().contains("elsewhere") {
            assert!(elsewhere.check(&bound, required, &presented, now).is_err(), "a proof for another origin");
        }
    }
});
