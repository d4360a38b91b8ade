//! Inputs that the benches share, built outside every measured loop.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis::config::{IssuerConfig, IssuerRules, KeyLife, KeySource};
use portcullis::credential::Secret;
use portcullis::identity::{Bearer, CacheBounds, Caller, Issuers, KeySet};
use serde_json::json;

/// A moment in which the tokens are valid.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Issuers of one kind of key, and a token of theirs with ten scopes, of about 900 bytes with RS256.
pub fn issuers(algorithm: Algorithm) -> (Issuers, String) {
    issuers_bounded(algorithm, CacheBounds::default())
}

/// The same with a cache of this size.
pub fn issuers_bounded(algorithm: Algorithm, bounds: CacheBounds) -> (Issuers, String) {
    let (key, source) = match algorithm {
        Algorithm::HS256 => {
            let secret = b"a-secret-of-thirty-two-bytes-....".to_vec();
            (EncodingKey::from_secret(&secret), KeySource::Secret(Secret::new(secret)))
        }
        Algorithm::RS256 => public(EncodingKey::from_rsa_pem(&pem(&rcgen::PKCS_RSA_SHA256)).unwrap(), algorithm),
        _ => public(EncodingKey::from_ec_pem(&pem(&rcgen::PKCS_ECDSA_P256_SHA256)).unwrap(), algorithm),
    };
    let claims = json!({
        "iss": "https://example.okta.com/oauth2/default", "aud": "api://claude", "sub": "alice@example.com",
        "jti": "AT.6fW3Hcx1bZkq", "iat": 1_799_999_900, "exp": 1_800_003_000, "groups": ["research", "everyone"],
        "scp": (0..10).map(|number| format!("claude:scope-{number}")).chain(["claude:opus".to_owned()]).collect::<Vec<_>>(),
    });
    let mut header = Header::new(algorithm);
    header.kid = (algorithm != Algorithm::HS256).then(|| "key-1".to_owned());
    let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    let rules = IssuerRules {
        name: "okta".to_owned(),
        issuer: "https://example.okta.com/oauth2/default".to_owned(),
        audience: vec!["api://claude".to_owned()],
        algorithms: vec![format!("{algorithm:?}").parse().unwrap()],
        max_lifetime: Some(Duration::from_secs(3600)),
        leeway: Duration::from_secs(30),
        required_claims: Vec::new(),
        scope_claim: None,
        team_claim: Some("groups".parse().unwrap()),
        subject_claim: "sub".parse().unwrap(),
        email_claim: None,
        required_binding: None,
    };
    let config = IssuerConfig { rules, keys: source, life: KeyLife::default(), signing_key: None };
    (Issuers::new(vec![config], None, bounds).0, token)
}

fn public(key: EncodingKey, algorithm: Algorithm) -> (EncodingKey, KeySource) {
    let mut jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
    jwk.common.key_id = Some("key-1".to_owned());
    let set = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    (key, KeySource::File(set))
}

fn pem(kind: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
    rcgen::KeyPair::generate_for(kind).unwrap().serialize_pem().into_bytes()
}

/// A verified caller with ten scopes and `claude:opus`.
pub fn caller() -> Caller {
    let (issuers, token) = issuers(Algorithm::HS256);
    let verified = issuers.verify(Bearer::parse(&token).unwrap(), now()).unwrap();
    Caller::new(verified, IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// A message of about `size` bytes as SDKs serialise it, `messages` first: prose with line ends and quotes, as code and
/// text have them.
pub fn message(size: usize) -> Vec<u8> {
    let line = "He said \"the quick brown fox\" and then:\n\tfn main() { println!(\"{}\", 1); }\n";
    let text = line.repeat(size / line.len() + 1);
    let text = &text[..size.saturating_sub(200)];
    let content = serde_json::to_string(text).unwrap();
    format!(r#"{{"messages":[{{"role":"user","content":{content}}}],"max_tokens":1024,"stream":true,"model":"claude-opus-5-5"}}"#)
        .into_bytes()
}
