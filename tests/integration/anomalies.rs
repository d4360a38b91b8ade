//! Anomalies through the real binary: a spike shows in the metrics, a containment follows, is on record, outlives a restart and is
//! lifted by the command.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use super::harness::{HAIKU, Proxy, Sandbox, message, request_id, run};
use super::upgrade::Line;

/// Times of the proxy's own are shortened: a baseline of seconds in place of weeks.
const CONFIGURATION: &str = r#"
[anomaly]
beat = "200ms"
warm_up = "4s"

[[containment]]
name = "watch-teams"
signals = ["requests"]
of = "team"
action = "refuse"
for = "1h"

[[containment]]
name = "stop-runaways"
mode = "enforce"
signals = ["requests"]
of = "subject"
names = ["sandbox/runaway"]
action = "refuse"
for = "1h"
"#;

/// The value of the metric that is spelled so.
fn value(metrics: &str, spelled: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(spelled)?.trim().parse().ok())
}

/// Polls with a deadline until `found` finds something.
async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(20)).await; // a poll with a deadline
    }
}

fn lines_of(proxy: &Proxy, event: &str) -> Vec<Value> {
    let lines = super::harness::lines_of(&proxy.audit);
    lines.into_iter().filter(|line| line["event"] == event).collect()
}

#[tokio::test]
async fn a_spike_is_seen_contained_recorded_and_lifted() {
    let name = "anomaly-spike";
    let mut proxy = Proxy::with(name, CONFIGURATION).await;
    let sandbox = Sandbox::shared();
    let (runaway, calm) = (sandbox.token_of("runaway", "claude:haiku"), sandbox.token_of("calm", "claude:haiku"));
    let config = proxy.folder.join(format!("{name}.toml"));
    let config = config.to_str().unwrap();

    // A usual rate, until it is known.
    let learning = "portcullis_anomaly_learning{kind=\"subject\",name=\"sandbox/runaway\",signal=\"requests\"}";
    until("a baseline", async || {
        assert_eq!(proxy.post(&runaway, &message(HAIKU)).await.status(), 200);
        tokio::time::sleep(Duration::from_millis(150)).await; // the rate itself
        (value(&proxy.metrics().await, learning) == Some(0.0)).then_some(())
    })
    .await;

    // The spike: a caller that has come loose.
    let refused = until("a refusal", async || {
        let body = message(HAIKU);
        let answers = join_all((0..40).map(|_| proxy.post(&runaway, &body))).await;
        answers.into_iter().find(|answer| answer.status() != 200)
    })
    .await;
    assert_eq!(refused.status(), 403);
    let id = request_id(&refused);
    let error: Value = refused.json().await.unwrap();
    assert_eq!(error["error"]["type"], "permission_error");
    let record = proxy.record(&id).await;
    assert_eq!((&record["reason"], &record["rule"]), (&"contained".into(), &"stop-runaways".into()));
    assert_eq!(proxy.post(&calm, &message(HAIKU)).await.status(), 200, "nobody else is contained");
    let metrics = proxy.metrics().await;
    let series = |metric: &str| {
        value(&metrics, &format!("{metric}{{kind=\"subject\",name=\"sandbox/runaway\",signal=\"requests\"}}"))
    };
    assert_eq!(series("portcullis_anomaly_active"), Some(1.0));
    assert!(series("portcullis_anomaly_expected").unwrap() > 0.0, "{metrics}");
    assert!(value(&metrics, "portcullis_anomaly_alarms_total{kind=\"subject\",signal=\"requests\"}").unwrap() >= 1.0);
    assert_eq!(value(&metrics, "portcullis_containments{action=\"refuse\",mode=\"enforce\"}"), Some(1.0));

    let contained = until("a line", async || lines_of(&proxy, "contained").into_iter().next()).await;
    for (member, expected) in [
        ("rule", "stop-runaways"),
        ("name", "runaway"),
        ("issuer", "sandbox"),
        ("mode", "enforce"),
        ("action", "refuse"),
    ] {
        assert_eq!(contained[member], expected, "{contained}");
    }

    // A restart lifts nothing, and is no reason to learn anew.
    proxy.stop();
    proxy = Proxy::with(name, CONFIGURATION).await;
    assert_eq!(proxy.post(&runaway, &message(HAIKU)).await.status(), 403);
    let listed = run(&["contain", "list", "--json", "--config", config]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&listed["id"], &listed["name"]), (&contained["containment"], &"runaway".into()));
    until("what was learnt", async || {
        let metrics = proxy.metrics().await;
        value(&metrics, learning).map(|learning| assert!(learning.abs() < 1e-9, "it learns anew"))
    })
    .await;

    // Nor does a process that takes over.
    let mut line = Line::of(&proxy);
    line.upgrade().await;
    assert_eq!(proxy.post(&runaway, &message(HAIKU)).await.status(), 403);
    assert_eq!(lines_of(&proxy, "contained").iter().filter(|line| line["name"] == "runaway").count(), 1);

    let unknown = run(&["contain", "lift", "--config", config, "ffff"]);
    assert_eq!(unknown.status.code(), Some(1));
    let id = contained["containment"].as_str().unwrap();
    let lift = run(&["contain", "lift", "--config", config, id]);
    assert_eq!(lift.status.code(), Some(0), "{lift:?}");
    assert_eq!(proxy.post(&runaway, &message(HAIKU)).await.status(), 200);
    let released = until("a line", async || lines_of(&proxy, "released").into_iter().next()).await;
    assert_eq!((&released["containment"], &released["cause"]), (&contained["containment"], &"lifted".into()));
    assert!(run(&["contain", "list", "--config", config]).stdout.is_empty());

    line.stop().await;
    assert_eq!(lines_of(&proxy, "released").len(), 1, "by one process alone");
    let verified = run(&["audit", "verify", proxy.audit.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
}
