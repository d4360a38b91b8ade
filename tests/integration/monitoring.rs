//! Rules, alerts and the dashboard of deploy/, by Prometheus's own programs and over what the real binary shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::prometheus::{Prometheus, tool};
use super::harness::{HAIKU, Proxy, Sandbox, message, streamed};

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(deploy(path)).unwrap()
}

#[track_caller]
fn passes(output: &Output) {
    let text = [&*output.stdout, &*output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

const RULES: [&str; 2] = ["prometheus/recording.rules.yml", "prometheus/alerts.rules.yml"];
const TESTS: [&str; 2] = ["prometheus/alerts.test.yml", "prometheus/baselines.test.yml"];

#[test]
fn rules_are_sound_and_hold_their_tests() {
    let path = |name: &str| deploy(name).to_str().unwrap().to_owned();
    passes(&tool("promtool", &["check", "config", &path("prometheus/prometheus.yml")]));
    passes(&tool("promtool", &["check", "rules", "--lint-fatal", &path(RULES[0]), &path(RULES[1])]));
    for test in TESTS {
        passes(&tool("promtool", &["test", "rules", &path(test)]));
    }
    passes(&tool("amtool", &["check-config", &path("alertmanager/alertmanager.yml")]));
}

#[test]
fn alerts_go_to_whom_they_are_for() {
    let config = deploy("alertmanager/alertmanager.yml");
    for (labels, receiver) in [
        (["alertname=PortcullisWatchdog", "severity=none"], "watchdog"),
        (["alertname=PortcullisDown", "severity=page"], "on-call"),
        (["alertname=PortcullisCertificateEnds", "severity=ticket"], "tickets"),
    ] {
        let config = format!("--config.file={}", config.display());
        let expected = format!("--verify.receivers={receiver}");
        passes(&tool("amtool", &["config", "routes", "test", &config, &expected, labels[0], labels[1]]));
    }
}

/// Of every alert the tests have a case in which it fires and one in which it is silent, and its runbook has that part.
#[test]
fn every_alert_is_tested_and_has_a_runbook() {
    let mut alerts = BTreeMap::new();
    let mut current = "";
    let text = read(RULES[1]);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            current = name;
        } else if let Some(anchor) = line.strip_prefix("runbook_url: docs/runbook.md#") {
            assert!(alerts.insert(current, anchor).is_none(), "{current} twice");
        }
    }
    assert_eq!(alerts.len(), text.matches("- alert: ").count(), "one has no runbook");
    let tests = read(TESTS[0]);
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for case in tests.split("alertname: ").skip(1) {
        let name = case.lines().next().unwrap();
        let case = case.split("eval_time:").next().unwrap();
        if case.contains("exp_alerts: []") {
            silent.insert(name)
        } else {
            fires.insert(name)
        };
    }
    let names: BTreeSet<_> = alerts.keys().copied().collect();
    assert_eq!(fires, names);
    silent.insert("PortcullisWatchdog"); // always fires
    silent.insert("PortcullisCertificateEndsSoon"); // its case has two other certificates
    assert_eq!(silent, names);
    let runbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbook.md");
    let runbook = std::fs::read_to_string(runbook).unwrap();
    let parts: BTreeSet<_> = runbook
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-"))
        .collect();
    for (name, anchor) in alerts {
        assert!(parts.contains(anchor), "docs/runbook.md has no part {anchor} for {name}");
    }
}

/// Every expression of the dashboard, as Prometheus gets it from Grafana.
fn dashboard() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("grafana/portcullis.json")).unwrap();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((title.to_owned(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    found.push(("annotations".to_owned(), dashboard["annotations"]["list"][0]["expr"].as_str().unwrap().to_owned()));
    for (_, expression) in &mut found {
        for (variable, value) in
            [("$__rate_interval", "5m"), ("$__range", "6h"), ("$job", "portcullis"), ("$instance", ".*")]
        {
            *expression = expression.replace(variable, value);
        }
        assert!(!expression.contains('$'), "{expression}");
    }
    found
}

#[test]
fn the_dashboards_expressions_are_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let rules: Vec<_> = dashboard()
        .iter()
        .enumerate()
        .map(|(number, (_, expression))| serde_json::json!({"record": format!("panel:{number}"), "expr": expression}))
        .collect();
    assert!(rules.len() > 60, "{}", rules.len());
    let file = folder.path().join("dashboard.yml");
    let rules = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]}); // YAML holds JSON
    std::fs::write(&file, rules.to_string()).unwrap();
    passes(&tool("promtool", &["check", "rules", file.to_str().unwrap()]));
}

#[test]
fn panels_are_laid_out_side_by_side() {
    let dashboard: Value = serde_json::from_str(&read("grafana/portcullis.json")).unwrap();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64()), "{}", panel["title"]);
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && taken.insert((x, y)), "{} overlaps", panel["title"]);
            }
        }
    }
}

