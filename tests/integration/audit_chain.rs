//! The audit log through the real binary: it is one chain whatever happens to the process and to the disk.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::harness::authority::{Authority, Validity, roots};
use super::harness::load::Load;
use super::harness::namespace::{self, Namespace};
use super::harness::upstream::{TestUpstream, Transport};
use super::harness::{HAIKU, Proxy, Sandbox, held_to_schema, lines_of, message, run, segments_of, write_file};

fn verify(audit: &Path, more: &[&str]) -> Output {
    run(&[&["audit", "verify", audit.to_str().unwrap()], more].concat())
}

/// Every fault that verification finds, for the message of a failed test.
fn expect_verified(audit: &Path) {
    let output = verify(audit, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn events(audit: &Path, event: &str) -> usize {
    lines_of(audit).iter().filter(|line| line["event"] == event).count()
}

#[tokio::test]
async fn a_restart_goes_on_with_the_chain_and_the_key_verifies_it() {
    for round in 1..=3 {
        let proxy = Proxy::with("chain-restart", "").await;
        assert_eq!(proxy.call().await.status(), 200);
        let (audit, config) = (proxy.audit.clone(), proxy.folder.join("chain-restart.toml"));
        proxy.stop();
        assert_eq!((events(&audit, "started"), events(&audit, "stopped")), (round, round));
        let key = run(&["audit", "key", "--config", config.to_str().unwrap()]);
        let file = audit.with_file_name("chain-restart.pub");
        std::fs::write(&file, key.stdout).unwrap();
        let output = verify(&audit, &["--key", file.to_str().unwrap()]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    let audit = Sandbox::shared().folder.path().join("audit-chain-restart");
    let segments = segments_of(&audit);
    let mut content = std::fs::read(&segments[0]).unwrap();
    let at = content.len() / 2;
    content[at] ^= 1;
    std::fs::write(&segments[0], content).unwrap();
    let output = verify(&audit, &[]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains(".jsonl:") && told.contains(": record "), "{told}");
    assert_eq!(run(&["audit", "verify"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_that_the_upstream_saw_is_on_record_when_the_process_is_killed() {
    const ROUNDS: usize = 4;
    let authority = Authority::new("killed");
    let upstream = TestUpstream::start(Transport::Tls(authority.api(), roots(&[&authority])));
    write_file("killed-ca.pem", &authority.pem());
    let client = authority.client("edge", Validity::Current);
    write_file("killed.crt", &client.pem());
    write_file("killed.key", &client.key_pem());
    write_file("killed-secret", "key-of-killed");
    let section = format!("[upstream]\nendpoints = [\"{}\"]{SECTION}", upstream.address());
    let mut answered = 0;
    for round in 0..ROUNDS {
        let proxy = Proxy::upstream("chain-killed", &section).await;
        let mut load = Load::start_with(&proxy, 200, move |request, number| {
            // The one goes to the record, the other to the upstream.
            let id = format!("{round}-{number}");
            request.header("x-claude-code-session-id", &id).header("anthropic-test-id", id)
        });
        // Not all at one point of a call's way, nor of a group's.
        load.goes_on(60 + 7 * round).await;
        proxy.kill();
        let calls = load.stop().await.into_iter();
        answered += calls.filter(|call| matches!(call.answer, Ok((200, _)))).count();
    }
    let sessions = || upstream.log().into_iter().filter_map(|seen| seen.headers.get("anthropic-test-id").cloned());
    let seen: BTreeSet<String> = sessions().map(|id| id.to_str().unwrap().to_owned()).collect();
    for round in 0..ROUNDS {
        assert!(seen.iter().any(|id| id.starts_with(&format!("{round}-"))), "nothing came in round {round}: {seen:?}");
    }
    assert!(seen.len() >= answered, "{answered} were answered, and {} came", seen.len());
    Proxy::upstream("chain-killed", &section).await.stop();
    let audit = Sandbox::shared().folder.path().join("audit-chain-killed");
    expect_verified(&audit);
    assert_eq!(events(&audit, "started"), ROUNDS + 1);
    let begun: Vec<String> = lines_of(&audit)
        .iter()
        .filter(|line| line["event"] == "begin")
        .map(|line| line["session_id"].as_str().unwrap().to_owned())
        .collect();
    let once: BTreeSet<String> = begun.iter().cloned().collect();
    assert_eq!(once.len(), begun.len(), "a call is begun twice");
    let unrecorded: Vec<_> = seen.difference(&once).collect();
    assert!(unrecorded.is_empty(), "the upstream saw calls that are not on record: {unrecorded:?}");
}

const SECTION: &str = r#"
server_name = "api.anthropic.com"
ca = "killed-ca.pem"
client_certificate = "killed.crt"
client_key = { file = "killed.key" }
[[upstream.key]]
name = "killed"
secret = { file = "killed-secret" }
"#;

#[tokio::test]
async fn a_full_disk_refuses_calls_and_leaves_no_hole() {
    if namespace::enter("audit_chain::a_full_disk_refuses_calls_and_leaves_no_hole", &[]) != Namespace::Inside {
        return;
    }
    let audit = Sandbox::shared().folder.path().join("audit-chain-full");
    std::fs::create_dir(&audit).unwrap();
    mount(&["-t", "tmpfs", "-o", "size=1m", "none"], &audit);
    let proxy = Proxy::with("chain-full", "").await;
    assert_eq!(proxy.call().await.status(), 200);
    let filler = audit.join(".filler");
    // What is free is written to the last byte.
    let written = std::fs::write(&filler, vec![0; 2 << 20]);
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    let deadline = Instant::now() + Duration::from_secs(30);
    // The last page of the segment has room for some records.
    while proxy.post(&proxy.token, &message(HAIKU)).await.status() == 200 {
        assert!(Instant::now() < deadline, "the disk is not full");
    }
    proxy.until_metric("portcullis_audit_writable", |writable| writable == 0).await;
    assert_eq!(proxy.post(&proxy.token, &message(HAIKU)).await.status(), 503);
    std::fs::remove_file(filler).unwrap();
    proxy.until_metric("portcullis_audit_writable", |writable| writable == 1).await;
    assert_eq!(proxy.call().await.status(), 200);
    proxy.stop();
    expect_verified(&audit);
    let lines = held_to_schema(lines_of(&audit));
    let refused: u64 =
        lines.iter().filter(|line| line["event"] == "gap").map(|gap| gap["refused"].as_u64().unwrap()).sum();
    assert!(refused >= 2, "{refused}");
    assert_eq!(events(&audit, "begin"), events(&audit, "end"), "no call is begun twice or not at all");
}

#[tokio::test]
async fn a_folder_that_becomes_read_only_refuses_calls_until_it_is_not() {
    if namespace::enter("audit_chain::a_folder_that_becomes_read_only_refuses_calls_until_it_is_not", &[])
        != Namespace::Inside
    {
        return;
    }
    let audit = Sandbox::shared().folder.path().join("audit-chain-read-only");
    std::fs::create_dir(&audit).unwrap();
    mount(&["-t", "tmpfs", "-o", "size=1m", "none"], &audit);
    // A folder with an open segment cannot be made read-only; one between two segments can.
    let young = |text: &str| text.replace("[audit]", "[audit]\nsegment_age = \"1s\"");
    let proxy = Proxy::start("chain-read-only", young);
    proxy.until_ready().await;
    assert_eq!(proxy.call().await.status(), 200);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let remounted = Command::new("mount").args(["-o", "remount,ro,bind"]).arg(&audit).output().unwrap();
        if remounted.status.success() {
            break;
        }
        assert!(Instant::now() < deadline, "{remounted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await; // a poll with a deadline
    }
    assert_eq!(proxy.post(&proxy.token, &message(HAIKU)).await.status(), 503);
    proxy.until_metric("portcullis_audit_writable", |writable| writable == 0).await;
    mount(&["-o", "remount,rw,bind"], &audit);
    proxy.until_metric("portcullis_audit_writable", |writable| writable == 1).await;
    assert_eq!(proxy.call().await.status(), 200);
    proxy.stop();
    expect_verified(&audit);
    assert!(events(&audit, "gap") >= 1);
}

#[tokio::test]
async fn what_is_not_ours_in_the_folder_is_told_and_left_alone() {
    let audit = Sandbox::shared().folder.path().join("audit-chain-foreign");
    std::fs::create_dir(&audit).unwrap();
    std::fs::write(audit.join("audit.jsonl"), "theirs").unwrap();
    let proxy = Proxy::with("chain-foreign", "").await;
    assert_eq!(proxy.call().await.status(), 200);
    assert_eq!(std::fs::read(audit.join("audit.jsonl")).unwrap(), b"theirs");
    proxy.stop();
    expect_verified(&audit);
}

fn mount(arguments: &[&str], at: &Path) {
    let output = Command::new("mount").args(arguments).arg(at).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
