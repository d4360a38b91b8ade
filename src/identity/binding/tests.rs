use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::HeaderValue;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const TOKEN: &str = "aaa.bbb.ccc";
const CERTIFICATE: [u8; 32] = [7; 32];

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// A client with a key of its own.
struct Client {
    key: EncodingKey,
    algorithm: Algorithm,
    jwk: Jwk,
}

impl Client {
    fn new(algorithm: Algorithm) -> Self {
        let generate = |kind| rcgen::KeyPair::generate_for(kind).unwrap();
        let pair = match algorithm {
            Algorithm::ES256 => generate(&rcgen::PKCS_ECDSA_P256_SHA256),
            Algorithm::ES384 => generate(&rcgen::PKCS_ECDSA_P384_SHA384),
            Algorithm::EdDSA => generate(&rcgen::PKCS_ED25519),
            _ => generate(&rcgen::PKCS_RSA_SHA256),
        };
        let pem = pair.serialize_pem();
        let (key, jwk) = match algorithm {
            Algorithm::EdDSA => {
                let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key_raw());
                let jwk = serde_json::from_value(json!({ "kty": "OKP", "crv": "Ed25519", "x": x }));
                (EncodingKey::from_ed_pem(pem.as_bytes()).unwrap(), jwk.unwrap())
            }
            Algorithm::ES256 | Algorithm::ES384 => {
                let key = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
                let jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
                (key, jwk)
            }
            _ => {
                let key = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
                let jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
                (key, jwk)
            }
        };
        Self { key, algorithm, jwk }
    }

    fn thumbprint(&self) -> [u8; 32] {
        let text = self.jwk.thumbprint(ThumbprintHash::SHA256).unwrap();
        BASE64_URL_SAFE_NO_PAD.decode(text).unwrap().try_into().unwrap()
    }

    fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": format!("{:?}", self.algorithm), "jwk": self.jwk })
    }

    /// Signs a header and claims, whatever they say.
    fn sign(&self, header: &str, claims: &str) -> String {
        let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        let signed = format!("{header}.{claims}");
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }

    fn proof(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    fn confirmation(&self) -> Confirmation {
        Confirmation { certificate: None, dpop_key: Some(self.thumbprint()) }
    }
}

fn claims(id: &str) -> Value {
    json!({
        "jti": id,
        "htm": "POST",
        "htu": "https://gateway.example/v1/messages",
        "iat": 1_800_000_000,
        "ath": BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(TOKEN)),
        "nonce": "ignored",
    })
}

