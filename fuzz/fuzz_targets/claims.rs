//! Claims that are accepted keep their issuer's rules, whatever else they say, and none panic.
#![no_main]

use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use portcullis::config::{IssuerConfig, IssuerRules, KeyLife, KeySource};
use portcullis::credential::Secret;
use portcullis::identity::{Accepted, CacheBounds, Caller, Issuers, RequiredClaim};
use serde_json::{Map, Value, json};

const LEEWAY: Duration = Duration::from_secs(30);
const MAX_LIFETIME: Duration = Duration::from_secs(3600);

/// One issuer that asks for everything, at claims of its own, and one that asks for nothing.
static ISSUERS: LazyLock<Issuers> = LazyLock::new(|| {
    let plain = || IssuerRules {
        name: "plain".to_owned(),
        issuer: "p".to_owned(),
        audience: vec!["a".to_owned()],
        algorithms: vec!["HS256".parse().unwrap()],
        max_lifetime: None,
        leeway: LEEWAY,
        required_claims: Vec::new(),
        scope_claim: None,
        team_claim: None,
        subject_claim: "sub".parse().unwrap(),
        email_claim: None,
        required_binding: None,
    };
    let strict = IssuerRules {
        name: "strict".to_owned(),
        issuer: "s".to_owned(),
        max_lifetime: Some(MAX_LIFETIME),
        required_claims: vec![RequiredClaim {
            claim: "/c/0".parse().unwrap(),
            accepted: Accepted::OneOf(vec!["x".to_owned()]),
        }],
        scope_claim: Some("/r/s".parse().unwrap()),
        team_claim: Some("/r/t".parse().unwrap()),
        subject_claim: "/r/u".parse().unwrap(),
        email_claim: Some("/r/e".parse().unwrap()),
        ..plain()
    };
    let keys = || KeySource::Secret(Secret::new(b"nobody-at-all-knows-this-secret-here".to_vec()));
    let config = |rules| IssuerConfig { rules, keys: keys(), life: KeyLife::default(), signing_key: None };
    Issuers::new(vec![config(plain()), config(strict)], None, CacheBounds::default()).0
});

fuzz_target!(|input: (bool, u32, &[u8])| {
    let (strict, seconds, claims) = input;
    let Ok(Value::Object(mut claims)) = serde_json::from_slice(claims) else { return };
    let now = UNIX_EPOCH + Duration::from_secs(seconds.into());
    let _ = ISSUERS.suppose(&claims, now);
    // What an issuer would set, unless the claims say it themselves.
    let usual = json!({
        "iss": if strict { "s" } else { "p" }, "aud": ["a"], "sub": "u", "c": ["x"], "r": {"u": "u"},
        "iat": seconds, "exp": u64::from(seconds) + 600,
    });
    for (name, value) in usual.as_object().into_iter().flatten() {
        claims.entry(name).or_insert_with(|| value.clone());
    }
    check(&claims, now);
});

fn check(claims: &Map<String, Value>, now: SystemTime) {
    let Ok(token) = ISSUERS.suppose(claims, now) else { return };
    let caller = Caller::new(token, Ipv4Addr::LOCALHOST.into());
    assert!(caller.expires() + LEEWAY > now);
    assert!(caller.issued().is_none_or(|issued| issued <= now + LEEWAY));
    let texts = [caller.scopes(), caller.teams()].concat();
    assert!(texts.len() <= 1024);
    let texts = texts.iter().map(String::as_str).chain(caller.token_id()).chain(caller.email());
    assert!(texts.chain([caller.subject()]).all(|text| text.len() <= 1024));
    assert!(!caller.subject().is_empty());
    let binds = caller.confirmation();
    assert_eq!(claims.contains_key("cnf"), binds.certificate.or(binds.dpop_key).is_some());
    if caller.issuer() == "strict" {
        let issued = caller.issued().unwrap_or(now);
        assert!(caller.expires().duration_since(issued).unwrap_or_default() <= MAX_LIFETIME);
    }
}
