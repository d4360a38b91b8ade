//! `portcullis audit show` on what a proxy has written.

use serde_json::Value;

use super::harness::{HAIKU, Proxy, message, request_id, run};

#[tokio::test]
async fn the_log_of_a_proxy_is_shown_and_summed() {
    let proxy = Proxy::with("show", "").await;
    let served = request_id(&proxy.post(&proxy.token, &message(HAIKU)).await);
    let refused = request_id(&proxy.post(&proxy.token, &message("claude-opus-4-5")).await);
    let line = proxy.record(&served).await;
    proxy.record(&refused).await;
    let folder = proxy.folder.join("audit-show");
    let folder = folder.to_str().unwrap();
    proxy.stop(); // a line that is being written would look torn
    let show = |options: &[&str]| {
        let output = run(&[&["audit", "show", folder][..], options].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };

    let table = show(&["--request-id", &served]);
    let (subject, cost) = (line["subject"].as_str().unwrap(), line["cost_micro_usd"].as_u64().unwrap());
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains(&format!("{subject} ")) && table.contains(" 200 "), "{table}");
    let denied = show(&["--outcome", "denied", "--format", "json"]);
    let denied: Value = serde_json::from_str(denied.trim_end()).unwrap();
    assert_eq!((&denied["request_id"], &denied["reason"]), (&refused.as_str().into(), &"model_forbidden".into()));
    let event = show(&["--request-id", &refused, "--format", "ocsf"]);
    let event: Value = serde_json::from_str(event.trim_end()).unwrap();
    assert_eq!((&event["type_uid"], &event["action_id"]), (&600_301.into(), &2.into()));
    let totals: Value = serde_json::from_str(&show(&["--totals", "--format", "json"])).unwrap();
    assert_eq!(totals["cost_micro_usd_by_subject"][subject], cost);
    assert_eq!((&totals["requests"], &totals["reasons"]["model_forbidden"]), (&2.into(), &1.into()));
}

#[test]
fn a_damaged_line_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit-0-000000000001.jsonl");
    let line = |subject: &str| {
        format!(
            "{{\"seq\":1,\"prev\":\"00\",\"event\":\"refused\",\"time\":\"2026-11-24T10:00:00Z\",\"subject\":\"{subject}\"}}\n"
        )
    };
    std::fs::write(&path, format!("{}{{\"seq\":2,\n{}", line("alice"), line("bob"))).unwrap();
    let output = run(&["audit", "show", path.to_str().unwrap()]);
    let (shown, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(shown.contains("alice") && shown.contains("bob"), "{shown}");
    assert!(told.contains(&format!("{}:2: is no record", path.display())), "{told}");
    assert_eq!(run(&["audit", "show", "--since", "soon", "x"]).status.code(), Some(2));
}
