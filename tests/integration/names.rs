//! The upstream's names, looked up from a real name server.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use portcullis::upstream::{Discovery, Networks, Resolve, ResolveFault, Resolver};

use crate::harness::dns::DnsServer;

const NAME: &str = "api.internal";

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|address| address.parse().unwrap()).collect()
}

async fn lookup(server: &DnsServer, name: &str) -> Result<(Vec<IpAddr>, u64), ResolveFault> {
    let resolved = Resolver::of(vec![server.address()]).lookup(name).await?;
    Ok((resolved.addresses, resolved.valid_for.as_secs()))
}

#[tokio::test]
async fn both_kinds_of_addresses_are_asked_for_and_hold_for_their_ttl() {
    let server = DnsServer::start();
    server.set(NAME, &addresses(&["10.0.0.2", "fd00::1", "10.0.0.1"]), 42);
    let expected = addresses(&["10.0.0.1", "10.0.0.2", "fd00::1"]);
    for name in [NAME, "api.internal.", "API.Internal"] {
        assert_eq!(lookup(&server, name).await, Ok((expected.clone(), 42)), "{name}");
    }
    server.alias("alias.internal", NAME, 7);
    assert_eq!(lookup(&server, "alias.internal").await, Ok((expected, 7)));
    server.set(NAME, &addresses(&["fd00::1"]), 0);
    assert_eq!(lookup(&server, NAME).await, Ok((addresses(&["fd00::1"]), 1)));
    server.set(NAME, &addresses(&["fd00::1"]), 86400);
    assert_eq!(lookup(&server, NAME).await, Ok((addresses(&["fd00::1"]), 300)));
}

#[tokio::test]
async fn nothing_is_kept_between_two_lookups() {
    let server = DnsServer::start();
    let resolver = Resolver::of(vec![server.address()]);
    for (round, address) in ["10.0.0.1", "10.0.0.2", "10.0.0.3"].into_iter().enumerate() {
        server.set(NAME, &addresses(&[address]), 300);
        assert_eq!(resolver.lookup(NAME).await.unwrap().addresses, addresses(&[address]));
        assert_eq!(server.asked(NAME), round + 1);
    }
}

#[test]
fn a_resolver_outlives_the_runtime_that_used_it() {
    let server = DnsServer::start();
    server.set(NAME, &addresses(&["10.0.0.1"]), 300);
    let resolver = Resolver::of(vec![server.address()]);
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(resolver.lookup(NAME)).unwrap().addresses, addresses(&["10.0.0.1"]));
    }
}

#[tokio::test]
async fn each_failure_is_called_by_its_name() {
    let server = DnsServer::start();
    assert_eq!(lookup(&server, NAME).await, Err(ResolveFault::NoSuchName));
    server.set(NAME, &[], 60);
    assert_eq!(lookup(&server, NAME).await, Err(ResolveFault::NoAddress));
    server.fail(NAME);
    let fault = lookup(&server, NAME).await.unwrap_err().to_string();
    assert!(fault.starts_with("the name server failed: "), "{fault}");
    server.silence(NAME);
    let started = Instant::now();
    assert_eq!(lookup(&server, NAME).await, Err(ResolveFault::NoAnswer));
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    assert_eq!(lookup(&server, "a..b").await, Err(ResolveFault::Malformed));
}

#[tokio::test]
async fn another_name_server_answers_for_one_that_is_silent() {
    let server = DnsServer::start();
    server.set(NAME, &addresses(&["10.0.0.1"]), 300);
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let resolver = Resolver::of(vec![silent.local_addr().unwrap(), server.address()]);
    assert_eq!(resolver.lookup(NAME).await.unwrap().addresses, addresses(&["10.0.0.1"]));
}

#[tokio::test]
async fn an_answer_too_long_for_udp_comes_by_tcp_and_is_bounded() {
    let server = DnsServer::start();
    let many: Vec<IpAddr> = (0..200).rev().map(|last| IpAddr::from([10, 0, 0, last])).collect();
    server.set(NAME, &many, 60);
    let expected: Vec<IpAddr> = (0..64).map(|last| IpAddr::from([10, 0, 0, last])).collect();
    assert_eq!(lookup(&server, NAME).await, Ok((expected, 60)));
    assert!(server.asked_by_tcp() > 0);
}

#[tokio::test]
async fn discovery_follows_the_name_server_and_takes_no_public_address() {
    let server = DnsServer::start();
    server.set(NAME, &addresses(&["10.0.0.1"]), 1);
    let endpoints = vec![(format!("{NAME}:443").parse().unwrap(), true)];
    let discovery = Discovery::new(endpoints, Networks::new(true, Vec::new()), Resolver::of(vec![server.address()]));
    discovery.resolve_once().await;
    assert_eq!(discovery.current().usable.len(), 1);
    let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
    let story = async {
        server.set(NAME, &addresses(&["8.8.8.8"]), 1);
        let public = changes.recv().await.unwrap();
        server.set(NAME, &addresses(&["10.0.0.2", "8.8.8.8"]), 1);
        let mixed = changes.recv().await.unwrap();
        server.fail(NAME);
        let failing = changes.recv().await.unwrap();
        [public, mixed, failing]
    };
    let [public, mixed, failing] = tokio::select! {
        () = discovery.run(|found| sender.send(found.clone()).unwrap()) => panic!("it ended"),
        story = tokio::time::timeout(Duration::from_secs(20), story) => story.unwrap(),
    };
    assert!(public.usable.is_empty());
    assert_eq!(public.faults, ["api.internal:443: 8.8.8.8:443 is public"]);
    assert_eq!(mixed.usable.len(), 1);
    assert_eq!(mixed.usable[0].address.to_string(), "10.0.0.2:443");
    assert_eq!(failing.usable, mixed.usable);
    assert!(failing.faults[0].contains("the name server failed"), "{:?}", failing.faults);
    assert!(discovery.refused_total() >= 2 && discovery.failures_total() >= 1);
}
