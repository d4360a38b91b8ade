//! `portcullis doctor`: all green in good surroundings, and in bad ones exactly what is broken is named.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::harness::authority::{Authority, Validity, roots};
use super::harness::dns::DnsServer;
use super::harness::redis::Redis;
use super::harness::upstream::{BlackHole, TestUpstream, TokenAnswer, Transport};
use super::harness::{Sandbox, free_addresses, log_of, now, run, write_file};

const NAME: &str = "api.doctor.test";
const API: &str = "api.anthropic.com";

fn doctor(config: &Path, more: &[&str]) -> Output {
    run(&[&["doctor", "--config", config.to_str().unwrap()], more].concat())
}

/// The lines of `--json`.
fn findings(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the lines with this outcome are about.
fn with_outcome<'a>(findings: &'a [Value], outcome: &str) -> Vec<(&'a str, &'a str)> {
    let lines = findings.iter().filter(|finding| finding["outcome"] == outcome);
    lines.map(|finding| (finding["check"].as_str().unwrap(), finding["subject"].as_str().unwrap())).collect()
}

/// Good surroundings, each of which can be broken.
struct Surroundings {
    name: &'static str,
    authority: Authority,
    upstream: TestUpstream,
    second: TestUpstream,
    dns: DnsServer,
    redis: Redis,
    key: String,
}

impl Surroundings {
    /// Those of one test, whose files have `name` in theirs.
    fn start(name: &'static str) -> Self {
        let authority = Authority::new(name);
        let transport = || Transport::Tls(authority.api(), roots(&[&authority]));
        let mut upstreams = TestUpstream::group(vec![transport(), transport()]).into_iter();
        let (upstream, second) = (upstreams.next().unwrap(), upstreams.next().unwrap());
        let client = authority.client("edge", Validity::Current);
        write_file(&format!("{name}-ca.pem"), &authority.pem());
        write_file(&format!("{name}.crt"), &client.pem());
        write_file(&format!("{name}.key"), &client.key_pem());
        write_file(&format!("{name}-identity"), "e30.e30.hidden");
        let key = fs::read_to_string(Sandbox::shared().folder.path().join("anthropic-key")).unwrap();
        Self { name, authority, upstream, second, dns: DnsServer::start(), redis: Redis::start(), key }
    }

    /// Everything is as it should be from now on; the configuration of that.
    fn mend(&self) -> String {
        self.upstream.present(&self.authority.api());
        self.upstream.trust(&[&self.authority]);
        self.upstream.accept(&self.key, 200, &[]);
        self.upstream.answer_tokens(TokenAnswer::Fresh(600));
        self.dns.set(NAME, &[self.upstream.address().ip()], 60);
        let sandbox = fs::read_to_string(&Sandbox::shared().ready.config_file).unwrap();
        let (head, _) = sandbox.split_once("[upstream]").unwrap();
        format!(
            "{head}[upstream]\nendpoints = [\"{NAME}:{}\"]\nname_servers = [\"{}\"]\nserver_name = \"{API}\"\n\
             ca = \"{name}-ca.pem\"\nclient_certificate = \"{name}.crt\"\nclient_key = {{ file = \"{name}.key\" }}\n\
             [[upstream.key]]\nname = \"test\"\nsecret = {{ file = \"anthropic-key\" }}\n\
             [store]\nredis = \"redis://127.0.0.1:{}\"\n\
             [audit]\ndirectory = \"{name}-audit\"\n[state]\ndirectory = \"{name}-state\"\n",
            self.address().port(),
            self.dns.address(),
            self.redis.port(),
            name = self.name
        )
    }

    fn address(&self) -> SocketAddr {
        self.upstream.address()
    }

    /// What doctor finds with this configuration.
    fn examine(&self, config: &str) -> (Output, Vec<Value>) {
        let output = doctor(&write_file(&format!("{}.toml", self.name), config), &["--json"]);
        let shown = format!("{output:?}");
        assert!(!shown.contains(&self.key) && !shown.contains("hidden"), "a secret is shown: {shown}");
        let found = findings(&output);
        (output, found)
    }