/// Names, units and help as Prometheus's own linter wants them, of a proxy that has done a little of everything.
#[tokio::test]
async fn what_the_proxy_shows_is_as_prometheus_wants_it() {
    let proxy = Proxy::with("linted", "").await;
    busy(&proxy).await;
    let text = proxy.metrics().await;
    let mut linter = Command::new("promtool");
    linter.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut linter = linter.spawn().unwrap_or_else(|error| panic!("promtool (Debian: prometheus): {error}"));
    std::io::Write::write_all(&mut linter.stdin.take().unwrap(), text.as_bytes()).unwrap();
    passes(&linter.wait_with_output().unwrap());
    proxy.stop();
}

/// A call, a stream, a refusal for each of two reasons, and a request that is answered here.
async fn busy(proxy: &Proxy) {
    assert_eq!(proxy.call().await.status(), 200);
    proxy.post(&proxy.token, &streamed(HAIKU)).await.bytes().await.unwrap();
    assert_eq!(proxy.post(&proxy.token, &message("claude-opus-4-8")).await.status(), 403);
    assert_eq!(proxy.post("no token", &message(HAIKU)).await.status(), 401);
    proxy.whoami(&proxy.token).await;
    let stopped = "portcullis_streams_in_flight 0\n";
    let deadline = Instant::now() + Duration::from_secs(30);
    while !proxy.metrics().await.contains(stopped) {
        assert!(Instant::now() < deadline, "a stream goes on");
        tokio::time::sleep(Duration::from_millis(10)).await; // a poll with a deadline
    }
}

#[tokio::test]
async fn every_label_is_bounded_and_every_family_typed() {
    let proxy = Proxy::with("walked", "[telemetry]\ntop_subjects = 2").await;
    busy(&proxy).await;
    let sandbox = Sandbox::shared();
    for number in 0..5 {
        let token = sandbox.token_of(&format!("subject-{number}"), "claude:haiku");
        assert_eq!(proxy.post(&token, &message(HAIKU)).await.status(), 200);
    }
    for path in ["/v1/made/up", "/v1/another", "/v1/messages/x/y"] {
        let response = proxy.request(reqwest::Method::GET, path, &proxy.token).send().await.unwrap();
        assert_eq!(response.status(), 404);
    }
    proxy.until_metric("portcullis_denied_total{reason=\"endpoint_unknown\"}", |count| count == 3).await;
    let text = proxy.metrics().await;
    let (mut types, mut helped) = (BTreeMap::new(), BTreeSet::new());
    let mut values: BTreeMap<(&str, String), BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            assert!(types.insert(name, kind).is_none(), "{name} twice");
        } else if let Some(family) = line.strip_prefix("# HELP ") {
            helped.insert(family.split_once(' ').unwrap().0);
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let bare = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let family = bare.filter(|bare| types.get(bare) == Some(&"histogram")).unwrap_or(name);
            let kind = types.get(family).unwrap_or_else(|| panic!("{name} has no type before it"));
            assert_eq!(*kind == "counter", family.ends_with("_total"), "{family} is a {kind}");
            assert!(helped.contains(family), "{family} has no help");
            for (label, value) in labels_of(labels.strip_suffix('}').unwrap()) {
                values.entry((family, label)).or_default().insert(value);
            }
        }
    }
    assert!(types.len() > 60, "{}", types.len());
    for ((family, label), values) in &values {
        let most = match label.as_str() {
            "le" => 20,
            "reason" => 60,
            "endpoint" => 18,
            "model_family" | "status" | "name" => 7,
            "subject" => 3,
            _ => 5,
        };
        assert!(values.len() <= most, "{family}{{{label}}} has {values:?}");
        for value in values {
            assert!(value.len() <= 128 && !value.contains("made") && !value.contains("eyJ"), "{family}: {value}");
        }
    }
    for series in [
        "portcullis_requests_total{endpoint=\"messages\",model_family=\"haiku\",status=\"200\",outcome=\"completed\"} 7",
        "portcullis_requests_total{endpoint=\"none\",model_family=\"none\",status=\"401\",outcome=\"refused\"} 1",
        "portcullis_requests_total{endpoint=\"none\",model_family=\"none\",status=\"404\",outcome=\"refused\"} 3",
        "portcullis_requests_total{endpoint=\"none\",model_family=\"none\",status=\"200\",outcome=\"answered\"} 1",
        "portcullis_first_token_seconds_count{model_family=\"haiku\"} 1",
        "portcullis_first_byte_seconds_count{model_family=\"haiku\"} 7",
        "portcullis_own_time_seconds_count{decision=\"allowed\"} 7",
        "portcullis_own_time_seconds_count{decision=\"refused\"} 5",
    ] {
        assert!(in_any_order(&text, series), "{series}\n{text}");
    }
    let count = |label: &str| -> u64 {
        let start = format!("portcullis_upstream_connections_total{{kind=\"{label}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
    };
    assert!(count("opened") >= 1 && count("opened") + count("reused") == 7);
    proxy.stop();
}

