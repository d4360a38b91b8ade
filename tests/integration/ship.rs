//! Shipping through the real binary, to real stores.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::harness::s3::{self, ACCESS_KEY, S3, SECRET_KEY, Way};
use super::harness::{Proxy, log_of, run, segments_of, unique_id, write_file};

const SHIPPED: &str = "portcullis_audit_ship_segments_total";
const WAITING: &str = "portcullis_audit_ship_waiting";
const DELETED: &str = "portcullis_audit_segments_deleted_total";

/// Starts a proxy with small segments that go to `bucket` by `endpoint`. `more` ends `[audit.ship]`.
async fn ship(name: &str, endpoint: &str, bucket: &str, secret: &str, more: &str) -> Proxy {
    write_file(&format!("{name}.id"), ACCESS_KEY);
    write_file(&format!("{name}.secret"), secret);
    let section = format!(
        "[audit.ship]\nurl = \"s3://{bucket}/edge/audit\"\nendpoint = \"{endpoint}\"\nhost = \"edge-1\"\n\
         access_key_id = {{ file = \"{name}.id\" }}\nsecret_access_key = {{ file = \"{name}.secret\" }}\n\
         interval = \"100ms\"\n{more}"
    );
    let proxy = Proxy::start(name, |text| {
        format!("{}\n{section}\n", text.replace("[audit]", "[audit]\nsegment_size = \"64KiB\""))
    });
    proxy.until_ready().await;
    proxy
}

/// Makes calls until so many segments are there or were.
async fn fill(proxy: &Proxy, segments: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let last = |audit: &Path| segments_of(audit).len();
    while last(&proxy.audit) < segments {
        for answer in join_all((0..20).map(|_| proxy.call())).await {
            assert_eq!(answer.status(), 200);
        }
        assert!(Instant::now() < deadline, "{} segments", last(&proxy.audit));
    }
}

/// Waits until every closed segment is in the store.
async fn until_shipped(proxy: &Proxy, segments: u64) {
    proxy.until_metric(SHIPPED, |shipped| shipped >= segments).await;
    proxy.until_metric(WAITING, |waiting| waiting == 0).await;
}

fn failures(kind: &str) -> String {
    format!("portcullis_audit_ship_failures_total{{kind=\"{kind}\"}}")
}

/// Waits until the log tells of a failure of this kind.
async fn until_told(proxy: &Proxy, kind: &str) {
    proxy.until_metric(&failures(kind), |failures| failures >= 2).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let log = proxy.log();
        if log.contains(&format!("kind=\"{kind}\"")) && log.contains("audit segments are not shipped") {
            assert!(!log.contains(SECRET_KEY), "{log}");
            return;
        }
        assert!(Instant::now() < deadline, "{log}");
        tokio::time::sleep(Duration::from_millis(20)).await; // a poll with a deadline: the log comes through a pipe
    }
}

