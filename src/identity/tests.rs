use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::config::{IssuerConfig, IssuerRules, KeySource};
use crate::credential::Secret;
use crate::denial::{Denial, TokenFault};

const SECRET: &[u8] = b"a-secret-of-thirty-two-bytes-....";
const NOW: u64 = 1_800_000_000;

fn issuer(keys: KeySource, algorithms: Vec<Algorithm>) -> IssuerConfig {
    let rules = IssuerRules {
        name: "test".to_owned(),
        issuer: "https://issuer.test".to_owned(),
        audience: vec!["api://claude".to_owned()],
        algorithms,
        max_lifetime: Some(Duration::from_secs(3600)),
        leeway: Duration::from_secs(30),
        scope_claim: None,
        team_claim: Some("groups".to_owned()),
    };
    IssuerConfig { rules, keys, signing_key: None }
}

fn shared() -> Issuers {
    let secret = KeySource::Secret(Secret::new(SECRET.to_vec()));
    Issuers::new(vec![issuer(secret, vec![Algorithm::HS256, Algorithm::HS512])]).0
}

fn claims() -> Value {
    json!({ "iss": "https://issuer.test", "aud": "api://claude", "sub": "alice", "jti": "t-1", "scope": "claude:haiku claude:opus",
            "groups": ["research"], "iat": NOW, "exp": NOW + 600 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn hs256(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

fn verify(issuers: &Issuers, token: &str) -> Result<VerifiedToken, Denial> {
    issuers.verify(Bearer::parse(token).unwrap(), UNIX_EPOCH + Duration::from_secs(NOW))
}

fn fault(fault: TokenFault) -> Denial {
    Denial::TokenInvalid(fault)
}

#[test]
fn a_good_token_says_who_calls() {
    let caller = Caller::new(verify(&shared(), &hs256(&claims())).unwrap(), "192.0.2.1".parse().unwrap());
    assert_eq!((caller.issuer(), caller.subject(), caller.token_id()), ("test", "alice", Some("t-1")));
    assert_eq!(caller.teams(), ["research"]);
    assert!(caller.has_scope("claude:haiku") && caller.has_scope("claude:opus") && !caller.has_scope("claude:"));
    assert_eq!(caller.expires(), SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + 600));
}

#[test]
fn scopes_are_read_from_the_usual_claims_in_either_form() {
    for (name, value) in [("scp", json!(["a", "b"])), ("permissions", json!("a b")), ("roles", json!(["a", "b", 3]))] {
        let mut claims = without("scope");
        claims[name] = value;
        assert_eq!(verify(&shared(), &hs256(&claims)).unwrap().scopes, ["a", "b"], "{name}");
    }
}

#[test]
fn claims_that_break_a_rule_are_refused() {
    for (claims, expected) in [
        (with("iss", json!("https://issuer.test/")), Denial::IssuerUnknown),
        (without("iss"), fault(TokenFault::Malformed)),
        (with("aud", json!("api://other")), fault(TokenFault::Audience)),
        (with("aud", json!(["api://other"])), fault(TokenFault::Audience)),
        (without("aud"), fault(TokenFault::Audience)),
        (without("sub"), fault(TokenFault::Claims)),
        (with("sub", json!("")), fault(TokenFault::Claims)),
        (with("sub", json!(7)), fault(TokenFault::Claims)),
        (without("exp"), fault(TokenFault::Claims)),
        (with("exp", json!("never")), fault(TokenFault::Claims)),
        (with("exp", json!(1e300)), fault(TokenFault::Claims)),
        (with("exp", json!(-5)), fault(TokenFault::Claims)),
        (with("exp", json!(NOW - 30)), Denial::TokenExpired),
        (with("nbf", json!(NOW + 31)), Denial::TokenNotYetValid),
        (with("iat", json!(NOW + 31)), Denial::TokenNotYetValid),
        (with("exp", json!(NOW + 3601)), Denial::TokenLifetime),
        (with("iat", json!(NOW - 3001)), Denial::TokenLifetime),
    ] {
        assert_eq!(verify(&shared(), &hs256(&claims)), Err(expected), "{claims}");
    }
}

#[test]
fn leeway_and_audience_lists_are_honoured() {
    for claims in [
        with("exp", json!(NOW - 29)),
        with("nbf", json!(NOW + 30)),
        with("aud", json!(["x", "api://claude"])),
        with("exp", json!(NOW + 3600)),
    ] {
        assert!(verify(&shared(), &hs256(&claims)).is_ok(), "{claims}");
    }
}

#[test]
fn signatures_that_do_not_verify_are_refused() {
    let token = hs256(&claims());
    let other_secret =
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(b"other")).unwrap();
    assert_eq!(verify(&shared(), &other_secret), Err(fault(TokenFault::Signature)));
    let (head, _) = token.rsplit_once('.').unwrap();
    assert_eq!(verify(&shared(), &format!("{head}.AAAA")), Err(fault(TokenFault::Signature)));
    let forged = BASE64_URL_SAFE_NO_PAD.encode(with("sub", json!("mallory")).to_string());
    let parts: Vec<_> = token.split('.').collect();
    assert_eq!(verify(&shared(), &format!("{}.{forged}.{}", parts[0], parts[2])), Err(fault(TokenFault::Signature)));
}

#[test]
fn the_header_never_widens_what_the_issuer_allows() {
    let payload = BASE64_URL_SAFE_NO_PAD.encode(claims().to_string());
    let crafted = |header: Value| format!("{}.{payload}.AAAA", BASE64_URL_SAFE_NO_PAD.encode(header.to_string()));
    for (header, expected) in [
        (json!({ "alg": "none" }), fault(TokenFault::Malformed)),
        (json!({ "alg": "HS384" }), fault(TokenFault::Algorithm)),
        (json!({ "alg": "RS256" }), fault(TokenFault::Algorithm)),
        (json!({ "alg": "HS256", "jku": "https://evil.test/jwks" }), fault(TokenFault::Header)),
        (json!({ "alg": "HS256", "x5u": "https://evil.test/x" }), fault(TokenFault::Header)),
        (json!({ "alg": "HS256", "x5c": ["AAAA"] }), fault(TokenFault::Header)),
        (json!({ "alg": "HS256", "crit": ["exp"] }), fault(TokenFault::Header)),
        (json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": "AAAA" } }), fault(TokenFault::Header)),
    ] {
        assert_eq!(verify(&shared(), &crafted(header.clone())), Err(expected), "{header}");
    }
}

/// A key pair and its JWKS entry.
fn key_pair(algorithm: Algorithm, kid: Option<&str>) -> (EncodingKey, Value) {
    let pair = match algorithm {
        Algorithm::ES256 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
        _ => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
    };
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let mut jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
    jwk.common.key_id = kid.map(str::to_owned);
    (key, serde_json::to_value(jwk).unwrap())
}

fn es256(key: &EncodingKey, kid: Option<&str>) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, &claims(), key).unwrap()
}

fn with_keys(keys: &[Value]) -> Issuers {
    let set = KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
    Issuers::new(vec![issuer(KeySource::File(set), vec![Algorithm::ES256, Algorithm::RS256])]).0
}

#[test]
fn keys_are_found_by_id_or_when_there_is_no_choice() {
    let (first, first_jwk) = key_pair(Algorithm::ES256, Some("a"));
    let (second, second_jwk) = key_pair(Algorithm::ES256, Some("b"));
    let (_, other_curve) = key_pair(Algorithm::ES384, Some("c"));
    let both = with_keys(&[first_jwk.clone(), second_jwk, other_curve.clone()]);
    assert!(verify(&both, &es256(&first, Some("a"))).is_ok());
    assert!(verify(&both, &es256(&second, Some("b"))).is_ok());
    assert_eq!(verify(&both, &es256(&first, Some("b"))), Err(fault(TokenFault::Signature)));
    assert_eq!(verify(&both, &es256(&first, Some("z"))), Err(fault(TokenFault::Key)));
    assert_eq!(verify(&both, &es256(&first, Some("c"))), Err(fault(TokenFault::Key)));
    assert_eq!(verify(&both, &es256(&first, None)), Err(fault(TokenFault::Key)));
    assert!(verify(&with_keys(&[first_jwk, other_curve]), &es256(&first, None)).is_ok());
}

#[test]
fn a_keys_own_limits_are_honoured() {
    let (key, jwk) = key_pair(Algorithm::ES256, Some("a"));
    let (_, good) = key_pair(Algorithm::ES256, Some("b"));
    for (name, value) in
        [("use", json!("enc")), ("key_ops", json!(["sign"])), ("alg", json!("ES384")), ("crv", json!("P-521"))]
    {
        let mut limited = jwk.clone();
        limited[name] = value;
        let issuers = with_keys(&[limited, good.clone()]);
        assert_eq!(verify(&issuers, &es256(&key, Some("a"))), Err(fault(TokenFault::Key)), "{name}");
    }
}

#[test]
fn a_bad_key_costs_only_itself_and_a_set_without_keys_is_none() {
    let (key, jwk) = key_pair(Algorithm::ES256, Some("a"));
    let short = json!({ "kty": "RSA", "n": BASE64_URL_SAFE_NO_PAD.encode([0xff; 128]), "e": "AQAB", "kid": "short" });
    let secret = json!({ "kty": "oct", "k": "AAAA", "kid": "oct" });
    let issuers = with_keys(&[json!(7), json!({ "kty": "new" }), short.clone(), secret.clone(), jwk]);
    assert!(verify(&issuers, &es256(&key, Some("a"))).is_ok());
    let parse = |document: Value| KeySet::parse(document.to_string().as_bytes()).map(|set| set.len());
    assert_eq!(parse(json!({ "keys": [short, secret] })), Err(KeySetError::Empty));
    assert_eq!(parse(json!({ "keys": [] })), Err(KeySetError::Empty));
    assert_eq!(parse(json!([])), Err(KeySetError::Shape));
}

#[test]
fn keys_that_have_not_come_yet_are_our_fault_not_the_callers() {
    let url = reqwest::Url::parse("https://issuer.test/jwks").unwrap();
    let (issuers, fetchers) = Issuers::new(vec![issuer(KeySource::Uri(url), vec![Algorithm::ES256])]);
    assert_eq!(fetchers.len(), 1);
    assert!(!issuers.are_ready());
    let (key, _) = key_pair(Algorithm::ES256, None);
    assert_eq!(verify(&issuers, &es256(&key, None)), Err(Denial::IssuerUnavailable { issuer: "test".to_owned() }));
}

#[test]
fn keys_are_fetched_by_https_or_from_this_host() {
    for (url, expected) in [
        ("https://idp.test/jwks", true),
        ("http://127.0.0.1:80/jwks", true),
        ("http://[::1]/jwks", true),
        ("http://localhost/jwks", true),
        ("http://idp.test/jwks", false),
        ("http://127.0.0.1.idp.test/jwks", false),
        ("file:///etc/passwd", false),
    ] {
        assert_eq!(may_fetch(&reqwest::Url::parse(url).unwrap()), expected, "{url}");
    }
}