fn request(proof: Presence<'_>) -> Presented<'_> {
    Presented {
        certificate: None,
        proof,
        scheme: Scheme::Dpop,
        token: TOKEN,
        method: "POST",
        uri_scheme: "https",
        authority: "gateway.example",
        path: "/v1/messages?beta=true",
    }
}

fn binder() -> Binder {
    Binder::new(vec!["https://gateway.example".parse().unwrap()])
}

/// What `proof` brings a request whose token is bound to the client's key.
fn tried(client: &Client, proof: &str) -> Result<(), Denial> {
    binder().check(&client.confirmation(), None, &request(Presence::Once(proof.as_bytes())), now())
}

fn refused(fault: BindingFault) -> Result<(), Denial> {
    Err(Denial::TokenBinding(fault))
}

#[test]
fn a_token_is_good_with_what_it_is_bound_to_and_with_nothing_else() {
    use BindingFault::{Certificate, ProofMissing, Unbound};
    use RequiredBinding as Required;
    let client = Client::new(Algorithm::ES256);
    let proof = client.proof(&claims("1"));
    let proof = || Presence::Once(proof.as_bytes());
    let unbound = Confirmation::default();
    let certificate = Confirmation { certificate: Some(CERTIFICATE), dpop_key: None };
    let key = client.confirmation();
    let both = Confirmation { certificate: Some(CERTIFICATE), ..key.clone() };
    let bearer = |proof| Presented { scheme: Scheme::Bearer, ..request(proof) };
    let with = |shown, proof| Presented { certificate: Some(shown), ..bearer(proof) };
    let none = Presence::Absent;
    for (confirmation, required, presented, expected) in [
        (&unbound, None, bearer(none), Ok(())),
        (&unbound, None, bearer(proof()), Ok(())),
        (&unbound, None, request(proof()), refused(Unbound)),
        (&unbound, Some(Required::Any), with(CERTIFICATE, proof()), refused(Unbound)),
        (&unbound, Some(Required::Certificate), with(CERTIFICATE, none), refused(Unbound)),
        (&unbound, Some(Required::Dpop), request(proof()), refused(Unbound)),
        (&certificate, None, with(CERTIFICATE, none), Ok(())),
        (&certificate, Some(Required::Certificate), with(CERTIFICATE, none), Ok(())),
        (&certificate, Some(Required::Any), with(CERTIFICATE, none), Ok(())),
        (&certificate, Some(Required::Dpop), with(CERTIFICATE, proof()), refused(Unbound)),
        (&certificate, None, with([8; 32], none), refused(Certificate)),
        (&certificate, None, bearer(none), refused(Certificate)),
        (&key, None, request(proof()), Ok(())),
        (&key, None, bearer(proof()), Ok(())),
        (&key, None, Presented { scheme: Scheme::ApiKey, ..request(proof()) }, Ok(())),
        (&key, Some(Required::Dpop), request(proof()), Ok(())),
        (&key, Some(Required::Any), request(proof()), Ok(())),
        (&key, Some(Required::Certificate), with(CERTIFICATE, proof()), refused(Unbound)),
        (&key, None, with(CERTIFICATE, none), refused(ProofMissing)),
        (&key, None, request(Presence::Repeated), refused(ProofMissing)),
        (&both, None, with(CERTIFICATE, proof()), Ok(())),
        (&both, None, with(CERTIFICATE, none), refused(ProofMissing)),
        (&both, None, request(proof()), refused(Certificate)),
    ] {
        let found = binder().check(confirmation, required, &presented, now());
        assert_eq!(found, expected, "{confirmation:?} {required:?} {:?}", presented.certificate);
    }
}

#[test]
fn every_asymmetric_algorithm_of_the_list_serves() {
    for algorithm in [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA, Algorithm::RS256, Algorithm::PS256] {
        let client = Client::new(algorithm);
        assert_eq!(tried(&client, &client.proof(&claims("1"))), Ok(()), "{algorithm:?}");
    }
}

#[test]
fn a_claim_that_is_not_this_requests_is_refused() {
    let client = Client::new(Algorithm::ES256);
    for (name, value) in [
        ("jti", json!("")),
        ("jti", json!("x".repeat(513))),
        ("jti", json!(5)),
        ("htm", json!("GET")),
        ("htm", json!("post")),
        ("htu", json!("https://gateway.example/v1/models")),
        ("htu", json!("https://elsewhere.example/v1/messages")),
        ("htu", json!("/v1/messages")),
        ("iat", json!("1800000000")),
        ("iat", json!(-1)),
        ("iat", json!(1e300)),
        ("ath", json!(BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest("other")))),
        ("ath", json!("")),
    ] {
        let mut wrong = claims("1");
        wrong[name] = value;
        assert_eq!(tried(&client, &client.proof(&wrong)), refused(BindingFault::ProofInvalid), "{wrong}");
        wrong.as_object_mut().unwrap().remove(name);
        assert_eq!(tried(&client, &client.proof(&wrong)), refused(BindingFault::ProofInvalid), "without {name}");
    }
}

#[test]
fn a_header_that_is_no_proofs_is_refused() {
    let client = Client::new(Algorithm::ES256);
    let p384 = Client::new(Algorithm::ES384);
    for (name, value) in [
        ("typ", json!("JWT")),
        ("typ", json!(null)),
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("ES384")),
        ("alg", json!("RS256")),
        ("jwk", json!(p384.jwk)),
        ("jwk", json!([])),
        ("crit", json!(["b64"])),
    ] {
        let mut wrong = client.header();
        wrong[name] = value;
        let proof = client.sign(&wrong.to_string(), &claims("1").to_string());
        assert_eq!(tried(&client, &proof), refused(BindingFault::ProofInvalid), "{wrong}");
    }
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        let mut wrong = client.header();
        wrong["jwk"][private] = json!("AQAB");
        let proof = client.sign(&wrong.to_string(), &claims("1").to_string());
        assert_eq!(tried(&client, &proof), refused(BindingFault::ProofInvalid), "{private}");
    }
}

#[test]
fn a_proof_by_another_key_is_refused() {
    let (client, thief) = (Client::new(Algorithm::ES256), Client::new(Algorithm::ES256));
    assert_eq!(tried(&client, &thief.proof(&claims("1"))), refused(BindingFault::ProofInvalid));
    // With the right key in the header, and a signature that is not by it.
    let proof = thief.sign(&client.header().to_string(), &claims("1").to_string());
    assert_eq!(tried(&client, &proof), refused(BindingFault::ProofInvalid));
}

