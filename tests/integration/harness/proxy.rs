//! `portcullis serve` with a configuration of its own.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::records::{held_to_schema, records_of, records_when};
use super::{HAIKU, Process, Sandbox, message, portcullis, request_id, trusting, unique_id, until_metric};

/// A proxy of its own whose configuration is the shared sandbox's with changes.
pub struct Proxy {
    pub base_url: String,
    pub token: String,
    pub http: Client,
    pub folder: PathBuf,
    admin_url: String,
    pub audit: PathBuf,
    config: PathBuf,
    process: Process,
}

/// Two addresses that were free a moment ago.
pub fn free_addresses() -> (String, String) {
    let sockets = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = sockets.map(|socket| socket.local_addr().unwrap().to_string());
    (first, second)
}

/// Writes a file that only this user can read to the folder of the shared sandbox, where configurations look for files.
/// Who reads it meanwhile gets the former content or this one.
pub fn write_file(name: &str, content: &str) -> PathBuf {
    let path = Sandbox::shared().folder.path().join(name);
    let fresh = path.with_file_name(format!("{name}.{}", unique_id()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    std::fs::rename(&fresh, &path).unwrap();
    path
}

impl Proxy {
    /// Starts a proxy called `name`; `change` makes its configuration of the shared sandbox's. One with a name that was
    /// used before finds what the former left behind.
    pub fn start(name: &str, change: impl Fn(&str) -> String) -> Self {
        Self::start_logging("warn,portcullis=info", name, change)
    }

    /// The same with a log of this level.
    pub fn start_logging(level: &str, name: &str, change: impl Fn(&str) -> String) -> Self {
        let sandbox = Sandbox::shared();
        let folder = sandbox.folder.path();
        let (listen, admin) = free_addresses();
        let text = std::fs::read_to_string(&sandbox.ready.config_file).unwrap();
        let own = |url: &str| url.rsplit("//").next().unwrap().to_owned();
        let text = change(
            &text
                .replace(&own(&sandbox.ready.base_url), &listen)
                .replace(&own(&sandbox.ready.admin_url), &admin)
                .replace("directory = \"audit\"", &format!("directory = \"audit-{name}\""))
                .replace("directory = \"state\"", &format!("directory = \"state-{name}\"")),
        );
        let config = folder.join(format!("{name}.toml"));
        std::fs::write(&config, text).unwrap();
        let mut command: Command = portcullis();
        // The log goes to standard error; `ready` is told there, so both are one.
        command.args(["serve", "--log", "text", "--config"]).arg(&config);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg("exec \"$0\" \"$@\" 2>&1").arg(command.get_program()).args(command.get_args());
        shell.env("PORTCULLIS_LOG", level);
        let process = Process::start(shell, " listening");
        let http = trusting(&sandbox.ready.ca_file).build().unwrap();
        Self {
            base_url: format!("http://{listen}"),
            admin_url: format!("http://{admin}"),
            token: sandbox.ready.token.clone(),
            audit: folder.join(format!("audit-{name}")),
            folder: folder.to_owned(),
            config,
            http,
            process,
        }
    }

    /// Starts a proxy with `more` at the end of its configuration, and waits until it is ready.
    pub async fn with(name: &str, more: &str) -> Self {
        let proxy = Self::start(name, |text| format!("{text}\n{more}"));
        proxy.until_ready().await;
        proxy
    }

    /// Starts a proxy whose `[upstream]` and `[[upstream.key]]` are `section`, and waits until it is ready.
    pub async fn upstream(name: &str, section: &str) -> Self {
        let proxy = Self::start(name, |text| Self::with_upstream(text, section));
        proxy.until_ready().await;
        proxy
    }

    /// The configuration `text` with another `[upstream]`, and its keys.
    pub fn with_upstream(text: &str, section: &str) -> String {
        let (head, rest) = text.split_once("[upstream]").unwrap();
        let (_, tail) = rest.split_once("[audit]").unwrap();
        format!("{head}{section}\n[audit]{tail}")
    }

    /// Writes another configuration: `change` makes it of what the file says.
    pub fn configure(&self, change: impl Fn(&str) -> String) {
        let text = change(&std::fs::read_to_string(&self.config).unwrap());
        write_file(self.config.file_name().unwrap().to_str().unwrap(), &text);
    }

    /// Has the proxy read its configuration again, and waits for what becomes of it.
    pub async fn reload(&self, outcome: &str) {
        let before = self.reloads().await;
        self.process.signal("HUP");
        let deadline = Instant::now() + Duration::from_secs(120);
        let after = loop {
            let after = self.reloads().await;
            if after != before {
                break after;
            }
            assert!(Instant::now() < deadline, "no reload");
            tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline
        };
        let is_so = |(before, after): (&String, &String)| after != before && after.contains(outcome);
        assert!(before.iter().zip(&after).any(is_so), "{after:?} after {before:?}: {}", self.log());
    }

    /// The counts of reloads, by what became of them.
    async fn reloads(&self) -> Vec<String> {
        let metrics = self.metrics().await;
        metrics.lines().filter(|line| line.starts_with("portcullis_config_reloads_total")).map(str::to_owned).collect()
    }

    /// Writes another configuration, and waits until it is in force.
    pub async fn reconfigure(&self, change: impl Fn(&str) -> String) {
        self.configure(change);
        self.reload("applied").await;
    }

    /// Waits until the proxy has keys and addresses.
    pub async fn until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.http.get(self.admin("readyz")).send().await.unwrap().status() != StatusCode::OK {
            assert!(Instant::now() < deadline, "not ready after half a minute");
            tokio::time::sleep(Duration::from_millis(10)).await; // a poll with a deadline
        }
    }

    /// A request with `token` and the headers that SDKs send.
    pub fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base_url))
            .bearer_auth(token)
            .header("anthropic-version", "2023-06-01")
            .header("content-type", "application/json")
    }

    /// A message with this body.
    pub async fn post(&self, token: &str, body: &Value) -> Response {
        self.request(Method::POST, "/v1/messages", token).body(body.to_string()).send().await.unwrap()
    }

    /// What the proxy says of the caller behind `token`.
    pub async fn whoami(&self, token: &str) -> Value {
        let response = self.request(Method::GET, "/portcullis/whoami", token).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }

    /// Sends a call, again while the proxy has not fetched the issuer's keys yet.
    pub async fn call(&self) -> Response {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let response = self.post(&self.token, &message(HAIKU)).await;
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

    /// The metrics page.
    pub async fn metrics(&self) -> String {
        self.http.get(self.admin("metrics")).send().await.unwrap().text().await.unwrap()
    }

    /// The most memory that was resident so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.process.peak_memory()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Every record so far.
    pub fn records(&self) -> Vec<Value> {
        held_to_schema(records_of(&self.audit))
    }

    /// The records once `enough` holds of them.
    pub async fn records_when(&self, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        records_when(&self.audit, enough).await
    }

    /// Waits until the log has this word.
    pub async fn until_log(&self, word: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.log().contains(word) {
            assert!(Instant::now() < deadline, "{word} is not in the log: {}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends the proxy a signal by its name.
    pub fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Ends the proxy by this signal.
    pub fn end(&mut self, signal: &str) -> ExitStatus {
        self.process.signal(signal);
        self.process.wait()
    }

    /// Ends the proxy as systemd does.
    pub fn stop(mut self) {
        assert!(self.end("TERM").success());
    }

    /// The same, with the whole log.
    pub async fn stop_and_log(mut self) -> String {
        self.process.signal("TERM");
        assert!(self.process.wait().success());
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.log().contains("stopped requests_cut") {
            assert!(Instant::now() < deadline, "no end of the log: {}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline
        }
        self.log()
    }

    /// Ends the proxy as a crash does.
    pub fn kill(mut self) {
        self.process.signal("KILL");
        self.process.wait();
    }

    /// The record of the request with our id `request_id`.
    pub async fn record(&self, request_id: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(record) = records_of(&self.audit).into_iter().find(|record| record["request_id"] == request_id)
            {
                return held_to_schema(vec![record]).remove(0);
            }
            assert!(Instant::now() < deadline, "no record of {request_id}");
            tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline
        }
    }

    /// The refusal that a call gets, and the reason on its record.
    pub async fn failure(&self) -> (u16, String, String) {
        let response = self.call().await;
        let status = response.status().as_u16();
        let id = request_id(&response);
        let error: Value = response.json().await.unwrap();
        let record = self.record(&id).await;
        assert_eq!((record["decision"].as_str(), record["complete"].as_bool()), (Some("allowed"), Some(false)));
        (status, error["error"]["type"].as_str().unwrap().to_owned(), record["reason"].as_str().unwrap().to_owned())
    }
}
