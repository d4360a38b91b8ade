use serde_json::{Value, json};

use super::super::tests::Signer;
use super::*;

fn parse(document: &Value) -> Result<KeySet, KeySetError> {
    KeySet::parse(document.to_string().as_bytes())
}

fn changed(jwk: &Value, name: &str, value: Value) -> Value {
    let mut changed = jwk.clone();
    changed[name] = value;
    changed
}

/// How many keys of the set `{jwk, good}` are left of `jwk`.
fn is_kept(jwk: &Value) -> bool {
    let good = Signer::es256("good").jwk;
    parse(&json!({ "keys": [jwk, good] })).unwrap().len() == 2
}

fn rsa(bytes: usize) -> Value {
    // Its last byte odd, as of a product of two primes.
    json!({ "kty": "RSA", "n": BASE64_URL_SAFE_NO_PAD.encode(vec![0xff; bytes]), "e": "AQAB", "kid": "rsa" })
}

#[test]
fn a_keys_own_limits_are_honoured() {
    let jwk = Signer::es256("a").jwk;
    for (name, value, kept) in [
        ("use", json!("sig"), true),
        ("use", json!("enc"), false),
        ("use", json!(["sig"]), false),
        ("key_ops", json!(["verify"]), true),
        ("key_ops", json!(["sign"]), false),
        ("key_ops", json!([]), false),
        ("key_ops", json!("verify"), false),
        ("alg", json!("ES256"), true),
        ("alg", json!("ES384"), false),
        ("alg", json!("HS256"), false),
        ("alg", json!("something new"), false),
        ("alg", json!(7), false),
        ("kid", json!(7), false),
        ("kty", json!("oct"), false),
        ("crv", json!("P-521"), false),
        ("crv", json!("secp256k1"), false),
        ("d", json!("AAAA"), false),
        ("x5c", json!(7), true),
    ] {
        assert_eq!(is_kept(&changed(&jwk, name, value.clone())), kept, "{name} {value}");
    }
}

#[test]
fn sizes_and_encodings_are_honoured() {
    for (bytes, kept) in [(128, false), (255, false), (256, true), (1024, true), (1025, false)] {
        assert_eq!(is_kept(&rsa(bytes)), kept, "{bytes}");
    }
    let modulus = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let mut short = vec![0x7f];
    short.extend([0xff; 255]);
    for (name, value, kept) in [
        ("n", json!(modulus(&[&[0], &[0xff; 256][..]].concat())), true),
        ("n", json!(modulus(&[&[0; 200], &[0xff; 128][..]].concat())), false),
        ("n", json!(modulus(&short)), false),
        ("n", json!(""), false),
        ("n", json!("AA"), false),
        ("n", json!("not base64url!"), false),
        ("e", json!("Aw"), true),
        ("e", json!("AQ"), false),
        ("e", json!("Ag"), false),
        ("e", json!(""), false),
        ("e", json!(modulus(&[0xff; 256])), false),
        ("alg", json!("PS512"), true),
        ("alg", json!("ES256"), false),
    ] {
        assert_eq!(is_kept(&changed(&rsa(256), name, value.clone())), kept, "{name} {value}");
    }
    let jwk = Signer::es256("a").jwk;
    let x = BASE64_URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
    let mut off = x.clone();
    off[31] ^= 1;
    for (name, value) in [
        ("x", json!(modulus(&off))),
        ("x", json!(modulus(&[0xff; 32]))),
        ("x", json!(modulus(&x[1..]))),
        ("x", json!(modulus(&[&[0][..], &x].concat()))),
        ("y", Value::Null),
        ("y", json!("")),
    ] {
        assert!(!is_kept(&changed(&jwk, name, value.clone())), "off the curve: {name} {value}");
    }
    let ed25519 = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    assert!(is_kept(&ed25519) && is_kept(&changed(&ed25519, "alg", json!("Ed25519"))));
    assert!(!is_kept(&changed(&ed25519, "crv", json!("Ed448"))) && !is_kept(&changed(&ed25519, "x", json!("AAAA"))));
}

