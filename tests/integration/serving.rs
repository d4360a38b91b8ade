//! `portcullis serve` with other configurations than the sandbox's.

use reqwest::Body;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::harness::{HAIKU, Proxy, Sandbox, free_addresses, message, run};

#[tokio::test]
async fn bodies_of_all_requests_together_are_bounded() {
    let bounded = |text: &str| {
        text.replace("[admin]", "max_body = \"1MiB\"\nmax_bodies = \"1MiB\"\nbody_timeout = \"2s\"\n[admin]")
    };
    let proxy = Proxy::start("memory", bounded);
    assert_eq!(proxy.call().await.status(), 200);
    // One client holds nearly all of the memory by not finishing its body.
    let mut slow = tokio::net::TcpStream::connect(proxy.base_url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 1000000\r\n\r\n",
        proxy.token
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&vec![b' '; 999_000]).await.unwrap();
    let call = || {
        proxy.http.post(format!("{}/v1/messages", proxy.base_url)).bearer_auth(&proxy.token).body(" ".repeat(500_000))
    };
    proxy.until_metric("portcullis_request_body_held_bytes", |held| held >= 999_000).await;
    let refused = call().send().await.unwrap();
    assert_eq!(refused.status(), 529);
    assert_eq!(refused.headers()["retry-after"], "1");
    let error: Value = refused.json().await.unwrap();
    assert_eq!(error["error"]["type"], "overloaded_error");
    // The slow client is given up, and its memory comes back.
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(call().send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn an_issuer_that_is_down_is_our_fault_and_told_so() {
    let issuer = Sandbox::shared().ready.issuer_url.clone();
    let (nowhere, _) = free_addresses();
    let proxy = Proxy::start("issuer", |text| {
        text.replace(&format!("jwks_uri = \"{issuer}"), &format!("jwks_uri = \"http://{nowhere}"))
    });
    let call = proxy.http.post(format!("{}/v1/messages", proxy.base_url)).bearer_auth(&proxy.token);
    let response = call.body(message(HAIKU).to_string()).send().await.unwrap();
    assert_eq!(response.status(), 503);
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["error"]["type"], "api_error");
}

#[tokio::test]
async fn keys_are_found_by_discovery() {
    let proxy = Proxy::start("discovery", |text| {
        text.lines().filter(|line| !line.starts_with("jwks_uri")).collect::<Vec<_>>().join("\n")
    });
    assert_eq!(proxy.call().await.status(), 200);
}

#[tokio::test]
async fn addresses_are_judged_before_anything_else() {
    let rules = "[address]\ndeny = [\"203.0.113.0/24\"]\n[admin]";
    let trusting = |text: &str| text.replace("[admin]", &format!("trusted_proxies = [\"127.0.0.0/8\"]\n{rules}"));
    let proxy = Proxy::start("address", trusting);
    assert_eq!(proxy.call().await.status(), 200);
    let call = proxy.http.post(format!("{}/v1/messages", proxy.base_url)).header("x-forwarded-for", "203.0.113.9");
    let response = call.bearer_auth("not-even-a-token").send().await.unwrap();
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn an_upstream_by_name_is_resolved_and_one_that_does_not_resolve_gets_502() {
    let upstream = Sandbox::shared().ready.upstream_url.replace("https://", "");
    let by_name = upstream.replace("127.0.0.1", "localhost");
    let proxy = Proxy::start("by-name", |text| text.replace(&upstream, &by_name));
    proxy.until_metric("portcullis_upstream_addresses", |addresses| addresses > 0).await;
    assert_eq!(proxy.call().await.status(), 200);

    let proxy = Proxy::start("no-name", |text| text.replace(&upstream, "no-such-host.invalid:443"));
    assert_eq!(proxy.failure().await, (502, "api_error".to_owned(), "upstream_address".to_owned()));
    let ready = proxy.http.get(proxy.admin("readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.text().await.unwrap().contains("an upstream address"));
}

#[tokio::test]
async fn a_shared_secret_is_enough_for_an_issuer() {
    let sandbox = Sandbox::shared();
    std::fs::write(sandbox.folder.path().join("hs256.secret"), "a-secret-of-64-bytes-or-more".repeat(3)).unwrap();
    let upstream = sandbox.ready.upstream_url.replace("https://", "");
    let proxy = Proxy::start("secret", |text| {
        let kept = text.lines().filter(|line| !line.starts_with("jwks_uri") && !line.starts_with("signing_key"));
        let text = kept.collect::<Vec<_>>().join("\n");
        let keys = "algorithms = [\"HS512\"]\nsecret = { file = \"hs256.secret\" }";
        // A name to resolve, with no keys to fetch beside it.
        text.replace("algorithms = [\"ES256\"]", keys).replace(&upstream, &upstream.replace("127.0.0.1", "localhost"))
    });
    proxy.until_metric("portcullis_upstream_addresses", |addresses| addresses > 0).await;
    let config = sandbox.folder.path().join("secret.toml");
    let signed = run(&["token", "--config", config.to_str().unwrap(), "--subject", "a", "--scope", "claude:haiku"]);
    let token = String::from_utf8(signed.stdout).unwrap();
    let call = |token: &str| {
        let call = proxy.http.post(format!("{}/v1/messages", proxy.base_url)).bearer_auth(token.trim());
        call.header("anthropic-version", "2023-06-01").body(message(HAIKU).to_string()).send()
    };
    assert_eq!(call(&token).await.unwrap().status(), 200);
    assert_eq!(call(&proxy.token).await.unwrap().status(), 401, "the sandbox's own token is another algorithm's");
}

#[tokio::test]
async fn an_upload_above_its_bound_gets_413_also_when_it_is_not_announced() {
    let proxy = Proxy::start("upload", |text| text.replace("[admin]", "max_upload = \"1MiB\"\n[admin]"));
    assert_eq!(proxy.call().await.status(), 200);
    let upload = |body: Body| {
        let call = proxy.http.post(format!("{}/v1/files", proxy.base_url)).bearer_auth(&proxy.token);
        call.header("anthropic-version", "2023-06-01")
            .header("content-type", "multipart/form-data; boundary=x")
            .body(body)
    };
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = (0..64).map(|_| Ok(vec![b'x'; 64 << 10])).collect();
    for body in [Body::from(vec![b'x'; 4 << 20]), Body::wrap_stream(futures_util::stream::iter(pieces))] {
        let response = upload(body).send().await.unwrap();
        assert_eq!(response.status(), 413);
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["type"], "request_too_large");
    }
}

#[tokio::test]
async fn clients_without_a_certificate_are_turned_away_where_one_is_asked_for() {
    let tls = "tls = { certificate = \"server.crt\", key = \"server.key\" }\nclient_ca = \"ca.crt\"\n[admin]";
    let proxy = Proxy::start("mutual", |text| text.replace("[admin]", tls));
    let url = format!("{}/v1/messages", proxy.base_url.replace("http://", "https://"));
    let call = |http: &reqwest::Client| http.post(&url).bearer_auth(&proxy.token).body(message(HAIKU).to_string());
    assert!(call(&proxy.http).send().await.is_err());
    let known = Sandbox::shared().upstream_client();
    let answered = call(&known).header("anthropic-version", "2023-06-01").send().await.unwrap().status();
    assert!(answered == 200 || answered == 503, "{answered}"); // 503 while the issuer's keys are on their way
}

#[tokio::test]
async fn a_client_that_is_silent_inside_its_upload_gets_408() {
    let proxy = Proxy::start("silent-upload", |text| text.replace("[admin]", "body_timeout = \"1s\"\n[admin]"));
    assert_eq!(proxy.call().await.status(), 200);
    let mut client = tokio::net::TcpStream::connect(proxy.base_url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: multipart/form-data; boundary=x\r\n\
         content-length: 1000\r\n\r\n--x",
        proxy.token
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let answered = client.read_exact(&mut answer);
    tokio::time::timeout(std::time::Duration::from_secs(20), answered).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 408");
}
