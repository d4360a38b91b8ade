//! An upstream of the tests' own, and proxies before it: mutual TLS, and keys that both know.

use std::fmt::Write;

use futures_util::StreamExt;
use futures_util::stream;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::authority::{Authority, Validity, roots};
use super::upstream::{TestUpstream, Transport};
use super::{HAIKU, Proxy, message, request_id, streamed, write_file};

/// An upstream with its authority. The files of a scene bear its name.
pub struct Scene {
    name: &'static str,
    pub authority: Authority,
    pub upstream: TestUpstream,
}

/// An answer as its client has it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
    /// Our id of its request.
    pub id: String,
}

impl Scene {
    /// An upstream that takes clients of its own authority, and any key.
    pub fn new(name: &'static str) -> Self {
        let authority = Authority::new(name);
        let upstream = TestUpstream::start(Transport::Tls(authority.api(), roots(&[&authority])));
        Self { name, authority, upstream }
    }

    /// An upstream that takes these keys alone.
    pub fn with_keys(name: &'static str, keys: &[&str]) -> Self {
        let scene = Self::new(name);
        for key in keys {
            scene.accept(key, 200, &[]);
        }
        scene
    }

    /// The secret of the key called `key`.
    pub fn secret(&self, key: &str) -> String {
        format!("sk-ant-{}-{key}", self.name)
    }

    /// Has the upstream answer calls with `key` so; see [`TestUpstream::accept`].
    pub fn accept(&self, key: &str, status: u16, headers: &[(&str, &str)]) {
        self.upstream.accept(&self.secret(key), status, headers);
    }

    /// Has the upstream refuse `key`.
    pub fn refuse(&self, key: &str) {
        self.upstream.refuse(&self.secret(key));
    }

    /// Writes a file of this scene; configurations call it by the name that this gives.
    pub fn write(&self, file: &str, content: &str) -> String {
        let name = format!("{}-{file}", self.name);
        write_file(&name, content);
        name
    }

    /// `[[upstream.key]]` for a key with its secret in a file, and these further lines.
    pub fn key(&self, key: &str, more: &str) -> String {
        let file = self.write(key, &self.secret(key));
        format!("[[upstream.key]]\nname = \"{key}\"\nsecret = {{ file = \"{file}\" }}\n{more}\n")
    }

    /// The same for several that serve everyone.
    pub fn keys(&self, keys: &[&str]) -> String {
        keys.iter().fold(String::new(), |mut text, key| {
            let _ = text.write_str(&self.key(key, ""));
            text
        })
    }

    /// What a configuration has from `[upstream]` on, with these further lines of it and these keys.
    pub fn section(&self, more: &str, keys: &str) -> String {
        let tls = mutual_tls(self.name, &self.authority);
        format!("[upstream]\nendpoints = [\"{}\"]\n{tls}\n{more}\n{keys}", self.upstream.address())
    }

    /// A proxy before the upstream, once it is ready.
    pub async fn proxy(&self, more: &str, keys: &str) -> Proxy {
        Proxy::upstream(self.name, &self.section(more, keys)).await
    }

    /// The keys of the calls so far, as [`Scene::key`] names them, in the order of their coming.
    pub fn used(&self) -> Vec<String> {
        let start = self.secret("");
        let calls = self.upstream.log().into_iter().filter(|logged| logged.path == "/v1/messages");
        calls.map(|logged| logged.key.unwrap().trim_start_matches(&start).to_owned()).collect()
    }

    /// How often the proxy has tried `key` by itself.
    pub fn trials(&self, key: &str) -> usize {
        let (log, key) = (self.upstream.log(), self.secret(key));
        log.iter().filter(|logged| logged.path == "/v1/models?limit=1" && logged.key.as_ref() == Some(&key)).count()
    }
}

impl Proxy {
    /// Sends a call with `token` and this body, to its end.
    pub async fn answer(&self, token: &str, body: &Value) -> Answer {
        let response = self.post(token, body).await;
        let (status, headers, id) = (response.status().as_u16(), response.headers().clone(), request_id(&response));
        Answer { status, headers, body: response.text().await.unwrap(), id }
    }

    /// Sends so many calls, every other one streamed, eight at a time, and expects that all are served in full.
    pub async fn serves(&self, calls: usize) {
        let calls = (0..calls).map(|number| async move {
            let body = if number % 2 == 0 { message(HAIKU) } else { streamed(HAIKU) };
            let answer = self.answer(&self.token, &body).await;
            let end = if number % 2 == 0 { "\"stop_sequence\":null" } else { "message_stop" };
            assert!(answer.status == 200 && answer.body.contains(end), "call {number}: {answer:?}");
        });
        stream::iter(calls).buffer_unordered(8).collect::<()>().await;
    }

    /// Waits until `key` is in this state.
    pub async fn until_key(&self, key: &str, state: &str) {
        let name = format!("portcullis_upstream_key_state{{key=\"{key}\",state=\"{state}\"}}");
        self.until_metric(&name, |value| value == 1).await;
    }

    /// Waits until it is known whether the source of `key` is at fault.
    pub async fn until_faulty(&self, key: &str, faulty: bool) {
        let name = format!("portcullis_upstream_key_faulty{{key=\"{key}\"}}");
        self.until_metric(&name, |value| value == u64::from(faulty)).await;
    }
}

/// What `[upstream]` says of TLS: this authority for the upstream's certificate, and a certificate of it for us.
pub fn mutual_tls(name: &str, authority: &Authority) -> String {
    let client = authority.client("edge", Validity::Current);
    write_file(&format!("{name}-ca.pem"), &authority.pem());
    write_file(&format!("{name}.crt"), &client.pem());
    write_file(&format!("{name}.key"), &client.key_pem());
    format!(
        "server_name = \"api.anthropic.com\"\nca = \"{name}-ca.pem\"\nclient_certificate = \"{name}.crt\"\nclient_key = {{ file = \"{name}.key\" }}"
    )
}
