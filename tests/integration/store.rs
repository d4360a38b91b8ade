//! The connection to a real Redis: alone, behind TLS, as a cluster, found by a sentinel.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::config::{Layout, Sentinel, StoreConfig, StoreServer, StoreTls};
use portcullis::credential::Secret;
use portcullis::store::{Store, StoreDown};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::harness::redis::Redis;

fn config(redis: &Redis) -> StoreConfig {
    StoreConfig {
        layout: Layout::Single,
        servers: vec![StoreServer { host: "127.0.0.1".to_owned(), port: redis.port() }],
        tls: None,
        database: 0,
        user: None,
        password: None,
        prefix: "portcullis".to_owned(),
        instances: NonZeroU64::MIN,
    }
}

fn start(config: &StoreConfig) -> Arc<Store> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = Arc::new(Store::new(config).unwrap());
    let upkeep = Arc::clone(&store);
    tokio::spawn(async move { upkeep.upkeep().await });
    store
}

/// A script over two keys, which in a cluster have to lie in one slot.
async fn count(store: &Store) -> Result<u64, StoreDown> {
    let script = redis::Script::new("redis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[2])");
    let mut call = script.key(store.key("one"));
    call.key(store.key("two"));
    store.call(|mut connection| async move { call.invoke_async(&mut connection).await }).await
}

/// Counts until the store answers: on a busy machine 50 ms may pass.
async fn counts(store: &Store) -> bool {
    let end = Instant::now() + LONG;
    while Instant::now() < end {
        if store.wait_until_up(LONG).await && count(store).await.is_ok() {
            return true;
        }
    }
    false
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_store_that_goes_and_comes_back_is_noticed_both_times() {
    let mut redis = Redis::start();
    let store = start(&config(&redis));
    assert!(counts(&store).await);
    redis.kill();
    assert_eq!(count(&store).await, Err(StoreDown));
    let failures = store.failures();
    assert!(!store.is_up() && failures > 0);
    let asked = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(count(&store).await, Err(StoreDown));
    }
    assert!(asked.elapsed() < Duration::from_millis(50), "calls wait for a store that is known to be down");
    redis.revive();
    assert!(counts(&store).await);
}

#[tokio::test]
async fn calls_end_in_time_while_the_store_hangs() {
    let redis = Redis::start();
    let store = start(&config(&redis));
    assert!(counts(&store).await);
    redis.hang();
    let asked = Instant::now();
    assert_eq!(count(&store).await, Err(StoreDown));
    assert!(asked.elapsed() < Duration::from_millis(400), "waited {:?}", asked.elapsed());
    redis.resume();
    assert!(counts(&store).await);
}

/// Writes a certificate for `name` and its key to `folder`, signed by `authority`.
fn certificate(folder: &Path, name: &str, authority: &CertifiedIssuer<'_, KeyPair>) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name); // OpenSSL takes one with its issuer's name for self-signed
    let (certificate, key) = (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem());
    std::fs::write(folder.join(format!("{name}.crt")), &certificate).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), &key).unwrap();
    (certificate, key)
}

#[tokio::test]
async fn tls_needs_the_right_authority_the_clients_certificate_and_the_password() {
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (right, wrong) = (authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    certificate(folder.path(), "server", &right);
    let (client_certificate, client_key) = certificate(folder.path(), "client", &right);
    std::fs::write(folder.path().join("ca.crt"), right.pem()).unwrap();
    let redis = Redis::start_with(|port, _| {
        let files = [
            "--tls-cert-file",
            &path("server.crt"),
            "--tls-key-file",
            &path("server.key"),
            "--tls-ca-cert-file",
            &path("ca.crt"),
        ];
        let rest =
            ["--port", "0", "--tls-port", &port.to_string(), "--tls-auth-clients", "yes", "--requirepass", "hunter2"];
        files.iter().chain(&rest).map(|argument| (*argument).to_owned()).collect()
    });
    let with = |ca: &str, client: bool, password: &str| StoreConfig {
        tls: Some(StoreTls {
            ca: Some(ca.as_bytes().to_vec()),
            client: client.then(|| (client_certificate.clone().into(), Secret::new(client_key.clone().into()))),
        }),
        password: Some(Secret::new(password.into())),
        ..config(&redis)
    };
    assert!(counts(&start(&with(&right.pem(), true, "hunter2"))).await);
    for (ca, client, password) in
        [(wrong.pem(), true, "hunter2"), (right.pem(), false, "hunter2"), (right.pem(), true, "guess")]
    {
        let store = start(&with(&ca, client, password));
        let end = Instant::now() + LONG;
        while store.failures() < 2 {
            assert!(Instant::now() < end);
            tokio::task::yield_now().await;
        }
        assert!(!store.is_up(), "client certificate: {client}, password: {password}");
    }
}

#[tokio::test]
async fn all_keys_of_a_prefix_lie_in_one_slot_of_a_cluster() {
    let redis = Redis::start_with(|port, _| {
        ["--port", &port.to_string(), "--cluster-enabled", "yes"]
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect()
    });
    let client = redis::Client::open(("127.0.0.1", redis.port())).unwrap();
    let mut connection = client.get_connection().unwrap();
    let () = redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16_383).query(&mut connection).unwrap();
    assert!(counts(&start(&StoreConfig { layout: Layout::Cluster, ..config(&redis) })).await);
}

#[tokio::test]
async fn a_sentinel_tells_where_the_master_is() {
    let redis = Redis::start();
    let sentinel = Redis::start_with(|port, folder| {
        let file = folder.join("sentinel.conf");
        std::fs::write(&file, format!("sentinel monitor main 127.0.0.1 {} 1\n", redis.port())).unwrap();
        let arguments = [&file.display().to_string(), "--sentinel", "--port", &port.to_string()];
        arguments.iter().map(|argument| (*argument).to_owned()).collect()
    });
    assert!(
        counts(&start(&StoreConfig {
            layout: Layout::Sentinel(Sentinel { master: "main".to_owned(), user: None, password: None }),
            ..config(&sentinel)
        }))
        .await
    );
}
