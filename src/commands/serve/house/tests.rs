use std::path::Path;
use std::time::Duration;

use super::super::watch::Watch;
use super::super::work::Work;
use super::*;
use crate::telemetry::AuditMetrics;

const TEXT: &str = r#"[listen]
address = "127.0.0.1:0"
[[issuer]]
name = "held"
issuer = "https://held.test"
audience = ["api://claude"]
secret = { file = "secret" }
[[issuer]]
name = "fetched"
issuer = "https://fetched.test"
audience = ["api://claude"]
jwks_uri = "http://127.0.0.1:1/jwks"
[[grant]]
scope = "claude:haiku"
models = ["claude-haiku-*"]
[revocation]
file = "revoked.json"
[upstream]
endpoints = ["127.0.0.1:1"]
tls = false
[upstream.health]
check = "none"
[[upstream.key]]
name = "one"
secret = { file = "key" }
[privacy]
disable = ["secrets"]
[audit]
directory = "audit"
"#;

struct Place {
    folder: tempfile::TempDir,
    ground: Ground,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("secret", "a-secret-of-thirty-two-bytes-...."),
            ("key", "sk-ant-one"),
            ("other-key", "sk-ant-two"),
            ("revoked.json", r#"{"subjects": ["mallory"]}"#),
            ("others.json", r#"{"subjects": ["mallory", "eve"]}"#),
        ] {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let metrics = Arc::new(Metrics::new().unwrap());
        let audit = AuditLog::for_tests(AuditMetrics::unregistered().unwrap());
        let ground = Ground {
            watch: Arc::new(Watch::open(None, Vec::new(), folder.path(), audit.clone()).unwrap()),
            audit,
            metrics,
            in_flight: Arc::default(),
            revocations: Arc::default(),
            store: None,
        };
        Self { folder, ground }
    }

    fn config(&self, text: &str) -> Config {
        let path: &Path = &self.folder.path().join("portcullis.toml");
        Config::parse(path, text.to_owned()).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn build(&self, text: &str, before: Option<&House>) -> Built {
        House::build(self.config(text), &self.ground, before, None).unwrap()
    }
}

fn same<T>(one: &Arc<T>, other: &Arc<T>) -> bool {
    Arc::ptr_eq(one, other)
}

#[test]
fn what_is_the_same_stays_and_what_is_not_has_what_is_known_of_it() {
    let place = Place::new();
    let before = place.build(TEXT, None).house;
    before.enforce_revocations();
    let was = &before.gateway;
    let held = {
        let mut held = was.body_memory.hold();
        assert!(held.grow(7));
        held
    };
    let after = place.build(&TEXT.replace("claude:haiku", "claude:sonnet"), Some(&before)).house;
    let now = &after.gateway;
    assert!(same(&was.upstream, &now.upstream) && same(&was.keys, &now.keys));
    assert!(same(&was.revocations, &now.revocations) && after.has_revocations_of(&before));
    assert!(same(&was.in_flight, &now.in_flight) && now.body_memory.held() == 7);
    assert_eq!(House::changed_sections(&after.sections, &before), ["grant"]);
    assert_eq!(after.missing(&before), [""; 0], "an issuer that had no keys keeps nobody waiting");
    drop(held);
    assert_eq!(now.body_memory.held(), 0);

    // Another way to the upstream takes the same keys along, to be kept current on it.
    let elsewhere = place.build(&TEXT.replace("\"127.0.0.1:1\"", "\"127.0.0.1:2\""), Some(&before)).house;
    assert!(!same(&was.upstream, &elsewhere.gateway.upstream) && !same(&was.keys, &elsewhere.gateway.keys));
    assert!(elsewhere.gateway.keys.is_as(&was.keys));
    let rekeyed = place.build(&TEXT.replace("file = \"key\"", "file = \"other-key\""), Some(&before)).house;
    assert!(same(&was.upstream, &rekeyed.gateway.upstream) && !rekeyed.gateway.keys.is_as(&was.keys));
}

#[test]
fn what_is_missing_is_told_before_anything_is_changed() {
    let place = Place::new();
    let before = place.build(TEXT, None).house;
    before.enforce_revocations();
    let text = TEXT.replace("127.0.0.1:1/jwks", "127.0.0.1:2/jwks").replace("[\"127.0.0.1:1\"]", "[\"api.test:1\"]");
    let text = text.replace("tls = false", "server_name = \"api.test\"");
    let after = place.build(&text.replace("revoked.json", "others.json"), Some(&before)).house;
    assert_eq!(after.missing(&before), ["the keys of issuer fetched", "an upstream address"]);
    let revoked = |subject| place.ground.revocations.revoked("held", subject, None, None).is_some();
    assert!(revoked("mallory") && !revoked("eve"), "nothing is in force yet");
    after.enforce_revocations();
    assert!(revoked("mallory") && revoked("eve"));
}

#[tokio::test]
async fn a_thousand_reloads_leave_no_task_behind() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let place = Place::new();
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let turned = TEXT
        .replace("127.0.0.1:1", "127.0.0.1:2")
        .replace("revoked.json", "others.json")
        .replace("file = \"key\"", "file = \"other-key\"");
    let Built { mut house, jobs } = place.build(TEXT, None);
    let mut work = Work::default().succeeded_by(jobs);
    let tasks = alive();
    assert!(tasks >= 5, "{tasks}");
    for turn in 0..1_000 {
        let built = place.build(if turn % 2 == 0 { &turned } else { TEXT }, Some(&house));
        work = work.succeeded_by(built.jobs);
        house = built.house;
        tokio::time::sleep(Duration::ZERO).await; // those that ended leave at their next turn
    }
    let settled = async {
        while alive() > tasks {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), settled).await.unwrap();
    assert_eq!((alive(), Arc::strong_count(&house.gateway)), (tasks, 1));
}
