//! Upstreams that are not there, or not the right ones.

use serde_json::Value;

use super::super::harness::authority::{Authority, Validity, roots};
use super::super::harness::scene::mutual_tls;
use super::super::harness::upstream::{BlackHole, TestUpstream, Transport};
use super::super::harness::{HAIKU, Proxy, Sandbox, free_addresses, message, run, write_file};
use super::{Outcome, expect_refusal, outcome, section};

const UNREACHABLE: (u16, &str) = (502, "upstream_unreachable");

async fn call(proxy: &Proxy) -> Outcome {
    outcome(proxy, &message(HAIKU), 0, || ()).await
}

/// Expects that a call fails to connect.
async fn expect_unreachable(what: &str, proxy: &Proxy) -> Value {
    let outcome = call(proxy).await;
    expect_refusal(what, &outcome, UNREACHABLE);
    outcome.record
}

/// In TLS 1.3 a client learns only after its handshake that its certificate is refused (RFC 8446 section 4.4.2.4). A reset
/// overtakes the alert when the request meets a closed connection, so the cause is seen or it is not.
fn expect_refused_certificate(what: &str, outcome: &Outcome) {
    let seen = outcome.record["reason"] == "upstream_unreachable";
    expect_refusal(what, outcome, (502, if seen { "upstream_unreachable" } else { "upstream_failed" }));
    assert_eq!(
        outcome.record["detail"].as_str().unwrap().contains("refused our certificate"),
        seen,
        "{}",
        outcome.record
    );
}

#[tokio::test]
async fn an_upstream_that_is_not_there_gets_502() {
    let (nowhere, _) = free_addresses();
    let proxy = Proxy::upstream("refused", &section(nowhere, "tls = false")).await;
    expect_unreachable("refused", &proxy).await;
    assert_eq!(proxy.records().len(), 1);
}

#[tokio::test]
async fn an_upstream_that_lets_nobody_in_gets_502_in_time() {
    let hole = BlackHole::start();
    let proxy = Proxy::upstream("black-hole", &section(hole.address(), "tls = false")).await;
    let record = expect_unreachable("no answer", &proxy).await;
    let took = record["timings"]["total_ms"].as_f64().unwrap();
    assert!((1000.0..10_000.0).contains(&took), "the bound on connecting, a few times at the most: {record}");
}

#[tokio::test]
async fn only_the_right_upstream_gets_a_request_and_the_next_call_is_served() {
    let (authority, other) = (Authority::new("right"), Authority::new("wrong"));
    let upstream = TestUpstream::start(Transport::Tls(authority.api(), roots(&[&authority])));
    let proxy = Proxy::upstream("trust", &section(upstream.address(), &mutual_tls("trust", &authority))).await;
    let name = ["api.anthropic.com"];
    let mut calls = 0;
    for (what, certificate) in [
        ("a certificate that has expired", authority.server(&name, Validity::Expired)),
        ("a certificate for another name", authority.server(&["api.other.test"], Validity::Current)),
        ("a certificate of another authority", other.api()),
        ("a client's certificate", authority.client(name[0], Validity::Current)),
    ] {
        upstream.present(&certificate);
        expect_unreachable(what, &proxy).await;
        assert_eq!(upstream.log().len(), calls, "{what}: no request came");
        upstream.present(&authority.api());
        assert_eq!(call(&proxy).await.status, 200, "after {what}");
        calls += 1;
        upstream.stop().await; // so that no connection is kept
        upstream.start_again();
    }
    upstream.trust(&[&other]);
    expect_refused_certificate("a refused client certificate", &call(&proxy).await);
    assert_eq!(upstream.log().len(), calls);
    upstream.trust(&[&authority, &other]);
    assert_eq!(call(&proxy).await.status, 200, "after a refused certificate");
    assert_eq!(proxy.records().len(), 2 * calls + 2);
}

#[tokio::test]
async fn a_client_certificate_that_the_upstream_refuses_is_told_and_recorded() {
    let authority = Authority::new("clients");
    let upstream = TestUpstream::start(Transport::Tls(authority.api(), roots(&[&authority])));
    write_file("no-client-ca.pem", &authority.pem());
    let without = "server_name = \"api.anthropic.com\"\nca = \"no-client-ca.pem\"";
    let proxy = Proxy::upstream("no-client", &section(upstream.address(), without)).await;
    expect_refused_certificate("no client certificate", &call(&proxy).await);
    assert!(upstream.log().is_empty());
}

#[tokio::test]
async fn plain_text_where_tls_is_expected_and_tls_where_plain_text_is() {
    let authority = Authority::new("plain");
    let upstream = TestUpstream::start(Transport::Plain);
    let proxy = Proxy::upstream("to-plain", &section(upstream.address(), &mutual_tls("to-plain", &authority))).await;
    expect_unreachable("plain text", &proxy).await;
    assert!(upstream.log().is_empty());
    let proxy = Proxy::upstream("plain", &section(upstream.address(), "tls = false")).await;
    assert_eq!(call(&proxy).await.status, 200);
}

#[tokio::test]
async fn a_public_address_is_refused_and_not_tried() {
    let sandbox = Sandbox::shared();
    let text = std::fs::read_to_string(&sandbox.ready.config_file).unwrap();
    let upstream = sandbox.ready.upstream_url.strip_prefix("https://").unwrap();
    let config = write_file("public.toml", &text.replace(upstream, "192.0.2.1:443"));
    let checked = run(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(String::from_utf8(checked.stderr).unwrap().contains("192.0.2.1:443 is public"));
}
