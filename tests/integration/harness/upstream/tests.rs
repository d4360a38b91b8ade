//! The test upstream does what the tests believe of it.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Certificate, Client, Identity, Method, RequestBuilder, Response, Version};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{BlackHole, TestUpstream, TokenAnswer, Transport};
use crate::harness::authority::{Authority, Certified, Validity, roots};
use crate::harness::{HAIKU, message, streamed};

/// A client that looks for `api.anthropic.com` at `address`.
fn client(authority: &Authority, identity: Option<&Certified>, address: SocketAddr) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let mut client = Client::builder().tls_certs_only([ca]).no_proxy().resolve("api.anthropic.com", address);
    if let Some(identity) = identity {
        let pem = identity.pem() + &identity.key_pem();
        client = client.identity(Identity::from_pem(pem.as_bytes()).unwrap());
    }
    client.build().unwrap()
}

fn request(client: &Client, method: Method, path: &str, address: SocketAddr) -> RequestBuilder {
    client.request(method, format!("https://api.anthropic.com:{}{path}", address.port()))
}

async fn models(client: &Client, address: SocketAddr) -> reqwest::Result<Response> {
    request(client, Method::GET, "/v1/models", address).send().await
}

async fn post(client: &Client, path: &str, body: &Value, key: &str, address: SocketAddr) -> Response {
    request(client, Method::POST, path, address).header("x-api-key", key).json(body).send().await.unwrap()
}

#[tokio::test]
async fn trust_and_certificates_change_while_it_runs() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (first, second) = (old.client("edge", Validity::Current), new.client("edge", Validity::Current));
    let certificate = old.api();
    let renewed = old.renewed(&certificate, &["api.anthropic.com"]);
    assert_eq!(certificate.pin(), renewed.pin());
    assert_ne!(old.pin(), certificate.pin());
    let upstream = TestUpstream::start(Transport::Tls(certificate, roots(&[&old])));
    let address = upstream.address();
    let call = async |authority, identity| models(&client(authority, identity, address), address).await.is_ok();

    assert!(call(&old, Some(&first)).await);
    assert!(!call(&old, None).await && !call(&old, Some(&second)).await && !call(&new, Some(&first)).await);
    let expired = old.client("edge", Validity::Expired);
    assert!(!call(&old, Some(&expired)).await);
    upstream.trust(&[&old, &new]);
    assert!(call(&old, Some(&first)).await && call(&old, Some(&second)).await);
    upstream.present(&new.api());
    assert!(call(&new, Some(&second)).await && !call(&old, Some(&second)).await);
    upstream.present(&new.server(&["api.other.test"], Validity::Current));
    assert!(!call(&new, Some(&second)).await);
    upstream.present(&new.server(&["api.anthropic.com"], Validity::Expired));
    assert!(!call(&new, Some(&second)).await);

    let log = upstream.log();
    let serials: Vec<_> = log.iter().map(|logged| logged.client.unwrap()).collect();
    assert_eq!(serials, [first.serial, first.serial, second.serial, second.serial]);
    assert!(log.iter().all(|logged| logged.version == Version::HTTP_2 && logged.path == "/v1/models"), "{log:?}");
    assert!(upstream.connections() >= 10, "also those that came to nothing: {}", upstream.connections());
}

