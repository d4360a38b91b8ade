//! Starts the real binary and asks it things. Everything ends when the value is dropped.

pub mod authority;
pub mod collector;
pub mod dns;
pub mod load;
pub mod namespace;
pub mod prometheus;
mod proxy;
mod records;
pub mod redis;
pub mod s3;
pub mod scene;
pub mod script;
mod tokens;
pub mod upstream;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use reqwest::{Certificate, Client, Identity, Method, RequestBuilder, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use proxy::{Proxy, free_addresses, write_file};
pub use records::{held_to_schema, lines_of, log_of, segments_of};
pub use tokens::now;

/// A plain model call of a model that the sandbox's token may use.
pub const HAIKU: &str = "claude-haiku-4-5";

/// A running sandbox.
pub struct Sandbox {
    pub ready: Ready,
    pub folder: TempDir,
    pub process: Process,
    http: Client,
}

/// The ready file.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    pub base_url: String,
    pub admin_url: String,
    pub ca_file: PathBuf,
    pub token: String,
    pub config_file: PathBuf,
    pub audit_directory: PathBuf,
    pub upstream_url: String,
    pub issuer_url: String,
}

/// What the stand-in upstream saw of one request.
#[derive(Debug, Deserialize)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: BTreeMap<String, Vec<String>>,
    pub body_bytes: u64,
    pub body_sha256: String,
    /// Microseconds since 1970 when each SSE event was written.
    pub events: Vec<u64>,
}

impl Sandbox {
    /// Starts a sandbox with these further arguments.
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ready_file = folder.path().join("ready.json");
        let mut command = portcullis();
        command
            .arg("sandbox")
            .arg("--directory")
            .arg(folder.path())
            .arg("--ready-file")
            .arg(&ready_file)
            .args(arguments);
        let process = Process::start(command, "Stop with Ctrl-C.");
        let ready: Ready = serde_json::from_slice(&std::fs::read(ready_file).unwrap()).unwrap();
        let http = trusting(&ready.ca_file).build().unwrap();
        Self { ready, folder, process, http }
    }

    /// The sandbox that tests share which only send requests: plain text, HTTP/1.1.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Sandbox> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&["--plaintext"]))
    }

    /// A request with the sandbox's token and the headers that SDKs send.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.ready.token)
    }

    /// The same without a credential.
    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.ready.base_url))
            .header("anthropic-version", "2023-06-01")
            .header("content-type", "application/json")
    }

    /// A message with this body.
    pub async fn post(&self, body: &Value) -> Response {
        self.request(Method::POST, "/v1/messages").body(body.to_string()).send().await.unwrap()
    }

    /// A token with these scopes, from `portcullis token`.
    pub fn token(&self, scopes: &str) -> String {
        let config = self.ready.config_file.to_str().unwrap();
        let output = run(&["token", "--config", config, "--subject", "tester", "--scope", scopes]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A client that the stand-in upstream accepts.
    pub fn upstream_client(&self) -> Client {
        let read = |name: &str| std::fs::read(self.folder.path().join(name)).unwrap();
        let identity = Identity::from_pem(&[read("client.crt"), read("client.key")].concat()).unwrap();
        trusting(&self.ready.ca_file).identity(identity).build().unwrap()
    }

    async fn upstream_log(&self) -> Value {
        let url = format!("{}/standin/requests", self.ready.upstream_url);
        self.upstream_client().get(url).send().await.unwrap().json().await.unwrap()
    }

    /// What the upstream saw of the request with this `anthropic-test-id`; `None` when it never came.
    pub async fn seen(&self, id: &str) -> Option<Seen> {
        let mut log = self.upstream_log().await;
        let requests: Vec<Seen> = serde_json::from_value(log["requests"].take()).unwrap();
        let mut found = requests.into_iter().filter(|seen| {
            seen.headers.get("anthropic-test-id").is_some_and(|values| values.iter().any(|value| value == id))
        });
        let first = found.next();
        assert!(found.next().is_none(), "{id} came twice");
        first
    }

    /// How many requests of calls the upstream has seen.
    pub async fn seen_requests(&self) -> usize {
        self.upstream_log().await["requests"].as_array().unwrap().len()
    }

    /// The metrics page.
    pub async fn metrics(&self) -> String {
        self.http.get(format!("{}/metrics", self.ready.admin_url)).send().await.unwrap().text().await.unwrap()
    }

    /// The value of the metric with exactly this name and labels, 0 when it is not there yet.
    pub async fn metric(&self, name: &str) -> u64 {
        metric(&self.http, &self.ready.admin_url, name).await
    }

    /// Waits until a metric is as it should be.
    pub async fn until_metric(&self, name: &str, holds: impl Fn(u64) -> bool) {
        until_metric(&self.http, &self.ready.admin_url, name, holds).await;
    }
}

async fn metric(http: &Client, admin_url: &str, name: &str) -> u64 {
    let metrics = http.get(format!("{admin_url}/metrics")).send().await.unwrap().text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Waits until the metric with exactly this name and labels is as it should be.
async fn until_metric(http: &Client, admin_url: &str, name: &str, holds: impl Fn(u64) -> bool) {
    // What is tried again waits longer each time, and longest where the machine is slow.
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let value = metric(http, admin_url, name).await;
        if holds(value) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} is {value}");
        tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline
    }
}