    /// Expects that this one check of this subject fails with this mend, and that nothing is skipped without a reason.
    fn expect_fault(&self, what: &str, config: &str, (check, subject): (&str, &str), mend: &str) {
        let (output, found) = self.examine(config);
        assert_eq!(with_outcome(&found, "fail"), [(check, subject)], "{what}: {found:#?}");
        assert_eq!(output.status.code(), Some(1), "{what}");
        for finding in &found {
            let fails = finding["outcome"] == "fail";
            assert_eq!(finding["mend"].as_str().is_some_and(|told| told.contains(mend)), fails, "{what}: {finding}");
            let detail = finding["detail"].as_str().unwrap();
            let is_reason = detail.contains(&format!("{check} fails")) || detail.contains("no answer of the upstream");
            assert!(finding["outcome"] != "skip" || is_reason, "{what}: {finding}");
        }
    }
}

#[test]
fn the_sandbox_is_all_green_and_left_alone() {
    let sandbox = Sandbox::start(&["--plaintext"]);
    let record = || log_of(&sandbox.ready.audit_directory);
    let before = record();
    let output = doctor(&sandbox.ready.config_file, &["--json"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(before, record());

    let found = findings(&output);
    let upstream = sandbox.ready.upstream_url.strip_prefix("https://").unwrap();
    let folder = sandbox.folder.path().canonicalize().unwrap();
    let inside = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (config, audit, state) = (sandbox.ready.config_file.to_str().unwrap(), inside("audit"), inside("state"));
    assert_eq!(
        with_outcome(&found, "pass"),
        [
            ("configuration", config),
            ("dns", upstream),
            ("tcp", upstream),
            ("tls", upstream),
            ("client_certificate", upstream),
            ("key", "sandbox"),
            ("jwks", "sandbox"),
            ("audit", &audit),
            ("state", &state),
            ("clock", "upstream"),
        ]
    );
    assert_eq!(found.len(), 10, "nothing is skipped: {found:#?}");
    assert!(found.iter().all(|finding| finding["mend"].is_null()));
    let detail = found[3]["detail"].as_str().unwrap();
    assert!(detail.contains("TLSv1.3") && detail.contains("CN=Portcullis sandbox CA"), "{detail}");

    // Folders that the sandbox does not write to show that nothing is left behind.
    let text = fs::read_to_string(&sandbox.ready.config_file).unwrap();
    let copy = sandbox.folder.path().join("copy.toml");
    fs::write(&copy, text.replace("\"audit\"", "\"empty/audit\"").replace("\"state\"", "\"empty/state\"")).unwrap();
    let output = doctor(&copy, &[]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{table}");
    assert!(table.lines().count() == 10 && table.lines().all(|line| line.starts_with("pass  ")), "{table}");
    for folder in ["empty/audit", "empty/state"] {
        assert_eq!(fs::read_dir(sandbox.folder.path().join(folder)).unwrap().count(), 0, "{folder}");
    }
}

#[test]
fn each_single_fault_of_the_upstream_is_named() {
    let rig = Surroundings::start("doctor-upstream");
    let (_, found) = rig.examine(&rig.mend());
    assert_eq!(with_outcome(&found, "pass").len(), found.len(), "{found:#?}");
    let (endpoint, address) = (format!("{NAME}:{}", rig.address().port()), rig.address().to_string());
    let at = |check| (check, address.as_str());

    let config = rig.mend();
    rig.dns.set(NAME, &[IpAddr::from([8, 8, 8, 8])], 60);
    rig.expect_fault("a public address", &config, ("dns", &endpoint), "private DNS of the VPC endpoint");
    rig.dns.set(NAME, &[rig.address().ip(), IpAddr::from([8, 8, 8, 8])], 60);
    rig.expect_fault("a public one beside", &config, ("dns", &endpoint), "split-horizon");
    rig.dns.fail(NAME);
    rig.expect_fault("a name server that fails", &config, ("dns", &endpoint), "upstream.name_servers");
    let config = rig.mend().replace(NAME, "gone.doctor.test");
    rig.expect_fault("no such name", &config, ("dns", &endpoint.replace(NAME, "gone.doctor.test")), "check the name");
    let config = rig.mend().replace("[[upstream.key]]", "allow_networks = [\"10.0.0.0/8\"]\n[[upstream.key]]");
    rig.expect_fault("another network", &config, ("dns", &endpoint), "upstream.allow_networks");

    let (nowhere, _) = free_addresses();
    let config = rig.mend().replace(&endpoint, &nowhere);
    rig.expect_fault("a wrong port", &config, ("tcp", &nowhere), "security groups");
    let hole = BlackHole::start();
    let config = rig.mend().replace(&endpoint, &hole.address().to_string());
    rig.expect_fault("a firewall", &config, ("tcp", &hole.address().to_string()), "firewalls");

    for (what, certificate, mend) in [
        ("an expired certificate", rig.authority.server(&[API], Validity::Expired), "renewed"),
        ("another name", rig.authority.server(&["api.other.test"], Validity::Current), "api.other.test"),
        ("another CA", Authority::new("other").api(), "upstream.ca"),
    ] {
        let config = rig.mend();
        rig.upstream.present(&certificate);
        rig.expect_fault(what, &config, at("tls"), mend);
    }
    let config = rig.mend();
    let shown = rig.authority.api();
    rig.upstream.present(&shown);
    let config =
        config.replace("[[upstream.key]]", &format!("pins = [\"sha256/{}\"]\n[[upstream.key]]", rig.authority.pin()));
    rig.expect_fault("another pin", &config, at("tls"), &format!("sha256/{}", shown.pin()));
    let plain = TestUpstream::start(Transport::Plain);
    let config = rig.mend().replace(&endpoint, &plain.address().to_string());
    rig.expect_fault("no TLS", &config, ("tls", &plain.address().to_string()), "speaks TLS");

    let config = rig.mend();
    rig.upstream.trust(&[&Authority::new("other clients")]);
    rig.expect_fault("a refused certificate", &config, at("client_certificate"), "for client authentication");
    let without = "client_certificate = \"doctor-upstream.crt\"\nclient_key = { file = \"doctor-upstream.key\" }\n";
    let config = rig.mend().replace(without, "");
    rig.expect_fault("no client certificate", &config, at("client_certificate"), "upstream.client_certificate");
}

#[test]
fn of_two_addresses_the_broken_one_is_named() {
    let rig = Surroundings::start("doctor-second");
    let config = rig.mend();
    rig.dns.set(NAME, &[rig.address().ip(), rig.second.address().ip()], 60);
    rig.second.present(&rig.authority.server(&[API], Validity::Expired));
    let (output, found) = rig.examine(&config);
    let second = rig.second.address().to_string();
    assert_eq!(with_outcome(&found, "fail"), [("tls", second.as_str())], "{found:#?}");
    assert_eq!(with_outcome(&found, "skip"), [("client_certificate", second.as_str())]);
    assert!(with_outcome(&found, "pass").contains(&("key", "test")), "the other address answers");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn each_single_fault_of_a_key_is_named() {
    let rig = Surroundings::start("doctor-key");
    let secret = "secret = { file = \"anthropic-key\" }";
    let config = rig.mend();
    rig.upstream.accept(&rig.key, 401, &[]);
    rig.expect_fault("a refused key", &config, ("key", "test"), "anthropic-key");
    let config = rig.mend().replace(secret, &format!("{secret}\nnot_after = \"2026-01-01T00:00:00Z\""));
    rig.expect_fault("a key that has ended", &config, ("key", "test"), "not_after");

    let federation = "federation = { token = { file = \"doctor-key-identity\" }, rule = \"fdrl_test\", \
                      organization = \"00000000-0000-4000-8000-000000000000\" }";
    let config = rig.mend().replace(secret, federation);
    let (output, found) = rig.examine(&config);
    assert!(output.status.success() && with_outcome(&found, "pass").contains(&("key", "test")), "{found:#?}");
    rig.upstream.answer_tokens(TokenAnswer::Refused(401));
    rig.expect_fault("a refused exchange", &config, ("key", "test"), "doctor-key-identity");

    let config = rig.mend();
    rig.upstream.accept(&rig.key, 529, &[]);
    let (output, found) = rig.examine(&config);
    assert!(output.status.success(), "what an overloaded upstream answers is no fault of the key");
    assert_eq!(with_outcome(&found, "skip"), [("key", "test")]);
}

#[test]
fn each_single_fault_beside_the_upstream_is_named() {
    let rig = Surroundings::start("doctor-beside");
    let (nowhere, _) = free_addresses();
    let issuer = Sandbox::shared().ready.issuer_url.strip_prefix("http://").unwrap();
    let jwks = format!("jwks_uri = \"http://{issuer}");
    let config = rig.mend().replace(&jwks, &format!("jwks_uri = \"http://{nowhere}"));
    rig.expect_fault("an identity provider that is gone", &config, ("jwks", "sandbox"), "jwks_uri");
    let config = rig.mend().replace("/.well-known/jwks.json", "/nothing.json");
    rig.expect_fault("no key set", &config, ("jwks", "sandbox"), "jwks_uri");

    let config = rig.mend().replace(&format!("redis://127.0.0.1:{}", rig.redis.port()), &format!("redis://{nowhere}"));
    rig.expect_fault("no Redis", &config, ("store", &nowhere), "store.redis");

    let config = rig.mend();
    let hour = std::time::UNIX_EPOCH + std::time::Duration::from_secs(now() + 3600);
    rig.upstream.accept(&rig.key, 200, &[("date", &httpdate::fmt_http_date(hour))]);
    rig.expect_fault("a clock that is off", &config, ("clock", "upstream"), "NTP");

    let audit = Sandbox::shared().folder.path().canonicalize().unwrap().join("doctor-log");
    fs::create_dir_all(audit.join("audit-0-000000000001.jsonl")).unwrap();
    let config = rig.mend().replace("\"doctor-beside-audit\"", "\"doctor-log\"");
    let (_, found) = rig.examine(&config);
    let failed = with_outcome(&found, "fail");
    assert!(matches!(failed[..], [("audit", subject)] if subject.ends_with("doctor-log")), "{found:#?}");

    let config = rig.mend().replace("\"doctor-beside-audit\"", "\"anthropic-key/audit\"");
    rig.expect_fault("a folder below a file", &config, ("configuration", "audit.directory"), "can write");
}

#[test]
fn a_configuration_that_does_not_load_is_told_fault_by_fault() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    fs::write(&file, "[listen]\nadress = \"127.0.0.1:1\"\n").unwrap();
    let output = doctor(&file, &["--json"]);
    let found = findings(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(with_outcome(&found, "fail").len() == found.len() && found.len() > 2, "{found:#?}");
    assert!(with_outcome(&found, "fail").contains(&("configuration", "listen.adress")), "{found:#?}");
    assert!(found.iter().all(|finding| finding["check"] == "configuration" && finding["mend"].is_string()));
    let missing = doctor(&folder.path().join("none.toml"), &[]);
    let table = String::from_utf8(missing.stdout).unwrap();
    assert!(table.starts_with("fail  configuration  ") && table.contains("  mend: name a file"), "{table}");
    assert_eq!(run(&["doctor"]).status.code(), Some(2));
    let help = String::from_utf8(run(&["doctor", "--help"]).stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("--json"), "{help}");
}
