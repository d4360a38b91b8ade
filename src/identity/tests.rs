//! Whole tokens against whole issuers. Parsers, keys, caches and fetching have their own tests beside them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::config::{IssuerConfig, IssuerRules, KeyLife, KeySource};
use crate::credential::Secret;
use crate::denial::{Denial, TokenFault};

mod vectors;

const SECRET: &[u8] = b"a-secret-of-sixty-four-bytes-is-what-hs512-asks-for-and-no-less.";
const NOW: u64 = 1_800_000_000;

/// The rules that the tests begin with.
pub(super) fn rules(algorithms: &[Algorithm]) -> IssuerRules {
    IssuerRules {
        name: "test".to_owned(),
        issuer: "https://issuer.test".to_owned(),
        audience: vec!["api://claude".to_owned()],
        algorithms: algorithms.to_vec(),
        max_lifetime: Some(Duration::from_secs(3600)),
        leeway: Duration::from_secs(30),
        required_claims: Vec::new(),
        scope_claim: None,
        team_claim: Some("groups".parse().unwrap()),
        subject_claim: "sub".parse().unwrap(),
        email_claim: None,
        required_binding: None,
    }
}

fn issuers(rules: IssuerRules, keys: KeySource) -> Issuers {
    let config = IssuerConfig { rules, keys, life: KeyLife::default(), signing_key: None };
    Issuers::new(vec![config], None, CacheBounds::default()).0
}

fn shared_by(rules: IssuerRules) -> Issuers {
    issuers(rules, KeySource::Secret(Secret::new(SECRET.to_vec())))
}

fn shared() -> Issuers {
    shared_by(rules(&[Algorithm::HS256, Algorithm::HS512]))
}

/// A key pair that signs, and its JWKS entry.
pub(super) struct Signer {
    key: EncodingKey,
    algorithm: jsonwebtoken::Algorithm,
    pub(super) jwk: Value,
}

impl Signer {
    pub(super) fn new(kind: &'static rcgen::SignatureAlgorithm, algorithm: Algorithm, key_id: Option<&str>) -> Self {
        let pem = rcgen::KeyPair::generate_for(kind).unwrap().serialize_pem();
        let algorithm = algorithm.for_signing().unwrap();
        let key = match algorithm.family() {
            jsonwebtoken::AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(pem.as_bytes()),
            _ => EncodingKey::from_ec_pem(pem.as_bytes()),
        };
        let key = key.unwrap();
        let mut jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
        jwk.common.key_id = key_id.map(str::to_owned);
        jwk.common.key_algorithm = None;
        Self { key, algorithm, jwk: serde_json::to_value(jwk).unwrap() }
    }

    pub(super) fn es256(kid: &str) -> Self {
        Self::new(&rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256, Some(kid))
    }

    pub(super) fn es384(kid: &str) -> Self {
        Self::new(&rcgen::PKCS_ECDSA_P384_SHA384, Algorithm::ES384, Some(kid))
    }