#[test]
fn a_short_rsa_key_is_refused_though_its_thumbprint_fits() {
    let short = BASE64_URL_SAFE_NO_PAD.encode([0xc3; 128]);
    let thumbprint = Sha256::digest(format!(r#"{{"e":"AQAB","kty":"RSA","n":"{short}"}}"#)).into();
    let header = json!({ "typ": "dpop+jwt", "alg": "RS256", "jwk": { "kty": "RSA", "n": short, "e": "AQAB" } });
    let proof = Client::new(Algorithm::ES256).sign(&header.to_string(), &claims("1").to_string());
    let bound = Confirmation { certificate: None, dpop_key: Some(thumbprint) };
    let found = binder().check(&bound, None, &request(Presence::Once(proof.as_bytes())), now());
    assert_eq!(found, refused(BindingFault::ProofInvalid));
}

#[test]
fn a_member_that_stands_twice_is_refused() {
    let client = Client::new(Algorithm::ES256);
    let (header, claims) = (client.header().to_string(), claims("1").to_string());
    let twice = |json: &str, member: &str| format!("{{{member},{}", &json[1..]);
    assert_eq!(tried(&client, &client.sign(&header, &claims)), Ok(()));
    for proof in [
        client.sign(&twice(&header, r#""typ":"dpop+jwt""#), &claims),
        client.sign(&twice(&header, r#""alg":"none""#), &claims),
        client.sign(&header.replace(r#""jwk":{"#, r#""jwk":{"kty":"EC","#), &claims),
        client.sign(&header, &twice(&claims, r#""jti":"2""#)),
        client.sign(&header, &twice(&claims, r#""htm":"POST""#)),
    ] {
        assert_eq!(tried(&client, &proof), refused(BindingFault::ProofInvalid), "{proof}");
    }
}

#[test]
fn what_is_not_one_compact_jws_is_refused() {
    let client = Client::new(Algorithm::ES256);
    let proof = client.proof(&claims("1"));
    let [header, body, signature] = proof.split('.').collect::<Vec<_>>().try_into().unwrap();
    for wrong in [
        String::new(),
        "..".to_owned(),
        format!("{header}.{body}"),
        format!("{header}.{body}."),
        format!("{header}.{body}.{signature}="),
        format!("{proof}.{signature}"),
        format!("{proof}, {proof}"),
        format!(" {proof}"),
        format!("{header}.{}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(claims("2").to_string())),
        client.sign(&client.header().to_string(), "[\"1\", \"POST\"]"),
        client.sign(&client.header().to_string(), &claims(&"x".repeat(9000)).to_string()),
    ] {
        assert_eq!(tried(&client, &wrong), refused(BindingFault::ProofInvalid), "{wrong:.80}");
    }
    let found = binder().check(&client.confirmation(), None, &request(Presence::Once(b"\xff.\xff.\xff")), now());
    assert_eq!(found, refused(BindingFault::ProofInvalid));
}

#[test]
fn a_proof_is_good_for_a_minute_either_way() {
    let client = Client::new(Algorithm::ES256);
    let proof = client.proof(&claims("1"));
    let presented = request(Presence::Once(proof.as_bytes()));
    let second = Duration::from_secs(1);
    for (at, good) in [
        (now() - WINDOW, true),
        (now() + WINDOW, true),
        (now() - WINDOW - second, false),
        (now() + WINDOW + second, false),
        (UNIX_EPOCH, false),
    ] {
        assert_eq!(binder().check(&client.confirmation(), None, &presented, at).is_ok(), good, "{at:?}");
    }
}

#[test]
fn a_proof_is_good_once() {
    let (client, other) = (Client::new(Algorithm::ES256), Client::new(Algorithm::ES256));
    let binder = binder();
    let check = |client: &Client, proof: &str| {
        binder.check(&client.confirmation(), None, &request(Presence::Once(proof.as_bytes())), now())
    };
    let first = client.proof(&claims("1"));
    assert_eq!(check(&client, &first), Ok(()));
    assert_eq!(check(&client, &first), refused(BindingFault::ProofReplayed));
    // Signed anew it is the same proof still; another id or another key is another.
    assert_eq!(check(&client, &client.proof(&claims("1"))), refused(BindingFault::ProofReplayed));
    assert_eq!(check(&client, &client.proof(&claims("2"))), Ok(()));
    assert_eq!(check(&other, &other.proof(&claims("1"))), Ok(()));
}

#[test]
fn no_proof_is_forgotten_below_the_bound() {
    let binder = binder();
    let seen = &binder.seen;
    let name = |at: u64| <[u8; 32]>::from(Sha256::digest(at.to_be_bytes()));
    for at in 0..MAX_SEEN {
        assert!(seen.entry(name(at)).or_insert(()).is_fresh());
    }
    seen.run_pending_tasks();
    for at in 0..MAX_SEEN {
        assert!(!seen.entry(name(at)).or_insert(()).is_fresh(), "{at} is forgotten");
    }
    assert_eq!(binder.forgotten(), 0);
}

#[test]
fn above_the_bound_the_oldest_proofs_are_forgotten_and_counted() {
    let forgotten = Arc::default();
    let seen = proofs_seen(10, Arc::clone(&forgotten));
    for at in 0..15 {
        seen.insert([at; 32], ());
        seen.run_pending_tasks();
    }
    assert_eq!(forgotten.load(Ordering::Relaxed), 5);
    assert!((0..5).all(|at| !seen.contains_key(&[at; 32])) && (5..15).all(|at| seen.contains_key(&[at; 32])));
}

#[test]
fn of_many_that_use_one_proof_at_once_one_is_served() {
    let client = Client::new(Algorithm::ES256);
    let (binder, confirmation) = (binder(), client.confirmation());
    for round in 0..100 {
        let proof = client.proof(&claims(&round.to_string()));
        let start = std::sync::Barrier::new(8);
        let check = || {
            start.wait();
            binder.check(&confirmation, None, &request(Presence::Once(proof.as_bytes())), now()).is_ok()
        };
        let served = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(check)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|served| *served).count()
        });
        assert_eq!(served, 1);
    }
}

#[test]
fn a_proof_that_was_refused_is_not_used_up() {
    let client = Client::new(Algorithm::ES256);
    let (binder, proof) = (binder(), client.proof(&claims("1")));
    let here = request(Presence::Once(proof.as_bytes()));
    let elsewhere = Presented { path: "/v1/models", ..here };
    let check = |presented| binder.check(&client.confirmation(), None, presented, now());
    assert_eq!(check(&elsewhere), refused(BindingFault::ProofInvalid));
    assert_eq!(check(&here), Ok(()));
}

#[test]
fn without_configured_origins_the_request_names_its_own() {
    let client = Client::new(Algorithm::ES256);
    for (scheme, authority, good) in [
        ("https", "gateway.example", true),
        ("https", "GATEWAY.example:443", true),
        ("http", "gateway.example", false),
        ("https", "elsewhere.example", false),
        ("https", "", false),
    ] {
        let proof = client.proof(&claims("1"));
        let presented = Presented { uri_scheme: scheme, authority, ..request(Presence::Once(proof.as_bytes())) };
        let found = Binder::new(Vec::new()).check(&client.confirmation(), None, &presented, now());
        assert_eq!(found.is_ok(), good, "{scheme} {authority}");
        // What the client saw is configured: what the request names does not count.
        let found = binder().check(&client.confirmation(), None, &presented, now());
        assert_eq!(found, Ok(()), "{scheme} {authority}");
    }
}

#[test]
fn the_header_may_be_there_once() {
    let mut headers = HeaderMap::new();
    assert!(Presence::of_proof(&headers) == Presence::Absent);
    headers.append("DPoP", HeaderValue::from_static("one"));
    assert!(Presence::of_proof(&headers) == Presence::Once(b"one"));
    headers.append("dpop", HeaderValue::from_static("two"));
    assert!(Presence::of_proof(&headers) == Presence::Repeated);
}

proptest! {
    #[test]
    fn any_text_is_refused_and_none_panics(text in ".*", header in ".*", claims in ".*", bytes: Vec<u8>) {
        let parts = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        let bound = Confirmation { certificate: None, dpop_key: Some([1; 32]) };
        let binder = binder();
        for proof in [text.into_bytes(), format!("{}.{}.AA", parts[0], parts[1]).into_bytes(), bytes] {
            let found = binder.check(&bound, None, &request(Presence::Once(&proof)), now());
            prop_assert_eq!(found, refused(BindingFault::ProofInvalid));
        }
    }

    #[test]
    fn a_proof_with_one_byte_changed_is_refused(at in 0usize..400, to in any::<u8>()) {
        let client = Client::new(Algorithm::EdDSA);
        let proof = client.proof(&claims("1")).into_bytes();
        let mut changed = proof.clone();
        let at = at % changed.len();
        changed[at] = to;
        prop_assume!(changed != proof);
        let found = binder().check(&client.confirmation(), None, &request(Presence::Once(&changed)), now());
        prop_assert_eq!(found, refused(BindingFault::ProofInvalid));
    }
}
