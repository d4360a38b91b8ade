//! Pins: the public keys of which the upstream must have one.

use reqwest::Version;
use serde_json::Value;

use super::federation::federated;
use super::harness::authority::{Authority, Validity, roots};
use super::harness::scene::{Scene, mutual_tls};
use super::harness::upstream::{TestUpstream, Transport};
use super::harness::{HAIKU, Proxy, message};

fn pins(pins: &[&str]) -> String {
    let pins: Vec<_> = pins.iter().map(|pin| format!("\"sha256/{pin}\"")).collect();
    format!("pins = [{}]", pins.join(", "))
}

/// Expects that calls fail before anything of them, a key first of all, has reached the upstream.
async fn expect_refused(what: &str, scene: &Scene, proxy: &Proxy) {
    let before = scene.upstream.log().len();
    for _ in 0..2 {
        let answer = proxy.answer(&proxy.token, &message(HAIKU)).await;
        let error: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &error["error"]["type"]), (502, &"api_error".into()), "{what}: {error}");
        let record = proxy.record(&answer.id).await;
        assert_eq!(record["reason"], "upstream_unreachable", "{what}: {record}");
    }
    assert_eq!(scene.upstream.log().len(), before, "{what}");
}

/// Ends all connections.
async fn restart(scene: &Scene) {
    scene.upstream.stop().await;
    scene.upstream.start_again();
}

async fn each_certificate(name: &'static str, http2: bool) {
    let scene = Scene::with_keys(name, &["key"]);
    let (certificate, next) = (scene.authority.api(), scene.authority.api());
    scene.upstream.present(&certificate);
    let more = format!("http2 = {http2}\n{}", pins(&[&certificate.pin(), &next.pin()]));
    let proxy = scene.proxy(&more, &scene.key("key", "")).await;
    proxy.serves(24).await;
    let names = ["api.anthropic.com"];
    let other = Authority::new("other");
    for (what, other) in [
        ("another key of the right authority", scene.authority.api()),
        ("the pinned key for another name", scene.authority.renewed(&certificate, &["api.other.test"])),
        ("the pinned key of another authority", other.renewed(&certificate, &names)),
        ("a certificate that has expired", scene.authority.server(&names, Validity::Expired)),
    ] {
        scene.upstream.present(&other);
        restart(&scene).await;
        expect_refused(what, &scene, &proxy).await;
        scene.upstream.present(&scene.authority.renewed(&certificate, &names));
        restart(&scene).await;
        proxy.serves(8).await; // another certificate for the same key
    }
    scene.upstream.present(&next);
    restart(&scene).await;
    proxy.serves(8).await;
    let version = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
    assert!(scene.upstream.log().iter().all(|logged| logged.version == version));
}

#[tokio::test]
async fn only_an_upstream_with_a_pinned_key_gets_a_request() {
    tokio::join!(each_certificate("pins", false), each_certificate("pins-http2", true));
}

#[tokio::test]
async fn a_wrong_pin_lets_nothing_out() {
    let scene = Scene::with_keys("pins-wrong", &["key"]);
    // The authority's key is not the upstream's.
    let proxy = scene.proxy(&pins(&[&scene.authority.pin()]), &scene.key("key", "")).await;
    expect_refused("a wrong pin", &scene, &proxy).await;
    assert!(proxy.log().contains("no pin names the public key"), "{}", proxy.log());
}

#[tokio::test]
async fn tokens_are_exchanged_with_the_pinned_upstream_alone() {
    let scene = Scene::with_keys("pins-token", &["none"]);
    let certificate = scene.authority.api();
    let section = scene.section(&pins(&[&certificate.pin()]), &federated(&scene, ""));
    let proxy = Proxy::start("pins-token", |text| Proxy::with_upstream(text, &section));
    proxy.until_faulty("workload", true).await;
    assert!(scene.upstream.log().is_empty());
    scene.upstream.present(&certificate);
    proxy.until_ready().await;
    proxy.serves(4).await;
}

#[tokio::test]
async fn an_address_with_another_key_is_passed_over() {
    let authority = Authority::new("pins-two");
    let certificate = authority.api();
    let pin = certificate.pin();
    let transport = |certificate| Transport::Tls(certificate, roots(&[&authority]));
    let group = TestUpstream::group(vec![transport(certificate), transport(authority.api())]);
    let endpoints: Vec<_> = group.iter().map(|upstream| format!("\"{}\"", upstream.address())).collect();
    let (tls, pins) = (mutual_tls("pins-two", &authority), pins(&[&pin]));
    let key = "[[upstream.key]]\nname = \"test\"\nsecret = { file = \"anthropic-key\" }";
    let section = format!("[upstream]\nendpoints = [{}]\n{tls}\n{pins}\n{key}", endpoints.join(", "));
    let proxy = Proxy::upstream("pins-two", &section).await;
    proxy.serves(60).await;
    assert_eq!((group[0].log().len(), group[1].log().len()), (60, 0));
    assert!(group[1].connections() > 0, "it was tried");
}
