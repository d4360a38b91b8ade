//! Decisions: on an address, and on a call from its path to its permit; the rule that decides is the last of many.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use criterion::Criterion;
use http::Method;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis::claude::{EndpointGroup, Shape, betas, find, peek};
use portcullis::policy::{AddressRules, DenyRule, Grant, Policy};

use crate::support;

fn policy(grants: usize) -> Policy {
    let grant = |scope: &str, models: &[&str]| {
        let models = models.iter().map(|pattern| pattern.parse().unwrap()).collect();
        let endpoints = vec![EndpointGroup::CountTokens, EndpointGroup::Messages];
        Grant { max_tokens: Some(32_000), max_thinking_tokens: Some(16_000), ..Grant::new(scope, models, endpoints) }
    };
    let mut all: Vec<Grant> = (1..grants)
        .map(|number| grant(&format!("claude:scope-{number}"), &["claude-haiku-*", "claude-sonnet-*"]))
        .collect();
    all.push(grant("claude:opus", &["claude-3-opus-*", "claude-opus-*"]));
    let denials = vec![DenyRule { mcp_servers: true, ..DenyRule::new("*") }];
    Policy::new(AddressRules::default(), all, denials)
}

/// Ten thousand networks apart from each other, half of them denied and half allowed, of each kind of address.
fn address_rules() -> AddressRules {
    let v4 = |n: u32| IpNet::V4(Ipv4Net::new(Ipv4Addr::from_bits(0x0a00_0000 + n * 512), 24).unwrap());
    let v6 =
        |n: u32| IpNet::V6(Ipv6Net::new(Ipv6Addr::from_bits((0x2001_0db8 << 96) + (u128::from(n) << 65)), 64).unwrap());
    let networks = |range: std::ops::Range<u32>| range.clone().map(v4).chain(range.map(v6)).collect();
    AddressRules::new(networks(5_000..10_000), networks(0..5_000))
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    let caller = support::caller();
    let body = support::message(2_000);
    for grants in [3, 100] {
        let policy = policy(grants);
        group.bench_function(format!("decide_2KB_{grants}_grants"), |bencher| {
            bencher.iter(|| {
                let found = find(&Method::POST, black_box("/v1/messages")).unwrap();
                policy.admit(&caller, found.endpoint).unwrap();
                let call = peek(black_box(&body), Shape::Message).unwrap();
                let betas = betas([&b"context-1m-2025-08-07,interleaved-thinking-2025-05-14"[..]]).unwrap();
                policy.authorize(&caller, found.endpoint, &call, &betas, support::now()).unwrap()
            });
        });
    }
    let rules = address_rules();
    // Allowed by the last network of all, after every search went as deep as it can.
    let v4: IpAddr = Ipv4Addr::from_bits(0x0a00_0000 + 9_999 * 512 + 7).into();
    let v6: IpAddr = Ipv6Addr::from_bits((0x2001_0db8 << 96) + (9_999 << 65) + 7).into();
    for (version, last) in [("v4", v4), ("v6", v6)] {
        assert!(rules.allows(last), "{last}");
        group.bench_function(format!("address_10000_rules_{version}"), |bencher| {
            bencher.iter(|| rules.decide(black_box(last)));
        });
    }
}