#[tokio::test]
async fn a_reload_says_how_many_callers_are_named() {
    let proxy = Proxy::with("naming", "[telemetry]\ntop_subjects = 5").await;
    let token = Sandbox::shared().token_of("ann", "claude:haiku");
    assert_eq!(proxy.post(&token, &message(HAIKU)).await.status(), 200);
    let of_ann = "portcullis_subject_requests_total{issuer=\"sandbox\",subject=\"ann\"}";
    proxy.until_metric(of_ann, |count| count == 1).await;
    proxy.reconfigure(|text| text.replace("top_subjects = 5", "top_subjects = 0")).await;
    let hidden = proxy.metrics().await;
    assert!(!hidden.contains("subject=\"ann\"") && hidden.contains("subject=\"other\""), "{hidden}");
    proxy.reconfigure(|text| text.replace("top_subjects = 0", "top_subjects = 5")).await;
    proxy.until_metric(of_ann, |count| count == 1).await;
    proxy.stop();
}

/// Names and values of `a="b",c="d"`, with no escapes in them.
fn labels_of(text: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = text.split("\",").filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once("=\"").unwrap();
        (name.to_owned(), value.trim_end_matches('"').to_owned())
    })
}

/// Whether the text has the series with this value, in whatever order its labels stand.
fn in_any_order(text: &str, series: &str) -> bool {
    let parts = |line: &str| {
        let (name, rest) = line.split_once('{')?;
        let (labels, value) = rest.rsplit_once("} ")?;
        let labels: BTreeMap<String, String> = labels_of(labels).collect();
        Some((name.to_owned(), labels, value.to_owned()))
    };
    let wanted = parts(series);
    text.lines().filter(|line| !line.starts_with('#')).any(|line| parts(line) == wanted)
}

/// Ten times the usual cost and a burst of refused tokens, seen by a real Prometheus over the rules that ops are given, with
/// their windows made short.
#[tokio::test]
async fn a_spike_is_told_of() {
    let rules = tempfile::tempdir().unwrap();
    let mut made_short = BTreeSet::new();
    for name in RULES {
        let mut text = read(name);
        let shorter =
            [("[5m]", "[3s]"), ("[1d] offset 15m", "[12s] offset 4s"), ("for: 1m", "for: 1s"), ("for: 2m", "for: 1s")];
        for (long, short) in shorter {
            if text.contains(long) {
                made_short.insert(long);
            }
            text = text.replace(long, short);
        }
        let name = Path::new(name).file_name().unwrap();
        std::fs::write(rules.path().join(name), text).unwrap();
    }
    assert_eq!(made_short.len(), 4, "{made_short:?}");
    let proxy = Arc::new(Proxy::with("spiking", "[door]\nrefused_tokens = \"100000/min\"").await);
    let target = proxy.admin("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let prometheus = Prometheus::start(&target, rules.path());
    prometheus.until("up{job=\"portcullis\"} == 1").await;
    let learnt = "model_family:portcullis_cost_usd:mad1d{model_family=\"haiku\"} and \
                  model_family:portcullis_cost_usd:expected > 0 and \
                  count_over_time(model_family:portcullis_cost_usd:rate5m[12s] offset 4s) > 20";
    let deadline = Instant::now() + Duration::from_secs(120);
    while prometheus.query(learnt).await.is_empty() {
        assert!(Instant::now() < deadline, "nothing is usual after two minutes");
        assert_eq!(proxy.call().await.status(), 200);
        tokio::time::sleep(Duration::from_millis(300)).await; // the pace of what is usual
    }
    assert_eq!(prometheus.firing().await, ["PortcullisWatchdog"], "no spike yet");
    for (title, expression) in dashboard() {
        prometheus.query(&expression.replace("[5m]", "[3s]")).await;
        assert!(!title.is_empty());
    }
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|number| {
            let (proxy, over) = (Arc::clone(&proxy), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let token = if number == 0 { "no token" } else { &proxy.token };
                    proxy.post(token, &message(HAIKU)).await.bytes().await.unwrap();
                }
            })
        })
        .collect();
    let expected = ["PortcullisCostSpike", "PortcullisUnauthorizedBurst"];
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let firing = prometheus.firing().await;
        if expected.iter().all(|name| firing.iter().any(|firing| firing == name)) {
            break;
        }
        let cost = prometheus.query("model_family:portcullis_cost_usd:rate5m").await;
        assert!(Instant::now() < deadline, "{firing:?} alone after two minutes; {cost:?}");
        tokio::time::sleep(Duration::from_millis(100)).await; // a poll with a deadline
    }
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
}
