//! Upstreams that are not there, are not the right ones, stall or send what is no HTTP.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::harness::{Proxy, Sandbox, free_addresses};

fn upstream_of(sandbox: &Sandbox) -> String {
    sandbox.ready.upstream_url.strip_prefix("https://").unwrap().to_owned()
}

fn failed(status: u16, reason: &str) -> (u16, String, String) {
    (status, "api_error".to_owned(), reason.to_owned())
}

#[tokio::test]
async fn an_upstream_that_is_not_there_gets_502() {
    let upstream = upstream_of(Sandbox::shared());
    let (nowhere, _) = free_addresses();
    let proxy = Proxy::start("refused", |text| text.replace(&upstream, &nowhere));
    assert_eq!(proxy.failure().await, failed(502, "upstream_unreachable"));
}

#[tokio::test]
async fn an_upstream_with_another_name_on_its_certificate_gets_502() {
    let proxy = Proxy::start("name", |text| text.replace("\"api.anthropic.com\"", "\"api.other.test\""));
    assert_eq!(proxy.failure().await, failed(502, "upstream_unreachable"));
}

#[tokio::test]
async fn an_upstream_that_wants_a_client_certificate_gets_none_and_fails() {
    let without =
        |text: &str| text.replace("client_certificate = \"client.crt\"\nclient_key = { file = \"client.key\" }\n", "");
    let proxy = Proxy::start("nocert", without);
    let (status, _, _) = proxy.failure().await;
    assert_eq!(status, 502);
}

#[tokio::test]
async fn a_name_with_a_public_address_is_refused_and_not_tried() {
    // `localhost` is private; the name service of a test machine has no other name that is sure to resolve, so the rule
    // is shown on an address that is written out, which `check` refuses.
    let sandbox = Sandbox::shared();
    let text = std::fs::read_to_string(&sandbox.ready.config_file).unwrap();
    let config = sandbox.folder.path().join("public.toml");
    std::fs::write(&config, text.replace(&upstream_of(sandbox), "192.0.2.1:443")).unwrap();
    let checked = super::harness::run(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(String::from_utf8(checked.stderr).unwrap().contains("192.0.2.1:443 is public"));
}

/// A plain upstream on loopback that answers every connection with `answer` after it has read something; returns its
/// address and what it read.
async fn scripted(answer: &'static [u8], hold: bool) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let ears = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let ears = Arc::clone(&ears);
            tokio::spawn(async move {
                let mut bytes = vec![0; 65536];
                let read = connection.read(&mut bytes).await.unwrap_or_default();
                ears.lock().unwrap().push(String::from_utf8_lossy(&bytes[..read]).into_owned());
                let _ = connection.write_all(answer).await;
                if hold {
                    while connection.read(&mut bytes).await.is_ok_and(|read| read > 0) {} // until the proxy gives up
                }
            });
        }
    });
    (address, heard)
}

/// The shared sandbox's configuration towards a plain upstream.
fn plain(text: &str, upstream: &str) -> String {
    let (head, rest) = text.split_once("[upstream]").unwrap();
    let (_, tail) = rest.split_once("[[upstream.key]]").unwrap();
    format!(
        "{head}[upstream]\nendpoints = [\"{upstream}\"]\ntls = false\nfirst_byte_timeout = \"300ms\"\n[[upstream.key]]{tail}"
    )
}

#[tokio::test]
async fn an_upstream_that_stalls_gets_504() {
    let (address, heard) = scripted(b"", true).await;
    let proxy = Proxy::start("stall", |text| plain(text, &address));
    assert_eq!(proxy.failure().await, failed(504, "upstream_timeout"));
    assert_eq!(heard.lock().unwrap().len(), 1, "a call that may have been heard is not sent again");
}

#[tokio::test]
async fn an_upstream_that_closes_or_talks_garbage_gets_502() {
    for (name, answer) in [
        ("closes", &b""[..]),
        ("garbage", b"\x00\x01\x02 no http at all\r\n\r\n"),
        ("half", b"HTTP/1.1 200 OK\r\ncontent-le"),
    ] {
        let (address, heard) = scripted(answer, false).await;
        let proxy = Proxy::start(name, |text| plain(text, &address));
        assert_eq!(proxy.failure().await, failed(502, "upstream_failed"), "{name}");
        assert_eq!(heard.lock().unwrap().len(), 1, "{name}: a call that may have been heard is not sent again");
    }
}

#[tokio::test]
async fn a_redirect_is_not_passed_on_and_cookies_are_kept_back() {
    let redirect =
        b"HTTP/1.1 307 Temporary Redirect\r\nlocation: https://elsewhere.test/v1/messages\r\ncontent-length: 0\r\n\r\n";
    let (address, _) = scripted(redirect, false).await;
    let proxy = Proxy::start("redirect", |text| plain(text, &address));
    assert_eq!(proxy.failure().await, failed(502, "upstream_redirect"));

    let cookie = b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\nalt-svc: h3=\":443\"\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let (address, _) = scripted(cookie, false).await;
    let proxy = Proxy::start("cookie", |text| plain(text, &address));
    let response = proxy.call().await;
    assert_eq!(response.status(), 200);
    assert!(response.headers().get("set-cookie").is_none() && response.headers().get("alt-svc").is_none());
    assert!(
        response.headers()["request-id"].to_str().unwrap().starts_with("pcl_"),
        "ours, where the upstream has none"
    );
}
