//! The queries that auditors are given, over what the real binary writes.

use std::process::Command;

use super::harness::s3::installed;
use super::harness::{HAIKU, Proxy, lines_of, message, segments_of};

#[tokio::test]
async fn published_queries_tell_what_the_records_say() {
    let proxy = Proxy::with("queries", "").await;
    for model in [HAIKU, "claude-sonnet-4-5", "claude-opus-4-8", HAIKU] {
        proxy.post(&proxy.token, &message(model)).await.bytes().await.unwrap();
    }
    assert_eq!(proxy.post("no token", &message(HAIKU)).await.status(), 401);
    let audit = proxy.audit.clone();
    proxy.stop();
    // A second segment, as a restart after a closing checkpoint makes it.
    let again = Proxy::with("queries", "").await;
    assert_eq!(again.call().await.status(), 200);
    again.stop();
    let day = lines_of(&audit)[0]["time"].as_str().unwrap()[..10].to_owned();
    let shipped = tempfile::tempdir().unwrap();
    let folder = shipped.path().join(format!("dt={day}/host=edge-1"));
    std::fs::create_dir_all(&folder).unwrap();
    for segment in segments_of(&audit) {
        let object = zstd::stream::encode_all(&*std::fs::read(&segment).unwrap(), 3).unwrap();
        let name = segment.file_name().unwrap().to_str().unwrap();
        std::fs::write(folder.join(format!("{name}.zst")), object).unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/deploy/queries.py");
    let output = Command::new(installed("bin/python")).arg(script).arg(shipped.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
