//! No header and no token makes a caller without a signature, and none panics.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use portcullis::config::{IssuerConfig, IssuerRules, KeyLife, KeySource};
use portcullis::credential::Secret;
use portcullis::identity::{Bearer, CacheBounds, Issuers};

static ISSUERS: LazyLock<Issuers> = LazyLock::new(|| {
    let rules = IssuerRules {
        name: "fuzz".to_owned(),
        issuer: "i".to_owned(),
        audience: vec!["a".to_owned()],
        algorithms: vec!["HS256".parse().unwrap()],
        max_lifetime: None,
        leeway: Duration::from_secs(30),
        required_claims: Vec::new(),
        scope_claim: None,
        team_claim: None,
        subject_claim: "sub".parse().unwrap(),
        email_claim: None,
        required_binding: None,
    };
    let keys = KeySource::Secret(Secret::new(b"nobody-at-all-knows-this-secret-here".to_vec()));
    let config = IssuerConfig { rules, keys, life: KeyLife::default(), signing_key: None };
    Issuers::new(vec![config], None, CacheBounds::default()).0
});

fuzz_target!(|input: (Option<Vec<u8>>, Option<Vec<u8>>)| {
    let mut headers = HeaderMap::new();
    for (name, value) in [("authorization", input.0), ("x-api-key", input.1)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(&value).ok()) {
            headers.append(name, value);
        }
    }
    if let Ok(bearer) = Bearer::from_headers(&headers) {
        assert!(ISSUERS.verify(bearer, SystemTime::UNIX_EPOCH).is_err());
    }
});
