use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};

use super::super::tests::{federated, named, permit, secret_in};
use super::super::{KeyClaim, KeyUsage, NamedKey};
use super::*;
use crate::claude::Family;

fn is_send<T: Send>(value: T) -> T {
    value
}

/// What is logged while the guard lives, by this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        tracing::subscriber::set_default(subscriber.with_ansi(false).with_writer(move || log.clone()).finish())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A ring of a plain key, one in a file and one of federation, with a folder for both files.
fn ring(folder: &std::path::Path) -> KeyRing {
    std::fs::write(folder.join("key"), "sk-old").unwrap();
    std::fs::write(folder.join("token"), "a.b.c").unwrap();
    KeyRing::new(vec![
        named("plain"),
        secret_in(&folder.join("key")),
        NamedKey { teams: vec!["x".to_owned()], ..federated(&folder.join("token")) },
    ])
}

fn borne(ring: &KeyRing, name: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(key) = ring.named(name) {
        key.authenticate(&mut headers);
    }
    headers
}

#[tokio::test]
async fn one_future_keeps_all_keys_current_and_logs_no_secret() {
    let log = Log::default();
    let _guard = log.capture();
    let folder = tempfile::tempdir().unwrap();
    let ring = ring(folder.path());
    let asked = Mutex::new(Vec::new());
    let send = |request: Request<Bytes>| {
        asked.lock().unwrap().push(request.uri().to_string());
        let (status, body) = match request.uri().path() {
            "/v1/oauth/token" => (200, r#"{"access_token": "sk-token", "expires_in": 600}"#),
            _ => (401, "{}"),
        };
        async move { Ok(Response::builder().status(status).body(Bytes::from_static(body.as_bytes())).unwrap()) }
    };
    assert!(!ring.is_ready());
    let steps = async {
        let until = async |is_so: &dyn Fn() -> bool| {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        until(&|| ring.is_ready()).await;
        assert_eq!(borne(&ring, "federated")["authorization"], "Bearer sk-token");
        std::fs::write(folder.path().join("key"), "sk-new").unwrap();
        until(&|| borne(&ring, "filed")["x-api-key"] == "sk-new").await;
        std::fs::write(folder.path().join("key"), "sk-new and more").unwrap();
        until(&|| ring.states(SystemTime::now()).any(|key| key.name == "filed" && key.faulty)).await;
        let claim = KeyClaim { teams: &[], permit: &permit(&["g"]), family: Family::Opus };
        let key = ring.choose(claim, &[], SystemTime::now()).unwrap();
        assert_eq!(key.name(), "plain");
        ring.answered(&key, StatusCode::UNAUTHORIZED, &HeaderMap::new(), Family::Opus, SystemTime::now());
        until(&|| ring.states(SystemTime::now()).next().unwrap().usage == KeyUsage::SetAside).await;
    };
    tokio::select! {
        () = is_send(ring.upkeep(&send)) => panic!("the upkeep has ended"),
        done = tokio::time::timeout(Duration::from_secs(20), steps) => done.unwrap(),
    }
    assert_eq!(*asked.lock().unwrap(), ["/v1/oauth/token", "/v1/models?limit=1"]);
    let log = log.text();
    assert!(!log.contains("sk-") && !log.contains("a.b.c"), "{log}");
}