#[test]
fn a_bad_key_costs_only_itself_and_a_set_without_keys_is_none() {
    let good = Signer::es256("good").jwk;
    let secret = json!({ "kty": "oct", "k": "AAAA", "alg": "HS256" });
    let bad = [json!(7), json!(null), json!([]), json!({}), json!({ "kty": "new" }), secret, rsa(128)];
    let with_good: Vec<_> = bad.iter().chain([&good]).collect();
    assert_eq!(parse(&json!({ "keys": with_good })).unwrap().len(), 1);
    let twice = format!(r#"{{"keys":[{},{}]}}"#, good, good.to_string().replacen('{', r#"{"kty":"EC","#, 1));
    assert_eq!(KeySet::parse(twice.as_bytes()).unwrap().len(), 1, "a member that is there twice");
    let fault = |document: Value| parse(&document).map(|set| set.len());
    assert_eq!(fault(json!({ "keys": bad })), Err(KeySetError::Empty));
    assert_eq!(fault(json!({ "keys": [] })), Err(KeySetError::Empty));
    assert_eq!(fault(json!({ "keys": vec![&good; 100] })), Ok(100));
    assert_eq!(fault(json!({ "keys": vec![&good; 101] })), Err(KeySetError::TooMany));
    for document in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[}"#, "<html>"] {
        assert_eq!(KeySet::parse(document.as_bytes()).map(|_| ()), Err(KeySetError::Shape), "{document}");
    }
    for (open, close) in [("[", "]"), (r#"{"keys":["#, "]}"), (r#"{"kty":"RSA","x5c":["#, "]}")] {
        let deep = format!("{}{}", open.repeat(20_000), close.repeat(20_000));
        let set = KeySet::parse(format!(r#"{{"keys":[{deep},{good}]}}"#).as_bytes());
        assert_eq!(set.map(|set| set.len()), Ok(1), "{open}");
    }
}

#[test]
fn keys_that_share_an_id_are_all_tried_and_never_many() {
    let signers: Vec<_> = (0..6).map(|_| Signer::es256("same")).collect();
    let set = parse(&json!({ "keys": signers.iter().map(|signer| &signer.jwk).collect::<Vec<_>>() })).unwrap();
    assert_eq!(set.len(), 6);
    assert_eq!(set.fitting(Algorithm::ES256, Some("same")).count(), MAX_TRIED);
    assert_eq!(set.fitting(Algorithm::ES256, Some("other")).count(), 0);
    assert_eq!(set.fitting(Algorithm::ES384, Some("same")).count(), 0);
    assert_eq!(set.fitting(Algorithm::ES256, None).count(), 0, "without an id there would be a choice");
    let token = signers[1].sign(Some("same"), &json!({}));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let verifying = |key: &&Arc<Key>| key.verifies(Algorithm::ES256, message.as_bytes(), &signature);
    assert_eq!(set.fitting(Algorithm::ES256, Some("same")).filter(verifying).count(), 1);
}

#[test]
fn a_secret_verifies_hmac_alone() {
    let shared = SharedKey::new(&Secret::new(b"key".to_vec()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"key"), b"message");
    assert!(shared.verifies(Algorithm::HS256, b"message", tag.as_ref()));
    assert!(!shared.verifies(Algorithm::HS256, b"message", &tag.as_ref()[..16]), "a part of a tag is none");
    assert!(!shared.verifies(Algorithm::HS256, b"message", b""));
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::HS256) {
        assert!(!shared.verifies(algorithm, b"message", tag.as_ref()), "{algorithm}");
    }
    let public = parse(&json!({ "keys": [Signer::es256("a").jwk] })).unwrap();
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_hmac()) {
        assert_eq!(public.fitting(algorithm, None).count(), 0);
    }
}