/// A child process that is killed when dropped, and also when the tests end without dropping it: a shell waits for the
/// end of its standard input, which is ours.
pub struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
    _reaper: Child,
}

impl Process {
    /// Starts `command` and waits for a line on its standard output or error that holds `sign`.
    pub fn start(command: Command, sign: &str) -> Self {
        Self::start_and_read(command, sign).0
    }

    /// The same, with that line.
    pub fn start_and_read(mut command: Command, sign: &str) -> (Self, String) {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let kill = format!("read _; kill -9 {} 2>/dev/null", child.id());
        let reaper = Command::new("sh").arg("-c").arg(kill).stdin(Stdio::piped()).spawn().unwrap();
        let output = Arc::<Mutex<String>>::default();
        let process = Self { child, output: Arc::clone(&output), _reaper: reaper };
        let keep = move |line: &String| output.lock().unwrap().extend([line, "\n"]);
        let mut lines = stdout.lines().map_while(Result::ok).inspect(keep);
        let line = lines.find(|line| line.contains(sign));
        let line = line.unwrap_or_else(|| panic!("the process ended before it was ready"));
        std::thread::spawn(move || lines.for_each(drop)); // so that it never waits for a reader
        (process, line)
    }

    /// What it has written to its standard output so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        assert!(
            Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap().success()
        );
    }

    /// The most memory that was resident so far, in bytes (`VmHWM` of `/proc/PID/status`).
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak.unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary under test.
pub fn portcullis() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.env_remove("PORTCULLIS_LOG");
    command
}

/// Runs a command of the binary to its end.
pub fn run(arguments: &[&str]) -> Output {
    portcullis().args(arguments).output().unwrap()
}

/// A client builder that trusts the sandbox's CA alone and waits for nothing longer than a test may take. Connections are
/// not kept: each test has a runtime of its own, which they would not outlive.
pub fn trusting(ca_file: &Path) -> reqwest::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = Certificate::from_pem(&std::fs::read(ca_file).unwrap()).unwrap();
    Client::builder().tls_certs_only([authority]).timeout(Duration::from_secs(60)).no_proxy().pool_max_idle_per_host(0)
}

/// A message of `model` that asks for little.
pub fn message(model: &str) -> Value {
    json!({ "model": model, "max_tokens": 64, "messages": [{ "role": "user", "content": "Hello" }] })
}

/// The same, streamed.
pub fn streamed(model: &str) -> Value {
    let mut body = message(model);
    body["stream"] = true.into();
    body
}

/// A value that no other request has.
pub fn unique_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Our id of an answer's request.
pub fn request_id(response: &Response) -> String {
    response.headers()["x-portcullis-request-id"].to_str().unwrap().to_owned()
}
