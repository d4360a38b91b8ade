//! Private or nothing: what a name may not resolve to is not tried.

use std::net::{IpAddr, SocketAddr};

use super::harness::Proxy;
use super::harness::authority::{Authority, roots};
use super::harness::dns::DnsServer;
use super::harness::load::Load;
use super::harness::namespace::{self, Namespace};
use super::harness::scene::mutual_tls;
use super::harness::upstream::{TestUpstream, Transport};

const NAME: &str = "api.internal";
/// For documentation (RFC 5737), and public by every rule.
const PUBLIC: &str = "192.0.2.77";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A proxy before `NAME`, which is at 127.0.0.1 until the name server says otherwise.
async fn proxy(name: &str, dns: &DnsServer, port: u16, more: &str) -> Proxy {
    dns.set(NAME, &[ip("127.0.0.1")], 1);
    let servers = dns.address();
    Proxy::upstream(
        name,
        &format!(
            "[upstream]\nendpoints = [\"{NAME}:{port}\"]\nname_servers = [\"{servers}\"]\n{more}\n\
             [upstream.health]\ninterval = \"50ms\"\n\
             [[upstream.key]]\nname = \"test\"\nsecret = {{ file = \"anthropic-key\" }}\n"
        ),
    )
    .await
}

/// Lets the name server answer with `wrong`, alone and beside what is right, and back, under load.
async fn poison(dns: &DnsServer, proxy: &Proxy, port: u16, wrong: IpAddr) {
    let refused = format!("portcullis_upstream_endpoint_refused_addresses{{endpoint=\"{NAME}:{port}\"}}");
    let right = ip("127.0.0.1");
    let mut load = Load::start(proxy, 100);
    load.goes_on(50).await;
    dns.set(NAME, &[right, wrong], 1);
    proxy.until_metric(&refused, |refused| refused == 1).await;
    load.goes_on(50).await;
    load.stop_and_expect_success().await;

    dns.set(NAME, &[wrong], 1);
    proxy.until_metric("portcullis_upstream_addresses", |addresses| addresses == 0).await;
    let mut load = Load::start(proxy, 100);
    load.goes_on(50).await;
    for call in load.stop().await {
        let (status, error) = call.answer.unwrap();
        assert_eq!((status, error["error"]["type"].as_str()), (502, Some("api_error")));
    }
    let told = |record: &serde_json::Value| {
        record["reason"] == "upstream_address" && record["detail"].as_str().unwrap().contains(&wrong.to_string())
    };
    proxy.records_when(|records| records.iter().any(told)).await;

    dns.set(NAME, &[right], 1);
    proxy.until_metric("portcullis_upstream_addresses", |addresses| addresses == 1).await;
    let mut load = Load::start(proxy, 100);
    load.goes_on(50).await;
    load.stop_and_expect_success().await;
}

#[tokio::test]
async fn not_one_packet_goes_to_a_public_address_that_a_name_turns_to() {
    match namespace::enter("private::not_one_packet_goes_to_a_public_address_that_a_name_turns_to", &[ip(PUBLIC)]) {
        Namespace::Passed => return,
        Namespace::Denied => return eprintln!("not tried: this system allows no network namespaces"),
        Namespace::Inside => {}
    }
    let authority = Authority::new("public");
    let transport = || Transport::Tls(authority.api(), roots(&[&authority]));
    let upstream = TestUpstream::start(transport());
    let port = upstream.address().port();
    let public = TestUpstream::at(SocketAddr::new(ip(PUBLIC), port), transport());
    tokio::net::TcpStream::connect(public.address()).await.unwrap();
    public.until_connections(1).await;
    let dns = DnsServer::start();
    let proxy = proxy("public", &dns, port, &mutual_tls("public", &authority)).await;
    poison(&dns, &proxy, port, ip(PUBLIC)).await;
    assert_eq!(public.connections(), 1, "but for ours");
}

#[tokio::test]
async fn nothing_goes_outside_the_networks_that_are_allowed() {
    let authority = Authority::new("outside");
    let transport = || Transport::Tls(authority.api(), roots(&[&authority]));
    let upstreams = TestUpstream::group(vec![transport(), transport()]);
    let port = upstreams[0].address().port();
    let dns = DnsServer::start();
    let more = format!("allow_networks = [\"127.0.0.1/32\"]\n{}", mutual_tls("outside", &authority));
    let proxy = proxy("outside", &dns, port, &more).await;
    poison(&dns, &proxy, port, ip("127.0.0.2")).await;
    assert_eq!(upstreams[1].connections(), 0);
}
