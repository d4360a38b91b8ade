//! `portcullis serve` with a configuration of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::{Client, Method, Response};
use serde_json::Value;

use super::{HAIKU, Process, Sandbox, message, portcullis, request_id, trusting, until_metric};

/// A proxy of its own whose configuration is the shared sandbox's with changes.
pub struct Proxy {
    pub base_url: String,
    pub token: String,
    pub http: Client,
    admin_url: String,
    audit: PathBuf,
    _process: Process,
}

/// Two addresses that were free a moment ago.
pub fn free_addresses() -> (String, String) {
    let sockets = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = sockets.map(|socket| socket.local_addr().unwrap().to_string());
    (first, second)
}

impl Proxy {
    /// Starts a proxy called `name`; `change` makes its configuration of the shared sandbox's.
    pub fn start(name: &str, change: impl Fn(&str) -> String) -> Self {
        let sandbox = Sandbox::shared();
        let folder = sandbox.folder.path();
        let (listen, admin) = free_addresses();
        let text = std::fs::read_to_string(&sandbox.ready.config_file).unwrap();
        let own = |url: &str| url.rsplit("//").next().unwrap().to_owned();
        let text = change(
            &text
                .replace(&own(&sandbox.ready.base_url), &listen)
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
    pub async fn call(&self) -> Response {
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

    /// A page of the admin address.
    pub fn admin(&self, page: &str) -> String {
        format!("{}/{page}", self.admin_url)
    }

    /// Waits until a metric is as it should be.
    pub async fn until_metric(&self, name: &str, holds: impl Fn(u64) -> bool) {
        until_metric(&self.http, &self.admin_url, name, holds).await;
    }

    /// The refusal that a call gets, and the reason on its record.
    pub async fn failure(&self) -> (u16, String, String) {
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
