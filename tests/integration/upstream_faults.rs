//! Upstreams that are not there, are not the right ones, stall or send what is no HTTP.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, Response};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::harness::{HAIKU, Process, Sandbox, message, portcullis, request_id, trusting, until_metric};

/// A proxy of its own whose configuration is the shared sandbox's with changes.
struct Proxy {
    base_url: String,
    admin_url: String,
    token: String,
    audit: std::path::PathBuf,
    http: Client,
    _process: Process,
}

/// Two addresses that were free a moment ago.
fn free_addresses() -> (String, String) {
    let sockets = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = sockets.map(|socket| socket.local_addr().unwrap().to_string());
    (first, second)
}

impl Proxy {
    fn start(name: &str, change: impl Fn(String) -> String) -> Self {
        let sandbox = Sandbox::shared();
        let folder = sandbox.folder.path();
        let (listen, admin) = free_addresses();
        let text = std::fs::read_to_string(&sandbox.ready.config_file).unwrap();
        let own = |url: &str| url.rsplit("//").next().unwrap().to_owned();
        let text = change(
            text.replace(&own(&sandbox.ready.base_url), &listen)
                .replace(&own(&sandbox.ready.admin_url), &admin)
                .replace("directory = \"audit\"", &format!("directory = \"audit-{name}\"")),
        );
        let config = folder.join(format!("{name}.toml"));
        std::fs::write(&config, text).unwrap();
        let mut command: Command = portcullis();
        // The log goes to standard error; `ready` is told there, so both are one.
        command.args(["serve", "--log", "text", "--config"]).arg(&config);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg("exec \"$0\" \"$@\" 2>&1").arg(command.get_program()).args(command.get_args());
        let process = Process::start(shell, " listening");
        let http = trusting(&sandbox.ready.ca_file).build().unwrap();
        Self {
            base_url: format!("http://{listen}"),
            admin_url: format!("http://{admin}"),
            token: sandbox.ready.token.clone(),
            audit: folder.join(format!("audit-{name}/audit.jsonl")),
            http,
            _process: process,
        }
    }

    /// Sends a call, again while the proxy has not fetched the issuer's keys yet.
    async fn call(&self) -> Response {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let call =
                self.http.request(Method::POST, format!("{}/v1/messages", self.base_url)).bearer_auth(&self.token);
            let response =
                call.header("anthropic-version", "2023-06-01").body(message(HAIKU).to_string()).send().await.unwrap();
            if response.status() != 503 {
                return response;
            }
            assert!(Instant::now() < deadline, "no keys after half a minute");
            tokio::time::sleep(Duration::from_millis(20)).await; // a poll with a deadline
        }
    }

    /// The refusal that a call gets, and the reason on its record.
    async fn failure(&self) -> (u16, String, String) {
        let response = self.call().await;
        let status = response.status().as_u16();
        let id = request_id(&response);
        let error: Value = response.json().await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let record = loop {
            let log = std::fs::read_to_string(&self.audit).unwrap_or_default();
            if let Some(line) = log.lines().find(|line| line.contains(&id) && line.ends_with('}')) {
                break serde_json::from_str::<Value>(line).unwrap();
            }
            assert!(Instant::now() < deadline, "no record of {id}");
            tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline
        };
        assert_eq!((record["decision"].as_str(), record["complete"].as_bool()), (Some("allowed"), Some(false)));
        (status, error["error"]["type"].as_str().unwrap().to_owned(), record["reason"].as_str().unwrap().to_owned())
    }
}

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
    let without = |text: String| {
        text.replace("client_certificate = \"client.crt\"\nclient_key = { file = \"client.key\" }\n", "")
    };
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
        "{head}[upstream]\nendpoints = [\"{upstream}\"]\ntls = false\nread_timeout = \"300ms\"\n[[upstream.key]]{tail}"
    )
}

#[tokio::test]
async fn an_upstream_that_stalls_gets_504() {
    let (address, heard) = scripted(b"", true).await;
    let proxy = Proxy::start("stall", |text| plain(&text, &address));
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
        let proxy = Proxy::start(name, |text| plain(&text, &address));
        assert_eq!(proxy.failure().await, failed(502, "upstream_failed"), "{name}");
        assert_eq!(heard.lock().unwrap().len(), 1, "{name}: a call that may have been heard is not sent again");
    }
}

#[tokio::test]
async fn a_redirect_is_not_passed_on_and_cookies_are_kept_back() {
    let redirect =
        b"HTTP/1.1 307 Temporary Redirect\r\nlocation: https://elsewhere.test/v1/messages\r\ncontent-length: 0\r\n\r\n";
    let (address, _) = scripted(redirect, false).await;
    let proxy = Proxy::start("redirect", |text| plain(&text, &address));
    assert_eq!(proxy.failure().await, failed(502, "upstream_redirect"));

    let cookie = b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\nalt-svc: h3=\":443\"\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let (address, _) = scripted(cookie, false).await;
    let proxy = Proxy::start("cookie", |text| plain(&text, &address));
    let response = proxy.call().await;
    assert_eq!(response.status(), 200);
    assert!(response.headers().get("set-cookie").is_none() && response.headers().get("alt-svc").is_none());
    assert!(
        response.headers()["request-id"].to_str().unwrap().starts_with("pcl_"),
        "ours, where the upstream has none"
    );
}

#[tokio::test]
async fn bodies_of_all_requests_together_are_bounded() {
    let bounded = |text: String| {
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
    until_metric(&proxy.http, &proxy.admin_url, "portcullis_request_body_held_bytes", |held| held >= 999_000).await;
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
    let trusting = |text: String| text.replace("[admin]", &format!("trusted_proxies = [\"127.0.0.0/8\"]\n{rules}"));
    let proxy = Proxy::start("address", trusting);
    assert_eq!(proxy.call().await.status(), 200);
    let call = proxy.http.post(format!("{}/v1/messages", proxy.base_url)).header("x-forwarded-for", "203.0.113.9");
    let response = call.bearer_auth("not-even-a-token").send().await.unwrap();
    assert_eq!(response.status(), 403);
}
