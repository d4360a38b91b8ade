//! Keys and certificates that are replaced while calls are under way.

use super::harness::authority::{Authority, Certified, Validity, roots};
use super::harness::load::Load;
use super::harness::upstream::{Logged, TestUpstream, Transport};
use super::harness::{Proxy, write_file};

const SECTION: &str = r#"
server_name = "api.anthropic.com"
ca = "rotation-ca.pem"
client_certificate = "rotation.crt"
client_key = { file = "rotation.key" }
[[upstream.key]]
name = "rotated"
secret = { file = "rotation-secret" }
"#;
const RELOADS: &str = "portcullis_upstream_certificate_reloads_total";

fn write_client(client: &Certified) {
    // As certbot and others do it: for a moment the key is another certificate's.
    write_file("rotation.crt", &client.pem());
    write_file("rotation.key", &client.key_pem());
}

/// Sends calls until the upstream has seen one that is `new`, and gives how many were sent since the last look.
async fn until_seen(upstream: &TestUpstream, load: &mut Load, new: impl Fn(&Logged) -> bool) {
    for _ in 0..100 {
        if upstream.log().iter().any(&new) {
            return;
        }
        load.goes_on(10).await;
    }
    panic!("the upstream never saw it");
}

/// Whether no request that is `old` came after one that is not, but for the few that were under way.
fn switched(log: &[Logged], old: impl Fn(&Logged) -> bool) {
    let first_new = log.iter().position(|request| !old(request)).unwrap();
    assert!(log[..first_new].iter().all(&old) && first_new > 0);
    let late = log[first_new..].iter().filter(|request| old(request)).count();
    assert!(late < 20, "{late} of {} came late", log.len());
}

#[tokio::test]
async fn key_client_certificate_and_ca_change_under_load_without_a_failed_call() {
    let (former, latter) = (Authority::new("former"), Authority::new("latter"));
    let upstream = TestUpstream::start(Transport::Tls(former.api(), roots(&[&former])));
    upstream.accept("key-one", 200, &[]);
    let first = former.client("edge", Validity::Current);
    write_file("rotation-ca.pem", &former.pem());
    write_client(&first);
    write_file("rotation-secret", "key-one");
    let section = format!("[upstream]\nendpoints = [\"{}\"]{SECTION}", upstream.address());
    let proxy = Proxy::upstream("rotation", &section).await;
    let mut load = Load::start(&proxy, 200);
    load.goes_on(100).await;

    // The key: both are good at the upstream until the old one is out of use.
    upstream.accept("key-two", 200, &[]);
    write_file("rotation-secret", "key-two\n");
    until_seen(&upstream, &mut load, |request| request.key.as_deref() == Some("key-two")).await;
    load.goes_on(100).await;
    upstream.refuse("key-one");
    load.goes_on(50).await;

    // The client certificate, of another authority.
    upstream.trust(&[&former, &latter]);
    let second = latter.client("edge", Validity::Current);
    write_client(&second);
    until_seen(&upstream, &mut load, |request| request.client == Some(second.serial)).await;
    upstream.trust(&[&latter]);
    load.goes_on(100).await;

    // The authority of the upstream's certificate: both are believed while it changes.
    write_file("rotation-ca.pem", &[former.pem(), latter.pem()].concat());
    proxy.until_metric(RELOADS, |reloads| reloads >= 2).await;
    upstream.present(&latter.api());
    let before = upstream.connections();
    write_file("rotation-ca.pem", &latter.pem());
    proxy.until_metric(RELOADS, |reloads| reloads >= 3).await;
    load.goes_on(100).await;
    assert!(upstream.connections() > before, "connections of the former set are not used again");

    assert!(load.stop_and_expect_success().await > 500);
    let log = upstream.log();
    let calls: Vec<Logged> = log.into_iter().filter(|request| request.method == "POST").collect();
    switched(&calls, |request| request.key.as_deref() == Some("key-one"));
    switched(&calls, |request| request.client == Some(first.serial));
}

#[tokio::test]
async fn half_written_and_wrong_certificates_keep_the_old_ones_in_force() {
    let (authority, other) = (Authority::new("kept"), Authority::new("strange"));
    let upstream = TestUpstream::start(Transport::Tls(authority.api(), roots(&[&authority])));
    let client = authority.client("edge", Validity::Current);
    write_file("kept-ca.pem", &authority.pem());
    write_file("kept.crt", &client.pem());
    write_file("kept.key", &client.key_pem());
    write_file("kept-secret", "key");
    let section = SECTION.replace("rotation", "kept");
    let proxy =
        Proxy::upstream("kept", &format!("[upstream]\nendpoints = [\"{}\"]{section}", upstream.address())).await;
    let mut load = Load::start(&proxy, 50);
    let good = client.pem();
    let half = &good[..good.len() / 2];
    let stranger = other.client("edge", Validity::Current);
    let ended = authority.client("edge", Validity::Expired);
    for wrong in
        ["", half, &stranger.pem(), &ended.pem(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    {
        write_file("kept.crt", wrong);
        proxy.until_metric("portcullis_upstream_certificates_faulty", |faulty| faulty == 1).await;
        upstream.stop().await; // so that connections are made with what is in force
        upstream.start_again();
        load.goes_on(10).await;
        write_file("kept.crt", &good);
        proxy.until_metric("portcullis_upstream_certificates_faulty", |faulty| faulty == 0).await;
    }
    let calls = load.stop().await;
    // A call that met the upstream between its end and its start may have failed; none was refused for a certificate.
    let served = calls.iter().filter(|call| matches!(call.answer, Ok((200, _)))).count();
    assert!(served + 10 > calls.len(), "{served} of {}", calls.len());
    assert!(upstream.log().iter().all(|request| request.client == Some(client.serial)));
    proxy.until_metric(RELOADS, |reloads| reloads == 0).await;
}