    /// A token of this key with these claims, whose header names `kid`.
    pub(super) fn sign(&self, kid: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// The JWKS document with these keys.
pub(super) fn jwks(signers: &[&Signer]) -> Vec<u8> {
    json!({ "keys": signers.iter().map(|signer| &signer.jwk).collect::<Vec<_>>() }).to_string().into_bytes()
}

pub(super) fn claims() -> Value {
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
    let header = Header::new(jsonwebtoken::Algorithm::HS256);
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

/// A token whose claims are `json` to the letter.
fn hs256_of(json: &str) -> String {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(json));
    let tag = jsonwebtoken::crypto::sign(
        signed.as_bytes(),
        &EncodingKey::from_secret(SECRET),
        jsonwebtoken::Algorithm::HS256,
    );
    format!("{signed}.{}", tag.unwrap())
}

pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn verify(issuers: &Issuers, token: &str) -> Result<VerifiedToken, Denial> {
    verify_at(issuers, token, NOW)
}

fn verify_at(issuers: &Issuers, token: &str, now: u64) -> Result<VerifiedToken, Denial> {
    issuers.verify(Bearer::parse(token).unwrap(), at(now)).map(|token| VerifiedToken::clone(&token))
}

fn fault(fault: TokenFault) -> Denial {
    Denial::TokenInvalid(fault)
}

#[test]
fn a_good_token_says_who_calls() {
    let caller = Caller::new(verify(&shared(), &hs256(&claims())).unwrap().into(), "192.0.2.1".parse().unwrap());
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
        (with("exp", json!(true)), fault(TokenFault::Claims)),
        (with("exp", json!([NOW + 600])), fault(TokenFault::Claims)),
        (with("exp", Value::Null), fault(TokenFault::Claims)),
        (with("exp", json!((NOW + 600) * 1000)), fault(TokenFault::Claims)),
        (with("iat", json!(NOW.to_string())), fault(TokenFault::Claims)),
        (with("nbf", json!("soon")), fault(TokenFault::Claims)),
        (with("aud", json!(7)), fault(TokenFault::Audience)),
        (with("aud", json!([])), fault(TokenFault::Audience)),
        (with("sub", json!("s".repeat(1025))), fault(TokenFault::Claims)),
        (with("jti", json!(7)), fault(TokenFault::Claims)),
        (with("jti", json!("")), fault(TokenFault::Claims)),
        (with("jti", json!("j".repeat(1025))), fault(TokenFault::Claims)),
        (with("scope", json!("s ".repeat(513))), fault(TokenFault::Claims)),
        (with("scope", json!(["s".repeat(1025)])), fault(TokenFault::Claims)),
        (with("groups", json!(vec!["g"; 513])), fault(TokenFault::Claims)),
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
        with("exp", json!(1_800_000_600.5)),
        with("scope", json!("s ".repeat(512))),
    ] {
        assert!(verify(&shared(), &hs256(&claims)).is_ok(), "{claims}");
    }
}

#[test]
fn signatures_that_do_not_verify_are_refused() {
    let token = hs256(&claims());
    let other_secret =
        jsonwebtoken::encode(&Header::default(), &claims(), &EncodingKey::from_secret(b"other")).unwrap();
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
        (json!({ "alg": "none" }), fault(TokenFault::Algorithm)),
        (json!({ "alg": "HS256", "typ": "logout+jwt" }), fault(TokenFault::Header)),
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

#[test]
fn claims_in_which_a_member_is_there_twice_are_refused() {
    let text = claims().to_string();
    assert!(verify(&shared(), &hs256_of(&text)).is_ok());
    for twice in
        [r#""sub":"mallory""#, r#""iss":"https://issuer.test""#, r#""\u0073ub":"mallory""#, r#""x":{"y":1,"y":2}"#]
    {
        let token = hs256_of(&text.replacen('{', &format!("{{{twice},"), 1));
        assert_eq!(verify(&shared(), &token), Err(fault(TokenFault::Malformed)), "{twice}");
    }
    for json in ["[]", "7", "", "{", r#"{"iss":7}"#] {
        assert_eq!(verify(&shared(), &hs256_of(json)), Err(fault(TokenFault::Malformed)), "{json}");
    }
}

#[test]
fn claims_stand_where_the_issuer_says() {
    let rules = IssuerRules {
        scope_claim: Some("/realm_access/roles".parse().unwrap()),
        team_claim: Some("https://example.com/department".parse().unwrap()),
        subject_claim: "oid".parse().unwrap(),
        email_claim: Some("/profile/emails/0".parse().unwrap()),
        ..rules(&[Algorithm::HS256])
    };
    let mut claims = with("realm_access", json!({ "roles": ["a", "b"] }));
    claims["https://example.com/department"] = json!("Data Science");
    claims["oid"] = json!("o-1");
    claims["profile"] = json!({ "emails": ["alice@example.com"] });
    let issuers = shared_by(rules);
    let token = verify(&issuers, &hs256(&claims)).unwrap();
    assert_eq!((token.subject.as_str(), token.email.as_deref()), ("o-1", Some("alice@example.com")));
    assert_eq!(token.scopes, ["a", "b"]);
    assert_eq!(token.teams, ["Data Science"], "one text is one team");
    claims["profile"] = json!({ "emails": [7] });
    assert_eq!(verify(&issuers, &hs256(&claims)).unwrap().email, None, "an odd address costs nobody the access");
    claims["oid"] = Value::Null;
    assert_eq!(verify(&issuers, &hs256(&claims)), Err(fault(TokenFault::Claims)));
    // The usual claims are not read in their place.
    let token = verify(&issuers, &hs256(&with("oid", json!("o-1")))).unwrap();
    assert!(token.scopes.is_empty() && token.teams.is_empty() && token.email.is_none());
}

#[test]
fn required_claims_are_required() {
    let required = |claim: &str, accepted| RequiredClaim { claim: claim.parse().unwrap(), accepted };
    let issuers = shared_by(IssuerRules {
        required_claims: vec![
            required("tid", Accepted::OneOf(vec!["t-1".to_owned(), "t-2".to_owned()])),
            required("/act/sub", Accepted::Present),
        ],
        ..rules(&[Algorithm::HS256])
    });
    for (tid, act, holds) in [
        (json!("t-2"), json!({ "sub": "x" }), true),
        (json!("t-3"), json!({ "sub": "x" }), false),
        (json!("t-1"), json!({}), false),
    ] {
        let mut claims = with("tid", tid);
        claims["act"] = act;
        let verified = verify(&issuers, &hs256(&claims)).map(|_| ());
        assert_eq!(verified, if holds { Ok(()) } else { Err(fault(TokenFault::Claims)) }, "{claims}");
    }
}

#[test]
fn a_binding_is_read_or_the_token_is_refused() {
    let hash = BASE64_URL_SAFE_NO_PAD.encode([7; 32]);
    let rules = || IssuerRules { required_binding: Some(RequiredBinding::Any), ..rules(&[Algorithm::HS256]) };
    for (cnf, certificate, dpop_key) in [
        (json!({ "x5t#S256": hash }), Some([7; 32]), None),
        (json!({ "jkt": hash, "kid": "ignored" }), None, Some([7; 32])),
        (json!({ "jkt": hash, "x5t#S256": hash }), Some([7; 32]), Some([7; 32])),
    ] {
        let token = verify(&shared_by(rules()), &hs256(&with("cnf", cnf.clone()))).unwrap();
        assert_eq!(token.confirmation, Confirmation { certificate, dpop_key }, "{cnf}");
        assert_eq!(token.required_binding, Some(RequiredBinding::Any));
    }
    for cnf in [
        json!({}),
        json!({ "jwk": {} }),
        json!({ "kid": "k" }),
        json!(null),
        json!("x"),
        json!({ "jkt": "short" }),
        json!({ "jkt": format!("{hash}=") }),
        json!({ "jkt": 7 }),
        json!({ "jkt": hash, "x5t#S256": null }),
    ] {
        let refused = verify(&shared_by(rules()), &hs256(&with("cnf", cnf.clone())));
        assert_eq!(refused, Err(fault(TokenFault::Claims)), "{cnf}");
    }
    assert_eq!(verify(&shared(), &hs256(&claims())).unwrap().confirmation, Confirmation::default());
}

#[test]
fn bindings_have_names() {
    for (name, expected) in [
        ("certificate", Ok(RequiredBinding::Certificate)),
        ("dpop", Ok(RequiredBinding::Dpop)),
        ("any", Ok(RequiredBinding::Any)),
        ("DPoP", Err(UnknownBinding)),
    ] {
        assert_eq!(name.parse(), expected);
    }
}

#[test]
fn claims_without_a_signature_are_supposed_and_not_remembered() {
    let issuers = shared();
    let supposed = |claims: &Value| issuers.suppose(claims.as_object().unwrap(), at(NOW));
    assert_eq!(supposed(&claims()).unwrap().subject, "alice");
    assert_eq!(supposed(&with("iss", json!("x"))), Err(Denial::IssuerUnknown));
    assert_eq!(supposed(&without("iss")), Err(fault(TokenFault::Malformed)));
    assert_eq!(supposed(&with("exp", json!(1))), Err(Denial::TokenExpired));
    assert_eq!(issuers.cached_tokens(), (0, 0));
}

fn with_keys(keys: &[&Signer]) -> Issuers {
    let set = KeySet::parse(&jwks(keys)).unwrap();
    issuers(rules(&[Algorithm::ES256, Algorithm::RS256]), KeySource::File(set))
}

#[test]
fn keys_are_found_by_id_or_when_there_is_no_choice() {
    let (first, second, other_curve) = (Signer::es256("a"), Signer::es256("b"), Signer::es384("c"));
    let both = with_keys(&[&first, &second, &other_curve]);
    let es256 = |signer: &Signer, kid| signer.sign(kid, &claims());
    assert!(verify(&both, &es256(&first, Some("a"))).is_ok());
    assert!(verify(&both, &es256(&second, Some("b"))).is_ok());
    assert_eq!(verify(&both, &es256(&first, Some("b"))), Err(fault(TokenFault::Signature)));
    assert_eq!(verify(&both, &es256(&first, Some("z"))), Err(fault(TokenFault::Key)));
    assert_eq!(verify(&both, &es256(&first, Some("c"))), Err(fault(TokenFault::Key)));
    assert_eq!(verify(&both, &es256(&first, None)), Err(fault(TokenFault::Key)));
    assert!(verify(&with_keys(&[&first, &other_curve]), &es256(&first, None)).is_ok());
}

#[test]
fn a_token_that_lacks_a_part_or_has_one_too_many_is_no_token() {
    let signer = Signer::es256("a");
    let issuers = with_keys(&[&signer]);
    let token = signer.sign(Some("a"), &claims());
    assert!(verify(&issuers, &token).is_ok());
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    for text in [
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
        format!("{header}.{signature}"),
        format!(".{payload}.{signature}"),
        format!("{payload}.{signature}"),
        format!(".{payload}."),
        payload.to_owned(),
        String::new(),
        format!("{token}."),
        format!("{token}.{payload}"),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        json!({ "payload": payload, "protected": header, "signature": signature }).to_string(),
    ] {
        assert!(Bearer::parse(&text).is_none(), "{text}");
    }
    for text in [format!("{header}..{signature}"), format!("{header}.{payload}.A"), format!("{header}.{payload}.AB")] {
        assert_eq!(verify(&issuers, &text), Err(fault(TokenFault::Malformed)), "{text}");
    }
    let renamed = BASE64_URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ES256","kid":"a","x":0}"#);
    assert_eq!(verify(&issuers, &format!("{renamed}.{payload}.{signature}")), Err(fault(TokenFault::Signature)));
}

#[test]
fn a_public_key_is_no_secret_however_it_is_written() {
    let signer = Signer::es256("a");
    let coordinate = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(signer.jwk[name].as_str().unwrap()).unwrap();
    let point = [&[4][..], &coordinate("x"), &coordinate("y")].concat();
    let secrets = [signer.jwk.to_string().into_bytes(), point, coordinate("x"), Vec::new()];
    let set = || KeySource::File(KeySet::parse(&jwks(&[&signer])).unwrap());
    let careful = issuers(rules(&[Algorithm::ES256]), set());
    // The configuration refuses such a list; the keys would not care either.
    let careless = issuers(rules(&[Algorithm::ES256, Algorithm::HS256]), set());
    for secret in secrets {
        let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
        for kid in [None, Some("a".to_owned())] {
            header.kid = kid;
            let token = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
            assert_eq!(verify(&careful, &token), Err(fault(TokenFault::Algorithm)));
            assert_eq!(verify(&careless, &token), Err(fault(TokenFault::Key)));
        }
    }
}

#[test]
fn a_key_that_the_token_brings_is_not_looked_at() {
    let (signer, attacker) = (Signer::es256("a"), Signer::es256("a"));
    let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some("a".to_owned());
    header.jwk = Some(serde_json::from_value(attacker.jwk.clone()).unwrap());
    let token = jsonwebtoken::encode(&header, &claims(), &attacker.key).unwrap();
    assert_eq!(verify(&with_keys(&[&signer]), &token), Err(fault(TokenFault::Header)));
}

#[test]
fn every_issuer_has_its_own_keys() {
    let (one, other) = (Signer::es256("a"), Signer::es256("a"));
    let config = |issuer: &str, signer: &Signer| {
        let mut rules = rules(&[Algorithm::ES256]);
        rules.issuer = issuer.to_owned();
        let keys = KeySource::File(KeySet::parse(&jwks(&[signer])).unwrap());
        IssuerConfig { rules, keys, life: KeyLife::default(), signing_key: None }
    };
    let configs = vec![config("https://one.test", &one), config("https://other.test", &other)];
    let (issuers, _) = Issuers::new(configs, None, CacheBounds::default());
    let (to_one, to_other) = (with("iss", json!("https://one.test")), with("iss", json!("https://other.test")));
    assert!(verify(&issuers, &one.sign(Some("a"), &to_one)).is_ok());
    assert!(verify(&issuers, &other.sign(Some("a"), &to_other)).is_ok());
    assert_eq!(verify(&issuers, &one.sign(Some("a"), &to_other)), Err(fault(TokenFault::Signature)));
}

#[test]
fn an_algorithm_that_the_issuer_does_not_list_is_refused_though_a_key_would_fit() {
    let signer = Signer::es384("a");
    assert_eq!(verify(&with_keys(&[&signer]), &signer.sign(Some("a"), &claims())), Err(fault(TokenFault::Algorithm)));
}

#[test]
fn keys_that_have_not_come_yet_are_our_fault_not_the_callers() {
    let source = KeySource::Uri(reqwest::Url::parse("https://issuer.test/jwks").unwrap());
    let config =
        IssuerConfig { rules: rules(&[Algorithm::ES256]), keys: source, life: KeyLife::default(), signing_key: None };
    let (issuers, fetchers) = Issuers::new(vec![config], None, CacheBounds::default());
    assert_eq!(fetchers.len(), 1);
    assert!(!issuers.are_ready());
    let token = Signer::es256("a").sign(None, &claims());
    assert_eq!(verify(&issuers, &token), Err(Denial::IssuerUnavailable { issuer: "test".to_owned() }));
    assert_eq!(issuers.cached_tokens(), (0, 0), "it is not the token that was refused");
}

#[test]
fn a_verified_token_is_remembered_until_it_expires() {
    let issuers = shared();
    let token = hs256(&with("nbf", json!(NOW - 5)));
    let bearer = Bearer::parse(&token).unwrap();
    let first = issuers.verify(bearer, at(NOW)).unwrap();
    let again = issuers.verify(bearer, at(NOW + 600 + 29)).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &again));
    assert_eq!(issuers.cached_tokens(), (1, 0));
    assert_eq!(verify_at(&issuers, &token, NOW + 600 + 30), Err(Denial::TokenExpired));
    assert_eq!(verify_at(&issuers, &token, NOW - 36), Err(Denial::TokenNotYetValid), "the clock was set back");
}

#[test]
fn a_refused_token_is_remembered_and_one_that_will_be_valid_is_not() {
    let issuers = shared();
    let refused =
        [with("aud", json!("x")), with("exp", json!(NOW - 60)), with("exp", json!(NOW + 9999)), without("sub")];
    for (number, claims) in refused.iter().enumerate() {
        let token = hs256(claims);
        let denial = verify(&issuers, &token).unwrap_err();
        assert_eq!(issuers.cached_tokens(), (0, number as u64 + 1), "{claims}");
        assert_eq!(verify(&issuers, &token), Err(denial));
    }
    let count = issuers.cached_tokens();
    let early = hs256(&with("nbf", json!(NOW + 31)));
    assert_eq!(verify(&issuers, &early), Err(Denial::TokenNotYetValid));
    assert!(verify_at(&issuers, &early, NOW + 1).is_ok());
    for cheap in [hs256(&with("iss", json!("x"))), hs256_of("{"), "a.b.c".to_owned()] {
        assert!(verify(&issuers, &cheap).is_err());
    }
    assert_eq!(issuers.cached_tokens(), (1, count.1), "what costs nothing to refuse is not remembered");
}
