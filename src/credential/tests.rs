//! What the tests of this room share.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;
use serde_json::json;

use super::*;
use crate::claude::{self, EndpointGroup, Shape};
use crate::identity::Caller;
use crate::policy::{AddressRules, Grant, Permit, Policy};

/// So many seconds into the tests' time.
pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

/// A permit by these grants: that of a batch with a request under each.
pub(super) fn permit(grants: &[&str]) -> Permit {
    let model = |grant: &str| format!("claude-haiku-{grant}");
    let rules = grants.iter().map(|grant| {
        Grant::new(grant, vec![model(grant).parse().unwrap()], vec![EndpointGroup::Messages, EndpointGroup::Batches])
    });
    let policy = Policy::new(AddressRules::default(), rules.collect(), Vec::new());
    let requests = grants.iter().map(|grant| {
        let params = json!({"model": model(grant), "max_tokens": 1, "messages": []});
        json!({"custom_id": grant, "params": params})
    });
    let body = json!({ "requests": requests.collect::<Vec<_>>() }).to_string();
    let call = claude::peek(body.as_bytes(), Shape::Batch).unwrap();
    let endpoint = claude::find(&Method::POST, "/v1/messages/batches").unwrap().endpoint;
    let caller = Caller::for_tests("alice", grants, IpAddr::V4(Ipv4Addr::LOCALHOST), at(0));
    let permit = policy.authorize(&caller, endpoint, &call, &[], at(0)).unwrap();
    assert_eq!(permit.grants().collect::<Vec<_>>(), grants);
    permit
}

/// A key for everyone that is the secret `sk-{name}`.
pub(super) fn named(name: &str) -> NamedKey {
    let secret = UpstreamKey::new(name, &Secret::new(format!("sk-{name}").into_bytes())).unwrap();
    NamedKey {
        name: name.to_owned(),
        origin: Origin::Secret(secret, SecretSource::Environment("UNUSED".to_owned())),
        teams: Vec::new(),
        grants: Vec::new(),
        not_after: None,
    }
}

/// A key for everyone that a file holds.
pub(super) fn secret_in(path: &Path) -> NamedKey {
    let source = SecretSource::File(path.to_owned());
    let key = UpstreamKey::new("filed", &source.read().unwrap()).unwrap();
    NamedKey { origin: Origin::Secret(key, source), ..named("filed") }
}

/// A key for everyone that federation gives, with its identity token in a file.
pub(super) fn federated(token: &Path) -> NamedKey {
    NamedKey {
        origin: Origin::Federation(Federation {
            token: SecretSource::File(token.to_owned()),
            rule: "fdrl_1".to_owned(),
            organization: "4d7b4d5c-0000-4000-8000-000000000001".to_owned(),
            service_account: None,
            workspace: Some("wrkspc_1".to_owned()),
        }),
        ..named("federated")
    }
}