/// Verifies what the bucket holds with the host's key, as an auditor does; the names of the objects.
fn expect_verified(store: &S3, bucket: &str, name: &str, folder: &Path) -> Vec<String> {
    let objects = tempfile::tempdir().unwrap();
    let keys = store.fetch(bucket, objects.path());
    let key = run(&["audit", "key", "--config", folder.join(format!("{name}.toml")).to_str().unwrap()]);
    let file = objects.path().join("host.pub");
    std::fs::write(&file, key.stdout).unwrap();
    let output = run(&["audit", "verify", "--key", file.to_str().unwrap(), objects.path().to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_wait_for_the_store_and_leave_this_host_once_they_are_locked_there() {
    let store = s3::seaweed();
    let (bucket, mut way) = (store.bucket(), Way::to(store));
    let more = "retention = \"2d\"\nlock = \"governance\"\nserver_side_encryption = \"AES256\"\n\
                [audit.keep]\nmax_size = \"64KiB\"";
    let proxy = ship("ship-lock", &way.endpoint(), &bucket, SECRET_KEY, more).await;
    fill(&proxy, 4).await;
    until_told(&proxy, "store").await;
    proxy.until_metric(WAITING, |waiting| waiting >= 3).await;
    proxy.until_metric(DELETED, |deleted| deleted == 0).await;
    assert!(segments_of(&proxy.audit)[0].ends_with("audit-0-000000000001.jsonl"), "what waits stays here");
    way.open().await;
    until_shipped(&proxy, 3).await;
    proxy.until_metric(DELETED, |deleted| deleted >= 2).await;
    let (folder, audit) = (proxy.folder.clone(), proxy.audit.clone());
    proxy.stop();
    let versions = store.versions(&bucket);
    let now = time::OffsetDateTime::now_utc();
    for one in &versions {
        assert!(one.key.starts_with("edge/audit/dt=20") && one.key.contains("/host=edge-1/audit-0-"), "{one:?}");
        assert_eq!((one.lock.as_deref(), one.encryption.as_deref()), (Some("GOVERNANCE"), Some("AES256")), "{one:?}");
        let until =
            time::OffsetDateTime::parse(one.until.as_ref().unwrap(), &time::format_description::well_known::Rfc3339);
        assert!((1..=2).contains(&(until.unwrap() - now).whole_days()), "{one:?}");
        assert_eq!(one.r#type, "application/zstd");
        let names: Vec<&str> = one.metadata.keys().map(String::as_str).collect();
        assert_eq!(names, ["chain-head", "first-seq", "last-seq", "segment-sha256"]);
    }
    assert_eq!(store.delete(&bucket, &versions[0]).as_deref(), Some("AccessDenied"));
    assert_eq!(expect_verified(store, &bucket, "ship-lock", &folder).len(), versions.len());
    let left = segments_of(&audit);
    // The newest was closed at the end, and may wait for the next start.
    let confirmed = left.iter().rev().skip(1).all(|one| one.with_extension("jsonl.shipped").exists());
    assert!(left.len() < versions.len() && confirmed, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_while_it_ships_leaves_every_segment_there_once() {
    let store = s3::seaweed();
    let (bucket, mut way) = (store.bucket(), Way::to(store));
    way.open().await;
    way.let_answers(false);
    let proxy = ship("ship-killed", &way.endpoint(), &bucket, SECRET_KEY, "").await;
    fill(&proxy, 3).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    // The store has it, and the proxy does not know.
    while store.versions(&bucket).is_empty() {
        assert!(Instant::now() < deadline, "nothing was sent");
    }
    proxy.until_metric(SHIPPED, |shipped| shipped == 0).await;
    proxy.kill();
    way.let_answers(true);
    let proxy = ship("ship-killed", &way.endpoint(), &bucket, SECRET_KEY, "").await;
    let (folder, audit) = (proxy.folder.clone(), proxy.audit.clone());
    until_shipped(&proxy, 2).await;
    proxy.stop();
    let mut keys: Vec<String> = store.versions(&bucket).into_iter().map(|one| one.key).collect();
    keys.sort();
    let names: Vec<String> =
        segments_of(&audit).iter().map(|path| format!("{}.zst", path.file_name().unwrap().to_str().unwrap())).collect();
    let shipped: Vec<&str> = keys.iter().map(|key| key.rsplit('/').next().unwrap()).collect();
    // The newest was closed at the end, and may wait for the next start.
    assert!(shipped == names || shipped == names[..names.len() - 1], "{shipped:?} of {names:?}");
    expect_verified(store, &bucket, "ship-killed", &folder);
    assert!(log_of(&audit).contains("\"event\":\"stopped\""));
}

#[tokio::test]
async fn wrong_credentials_are_told_and_new_ones_are_taken_without_a_restart() {
    let store = s3::seaweed();
    let bucket = store.bucket();
    let proxy = ship("ship-key", &store.endpoint(), &bucket, "wrong", "").await;
    fill(&proxy, 2).await;
    until_told(&proxy, "credentials").await;
    write_file("ship-key.secret", SECRET_KEY);
    until_shipped(&proxy, 1).await;
}

#[tokio::test]
async fn a_bucket_that_is_missing_is_told_and_gets_everything_once_it_is_made() {
    let store = s3::moto();
    let bucket = format!("evidence-{}", unique_id());
    let proxy =
        ship("ship-bucket", &store.endpoint(), &bucket, SECRET_KEY, "retention = \"1d\"\nlock = \"compliance\"").await;
    fill(&proxy, 2).await;
    until_told(&proxy, "bucket").await;
    store.make(&bucket);
    until_shipped(&proxy, 1).await;
    let folder = proxy.folder.clone();
    proxy.stop();
    expect_verified(store, &bucket, "ship-bucket", &folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_another_object_has_is_told_once_and_holds_nothing_else_up() {
    let store = s3::seaweed();
    let bucket = store.bucket();
    let today = time::OffsetDateTime::now_utc().date();
    for day in [today, today.next_day().unwrap()] {
        store.put(&bucket, &format!("edge/audit/dt={day}/host=edge-1/audit-0-000000000001.jsonl.zst"), "theirs");
    }
    let proxy = ship("ship-conflict", &store.endpoint(), &bucket, SECRET_KEY, "").await;
    for segments in [3, 4] {
        fill(&proxy, segments).await;
        proxy.until_metric(SHIPPED, |shipped| shipped >= segments as u64 - 2).await;
    }
    proxy.until_metric(&failures("conflict"), |conflicts| conflicts == 1).await;
    proxy.until_metric(WAITING, |waiting| waiting == 1).await;
    assert!(proxy.log().contains("another object has the key"));
}
