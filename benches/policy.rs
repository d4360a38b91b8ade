//! The decision on a call whose body has been read: the matching grant is the last of many.

use std::hint::black_box;
use std::net::IpAddr;

use criterion::Criterion;
use http::Method;
use portcullis::claude::{EndpointGroup, Shape, find, peek};
use portcullis::policy::{AddressRules, Grant, Policy};

use crate::support;

fn policy(grants: usize) -> Policy {
    let grant = |scope: String, models: &[&str]| Grant {
        scope,
        models: models.iter().map(|pattern| pattern.parse().unwrap()).collect(),
        endpoints: vec![EndpointGroup::CountTokens, EndpointGroup::Messages],
        max_tokens: Some(32_000),
    };
    let mut all: Vec<Grant> = (1..grants)
        .map(|number| grant(format!("claude:scope-{number}"), &["claude-haiku-*", "claude-sonnet-*"]))
        .collect();
    all.push(grant("claude:opus".to_owned(), &["claude-3-opus-*", "claude-opus-*"]));
    let deny = (0..100).map(|number| format!("10.66.{number}.0/24").parse().unwrap()).collect();
    Policy::new(AddressRules { allow: vec!["10.0.0.0/8".parse().unwrap()], deny }, all)
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    let caller = support::caller();
    let call = peek(&support::message(2_000), Shape::Message).unwrap();
    for grants in [3, 100] {
        let policy = policy(grants);
        group.bench_function(format!("decide_{grants}_grants"), |bencher| {
            bencher.iter(|| {
                let found = find(&Method::POST, black_box("/v1/messages")).unwrap();
                policy.admit(&caller, found.endpoint).unwrap();
                policy.authorize(&caller, found.endpoint, black_box(&call)).unwrap()
            });
        });
    }
    let (policy, address) = (policy(3), "10.1.2.3".parse::<IpAddr>().unwrap());
    group.bench_function("address_101_rules", |bencher| bencher.iter(|| policy.addresses().allows(black_box(address))));
}
