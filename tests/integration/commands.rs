//! The commands, as a person at a shell meets them.

use super::harness::{Sandbox, portcullis, run};

#[test]
fn help_has_examples_and_wrong_usage_is_exit_2() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    for command in ["serve", "check", "sandbox", "token"] {
        assert!(text.contains(command), "{text}");
        let help = run(&[command, "--help"]);
        assert!(String::from_utf8(help.stdout).unwrap().contains("Example"), "{command}");
    }
    for wrong in
        [&[][..], &["serve"], &["frobnicate"], &["token", "--config", "x"], &["sandbox", "--listen", "nowhere"]]
    {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn check_tells_every_fault_and_exits_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, "[listen]\nadress = \"127.0.0.1:1\"\n\n[[grant]]\nscope = 7\n").unwrap();
    let checked = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!((checked.status.code(), checked.stdout.len()), (Some(1), 0));
    let text = String::from_utf8(checked.stderr).unwrap();
    for expected in [
        "bad.toml:2: listen.adress: unknown key; did you mean `address`?",
        "bad.toml:5: grant[0].scope: is not text in quotes",
        "issuer: is missing",
        "upstream: is missing",
        "audit: is missing",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert_eq!(run(&["serve", "--config", file.to_str().unwrap()]).status.code(), Some(1));
}

#[test]
fn check_accepts_what_the_sandbox_serves() {
    let config = Sandbox::shared().ready.config_file.to_str().unwrap();
    let checked = run(&["check", "--config", config]);
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn an_address_in_use_is_told_by_name() {
    let config = Sandbox::shared().ready.config_file.to_str().unwrap();
    let served = run(&["serve", "--config", config]);
    assert_eq!(served.status.code(), Some(1));
    assert!(String::from_utf8(served.stderr).unwrap().contains("cannot listen on 127.0.0.1:"));
}

#[test]
fn every_file_of_the_sandbox_is_in_its_folder_and_private() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::shared();
    let folder = sandbox.folder.path();
    for name in ["ca.crt", "server.key", "client.key", "upstream.key", "issuer.key", "anthropic-key", "portcullis.toml"]
    {
        let mode = std::fs::metadata(folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    assert!(sandbox.ready.audit_directory.starts_with(folder.canonicalize().unwrap()));
}

#[test]
fn token_signs_only_for_issuers_that_it_is_given_a_key_for() {
    let config = Sandbox::shared().ready.config_file.to_str().unwrap();
    let unknown = run(&["token", "--config", config, "--subject", "a", "--scope", "b", "--issuer", "okta"]);
    assert_eq!(unknown.status.code(), Some(1));
    let signed = run(&["token", "--config", config, "--subject", "a", "--scope", "b", "--lifetime", "5m"]);
    let token = String::from_utf8(signed.stdout).unwrap();
    assert_eq!(token.trim().split('.').count(), 3);
    assert_eq!(
        run(&["token", "--config", config, "--subject", "a", "--scope", "b", "--lifetime", "5"]).status.code(),
        Some(2)
    );
}

#[test]
fn secrets_come_from_the_environment_too() {
    let sandbox = Sandbox::shared();
    let text = std::fs::read_to_string(&sandbox.ready.config_file).unwrap();
    let file = sandbox.folder.path().join("environment.toml");
    std::fs::write(&file, text.replace("{ file = \"anthropic-key\" }", "{ env = \"EDGE_KEY\" }")).unwrap();
    let check = |value: Option<&str>| {
        let mut command = portcullis();
        command.args(["check", "--config"]).arg(&file);
        command.env_remove("EDGE_KEY").envs(value.map(|value| ("EDGE_KEY", value)));
        command.output().unwrap().status.code()
    };
    assert_eq!((check(Some("sk-ant-x")), check(None), check(Some(" "))), (Some(0), Some(1), Some(1)));
}

#[test]
fn redact_masks_text_and_objects_and_names_a_bad_line() {
    use std::io::Write;
    use std::process::Stdio;
    let redact = |arguments: &[&str], input: &str| {
        let mut child = portcullis()
            .arg("redact")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let masked = redact(&[], "Größe: write to ann@example.com.\n");
    let text = String::from_utf8(masked.stdout).unwrap();
    assert!(text.starts_with("Größe: write to [EMAIL:") && text.ends_with("].\n"), "{text}");
    let lines = "{\"id\":\"a\",\"text\":\"ä ann@example.com\"}\n{\"id\":2}\n";
    let masked = redact(&["--jsonl"], lines);
    assert_eq!(masked.status.code(), Some(1));
    assert!(String::from_utf8(masked.stderr).unwrap().contains("line 2 is not an object"));
    let masked = redact(&["--jsonl"], lines.split_inclusive('\n').next().unwrap());
    let answer: serde_json::Value = serde_json::from_slice(&masked.stdout).unwrap();
    assert_eq!(answer["spans"], serde_json::json!([{"type": "EMAIL", "start": 2, "end": 17}]));
}

#[test]
fn a_drain_that_outlives_the_unit_is_warned_of_and_is_no_fault() {
    let sandbox = Sandbox::shared();
    let text = std::fs::read_to_string(&sandbox.ready.config_file).unwrap();
    for (drain, warned) in [("30s", false), ("37s", false), ("38s", true)] {
        let config = sandbox.folder.path().join(format!("drain-{drain}.toml"));
        std::fs::write(&config, text.replace("[listen]", &format!("[listen]\ndrain = \"{drain}\""))).unwrap();
        let output = run(&["check", "--config", config.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        assert_eq!(told.contains("listen.drain") && told.contains("TimeoutStopSec=61"), warned, "{drain}: {told}");
    }
}