#[tokio::test]
async fn keys_decide_how_calls_are_answered() {
    let authority = Authority::new("keys");
    let identity = authority.client("edge", Validity::Current);
    let upstream = TestUpstream::start(Transport::Tls(authority.api(), roots(&[&authority])));
    let address = upstream.address();
    let client = client(&authority, Some(&identity), address);
    let call = async |key| post(&client, "/v1/messages", &message(HAIKU), key, address).await;

    assert_eq!(call("any").await.status(), 200);
    upstream.accept("good", 200, &[("anthropic-ratelimit-requests-remaining", "7")]);
    upstream.accept("busy", 429, &[("retry-after", "9")]);
    let response = call("good").await;
    assert_eq!(response.headers()["anthropic-ratelimit-requests-remaining"], "7");
    assert_eq!(response.json::<Value>().await.unwrap()["model"], HAIKU);
    let response = call("busy").await;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"9".parse().unwrap()));
    let response = call("any").await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["message"], "invalid x-api-key");
    upstream.refuse("good");
    assert_eq!(call("good").await.status(), 401);
    let log = upstream.log();
    let logged = log.last().unwrap();
    assert_eq!((logged.key.as_deref(), logged.method.as_str(), logged.connection), (Some("good"), "POST", 1));
    assert_eq!(logged.body, message(HAIKU).to_string());
    assert_eq!(logged.headers["content-type"], "application/json");
}

#[tokio::test]
async fn tokens_are_exchanged_for_keys_that_it_accepts() {
    let authority = Authority::new("tokens");
    let identity = authority.client("edge", Validity::Current);
    let upstream = TestUpstream::start(Transport::Tls(authority.api(), roots(&[&authority])));
    upstream.refuse("any");
    let address = upstream.address();
    let client = client(&authority, Some(&identity), address);
    let mut grant = json!({
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b.c",
        "federation_rule_id": "fr_1", "organization_id": "org_1",
    });
    let exchange = async |grant: &Value| post(&client, "/v1/oauth/token", grant, "none", address).await;

    let answer: Value = exchange(&grant).await.json().await.unwrap();
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(600)));
    let token = answer["access_token"].as_str().unwrap();
    let call = request(&client, Method::GET, "/v1/models", address).bearer_auth(token).send().await.unwrap();
    assert_eq!(call.status(), 200);
    upstream.answer_tokens(TokenAnswer::Fresh(30));
    let second: Value = exchange(&grant).await.json().await.unwrap();
    assert_ne!(second["access_token"], answer["access_token"]);
    upstream.answer_tokens(TokenAnswer::Refused(403));
    assert_eq!(exchange(&grant).await.status(), 403);
    grant["assertion"].take();
    assert_eq!(exchange(&grant).await.status(), 400);
}

#[tokio::test]
async fn streams_are_held_and_a_stop_resets_them() {
    let authority = Authority::new("stop");
    let identity = authority.client("edge", Validity::Current);
    let transport = || Transport::Tls(authority.api(), roots(&[&authority]));
    let group = TestUpstream::group(vec![transport(), Transport::Plain, transport()]);
    let addresses: Vec<_> = group.iter().map(TestUpstream::address).collect();
    assert!(addresses.iter().all(|address| address.port() == addresses[0].port()), "{addresses:?}");
    assert_eq!(addresses[2].ip().to_string(), "127.0.0.3");

    let (upstream, address) = (&group[2], addresses[2]);
    let client = client(&authority, Some(&identity), address);
    upstream.hold_after(2);
    let mut held = post(&client, "/v1/messages", &streamed(HAIKU), "any", address).await;
    let mut text = Vec::new();
    while text.windows(2).filter(|window| window == b"\n\n").count() < 2 {
        text.extend(held.chunk().await.unwrap().unwrap());
    }
    upstream.release();
    let rest = held.text().await.unwrap();
    assert!(rest.starts_with("event: content_block_delta") && rest.contains("message_stop"), "{rest}");

    upstream.hold_after(1);
    let mut held = post(&client, "/v1/messages", &streamed(HAIKU), "any", address).await;
    assert!(held.chunk().await.unwrap().unwrap().starts_with(b"event: message_start"));
    upstream.stop().await;
    assert!(held.chunk().await.is_err());
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    upstream.start_again();
    upstream.release();
    assert_eq!(models(&client, address).await.unwrap().status(), 200);
    assert_eq!(group[0].connections() + group[1].connections(), 0);
}

#[tokio::test]
async fn nobody_gets_into_a_black_hole() {
    let hole = BlackHole::start();
    let connecting = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(hole.address()));
    assert!(connecting.await.is_err());
}
