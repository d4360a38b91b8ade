//! A real Prometheus on a free port of loopback.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;

use super::Process;

/// A Prometheus that ends with this value.
pub struct Prometheus {
    url: String,
    http: Client,
    _process: Process,
    _folder: tempfile::TempDir,
}

/// Runs a program of Prometheus's packages to its end.
pub fn tool(name: &str, arguments: &[&str]) -> Output {
    let output = Command::new(name).args(arguments).output();
    output.unwrap_or_else(|error| panic!("{name} (Debian: prometheus, prometheus-alertmanager): {error}"))
}

impl Prometheus {
    /// Starts one that scrapes `target` (host and port) four times a second as the job `portcullis`, and evaluates the files
    /// of rules in `rules` as often.
    pub fn start(target: &str, rules: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms}}\n\
             rule_files: ['{}/*.rules.yml']\n\
             scrape_configs:\n  - job_name: portcullis\n    static_configs: [{{targets: ['{target}']}}]\n",
            rules.display()
        );
        std::fs::write(&config, text).unwrap();
        let (address, _) = super::free_addresses();
        let mut command = Command::new("sh");
        command.args(["-c", "exec prometheus \"$@\" 2>&1", "prometheus"]);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let process = Process::start(command, "Server is ready to receive web requests");
        Self {
            url: format!("http://{address}/api/v1"),
            http: Client::builder().no_proxy().build().unwrap(),
            _process: process,
            _folder: folder,
        }
    }

    /// What an expression has now: labels and values.
    pub async fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let mut url = reqwest::Url::parse(&format!("{}/query", self.url)).unwrap();
        url.query_pairs_mut().append_pair("query", expression);
        let mut answer: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let Value::Array(samples) = answer["data"]["result"].take() else { panic!("{expression} is no vector") };
        let value = |sample: &Value| sample["value"][1].as_str().unwrap().parse().unwrap();
        samples.into_iter().map(|mut sample| (sample["metric"].take(), value(&sample))).collect()
    }

    /// Alerts that fire now, by name.
    pub async fn firing(&self) -> Vec<String> {
        let samples = self.query("ALERTS{alertstate=\"firing\"}").await;
        let mut names: Vec<_> =
            samples.iter().map(|(labels, _)| labels["alertname"].as_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Waits until an expression has a sample.
    pub async fn until(&self, expression: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.query(expression).await.is_empty() {
            assert!(Instant::now() < deadline, "{expression} has nothing after a minute");
            tokio::time::sleep(Duration::from_millis(100)).await; // a poll with a deadline
        }
    }
}
