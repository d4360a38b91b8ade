use std::path::Path;

use super::*;
use crate::identity::{Accepted, RequiredBinding, RequiredClaim};
use crate::upstream::Networks;

/// A folder with what a configuration may name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "  a-secret-of-thirty-two-bytes-....\n").unwrap();
    std::fs::write(folder.path().join("key"), "sk-ant-test").unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pair = rcgen::KeyPair::generate().unwrap();
    std::fs::write(folder.path().join("server.crt"), ca.self_signed(&pair).unwrap().pem()).unwrap();
    std::fs::write(folder.path().join("server.key"), pair.serialize_pem()).unwrap();
    std::fs::write(folder.path().join("other.key"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    folder
}

const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

const GOOD: &str = r#"[listen]
address = "127.0.0.1:8443"
[[issuer]]
name = "test"
issuer = "https://issuer.test"
audience = ["api://claude"]
secret = { file = "secret" }
[[grant]]
scope = "claude:haiku"
models = ["claude-haiku-*"]
[upstream]
endpoints = ["10.0.0.1:443"]
server_name = "api.anthropic.com"
[[upstream.key]]
name = "one"
secret = { file = "key" }
[audit]
directory = "audit"
"#;

fn parse(text: &str) -> Result<Config, Vec<String>> {
    let folder = folder();
    let path = folder.path().join("portcullis.toml");
    let parsed = Config::parse(&path, text.to_owned());
    let shown = |fault: &Fault| fault.to_string().replace(&format!("{}/", folder.path().display()), "");
    parsed.map_err(|faults| faults.0.iter().map(shown).collect())
}

fn faults(text: &str) -> Vec<String> {
    parse(text).err().unwrap_or_default()
}

/// The faults after `line` of the good file was changed to `changed`.
fn changed(line: &str, changed: &str) -> Vec<String> {
    assert!(GOOD.contains(line), "{line}");
    faults(&GOOD.replace(line, changed))
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = parse(GOOD).unwrap_or_else(|faults| panic!("{faults:?}"));
    assert_eq!(config.admin.to_string(), "127.0.0.1:9464");
    assert_eq!((config.listen.max_body, config.listen.max_upload), (32 << 20, 500 << 20));
    assert!(config.upstream.trust.tls.is_some());
    assert_eq!(config.upstream.networks, Networks::new(true, Vec::new()));
    assert_eq!(config.issuers[0].rules.leeway, std::time::Duration::from_secs(30));
    assert_eq!(config.issuers[0].rules.subject_claim, "sub".parse().unwrap());
    assert_eq!(config.issuers[0].rules.required_binding, None);
    assert_eq!(config.issuers[0].life, KeyLife { refresh: 5 * MINUTE, max_age: 24 * 60 * MINUTE });
    let KeySource::Secret(secret) = &config.issuers[0].keys else { panic!("no secret") };
    assert_eq!(secret.expose(), b"a-secret-of-thirty-two-bytes-....");
}

#[test]
fn every_fault_is_told_at_once_with_line_key_and_mend() {
    let told = faults(
        &GOOD
            .replace("address =", "adress =")
            .replace("[\"claude-haiku-*\"]", "[\"CLAUDE*\"]")
            .replace("file = \"key\"", "file = \"gone\""),
    );
    let expected = [
        "portcullis.toml:1: listen.address: is missing; add it; conf/portcullis.toml explains every key",
        "portcullis.toml:2: listen.adress: unknown key; did you mean `address`?",
        "portcullis.toml:10: grant[0].models: is not a list of model patterns such as \"claude-opus-*\" in quotes; it is a array now",
        "portcullis.toml:10: grant[0].models: names no model, and an endpoint of this grant takes one; list patterns such as \"claude-haiku-*\"",
        "portcullis.toml:16: upstream.key[0].secret: cannot read gone: No such file or directory (os error 2); point it at the secret",
    ];
    assert_eq!(told, expected);
}

#[test]
fn single_faults_name_their_mend() {
    for (line, replacement, expected) in [
        ("[audit]\ndirectory = \"audit\"\n", "", "portcullis.toml: audit: is missing"),
        ("\"127.0.0.1:8443\"", "\"0.0.0.0:8443\"", "portcullis.toml:2: listen.address: has no tls"),
        ("\"127.0.0.1:8443\"", "8443", "portcullis.toml:2: listen.address: is not an address with a port"),
        (
            "\"127.0.0.1:8443\"",
            "\"127.0.0.1:8443\"\nproxy_protocol = true",
            "portcullis.toml:3: listen.proxy_protocol: has no trusted_proxies",
        ),
        (
            "\"127.0.0.1:8443\"",
            "\"127.0.0.1:8443\"\norigins = [\"https://gateway.example/v1\"]",
            "portcullis.toml:3: listen.origins: is not a list of origins such as",
        ),
        (
            "secret = { file = \"secret\" }",
            "secret = \"hunter2\"",
            "portcullis.toml:7: issuer[0].secret: is a value; write a reference",
        ),
        (
            "secret = { file = \"secret\" }",
            "secret = { file = \"secret\", env = \"X\" }",
            "does not have exactly one of file, env and credential",
        ),
        (
            "secret = { file = \"secret\" }",
            "secret = { env = \"PORTCULLIS_NO_SUCH_VARIABLE\" }",
            "the variable PORTCULLIS_NO_SUCH_VARIABLE is not set",
        ),
        ("secret = { file = \"secret\" }", "secret = { credential = \"../x\" }", "is not a credential's name"),
        ("secret = { file = \"secret\" }", "jwks_uri = \"http://idp.test/jwks\"", "issuer[0].jwks_uri: is not https"),
        ("secret = { file = \"secret\" }", "jwks_file = \"secret\"", "issuer[0].jwks_file: is no JWKS document"),
        ("audience = [\"api://claude\"]", "audience = []", "issuer[0].audience: names nothing"),
        (
            "name = \"test\"",
            "name = \"test\"\nalgorithms = [\"RS256\"]",
            "RS256 does not fit where the keys come from; with a secret use HS256",
        ),
        ("name = \"test\"", "name = \"test\"\nalgorithms = [\"none\"]", "none is not a signature algorithm"),
        (
            "name = \"test\"",
            "name = \"test\"\nmax_lifetime = 60",
            "issuer[0].max_lifetime: is not a duration such as \"30s\"",
        ),
        ("[\"10.0.0.1:443\"]", "[\"8.8.8.8:443\"]", "upstream.endpoints: 8.8.8.8:443 is public"),
        (
            "[\"10.0.0.1:443\"]",
            "[\"10.0.0.1:443\"]\nallow_networks = [\"10.1.0.0/16\"]",
            "upstream.endpoints: 10.0.0.1:443 is outside allow_networks",
        ),
        ("[\"10.0.0.1:443\"]", "[\"10.0.0.1\"]", "upstream.endpoints: is not a list of hosts with a port"),
        ("server_name = \"api.anthropic.com\"", "tls = false", "upstream.tls: is off for an endpoint beyond this host"),
        ("server_name = \"api.anthropic.com\"", "", "upstream.server_name: is missing"),
        (
            "server_name = \"api.anthropic.com\"",
            "server_name = \"my_api.anthropic.com\"",
            "upstream.server_name: has an underscore",
        ),
        (
            "server_name = \"api.anthropic.com\"",
            "server_name = \"x\"\nclient_certificate = \"server.crt\"",
            "has only one of client_certificate and client_key",
        ),
        (
            "server_name = \"api.anthropic.com\"",
            "server_name = \"x\"\nclient_certificate = \"server.crt\"\nclient_key = { file = \"other.key\" }",
            "does not fit its key",
        ),
        (
            "server_name = \"api.anthropic.com\"",
            "server_name = \"x\"\nca = \"secret\"",
            "upstream.ca: holds no certificate",
        ),
        (
            "server_name = \"api.anthropic.com\"",
            "server_name = \"x\"\nhealth.interval = \"0s\"",
            "upstream.health.interval: is not a duration above zero",
        ),
        ("scope = \"claude:haiku\"", "scope = \"claude:haiku claude:opus\"", "grant[0].scope: has white space"),
        (
            "scope = \"claude:haiku\"",
            "scope = \"x\"\nendpoints = [\"message\"]",
            "is not a list of endpoint names (messages, ",
        ),
        (
            "scope = \"claude:haiku\"",
            "scope = \"claude:haiku\"\nissuers = [\"okta\"]",
            "grant[0].issuers: okta is no [[issuer]]'s name; write one of test",
        ),
        ("name = \"test\"", "name = \"test\"\nrequire_binding = \"dpop\"", "listen: has no origins, and an issuer's"),
        ("[audit]", "[cache]\nenabled = true\n[audit]", "portcullis.toml:17: cache: is not enforced by this version"),
        ("[audit]", "[revocation]\nstore_key = \"x\"\n[audit]", "has a store_key and there is no [store]"),
        ("[audit]", "[audti]", "portcullis.toml:17: audti: unknown key; did you mean `audit`?"),
        ("[listen]", "[listen", "portcullis.toml:1: "),
    ] {
        let told = changed(line, replacement);
        assert!(told.iter().any(|fault| fault.contains(expected)), "{replacement}\n{told:#?}");
    }
}

#[test]
fn retries_can_be_switched_off() {
    let server_name = "server_name = \"api.anthropic.com\"";
    let retry = format!("{server_name}\nretry = {{ percent = 0, per_second = 0 }}");
    let config = parse(&GOOD.replace(server_name, &retry)).unwrap_or_else(|faults| panic!("{faults:?}"));
    assert_eq!((config.upstream.retry.share, config.upstream.retry.per_second), (0.0, 0));
}

#[test]
fn every_key_of_a_grant_is_read() {
    let grant = r#"name = "haiku-by-day"
scope = "claude:haiku"
teams = ["research"]
endpoints = ["messages", "files"]
max_tokens = 8000
max_thinking_tokens = 4000
server_tools = ["web_*"]
mcp_servers = true
files = false
skills = true
betas = ["context-*"]
deny_betas = ["*-2024-*"]
inference_geo = ["us"]
hours = ["08:00-18:00"]
days = ["mon-fri"]
utc_offset = "+01:00"
[[grant]]
deny = true
scope = "*"
models = ["claude-opus-*"]
server_tools = ["web_fetch"]"#;
    let text = GOOD.replace("scope = \"claude:haiku\"\nmodels = [\"claude-haiku-*\"]", &format!("{grant}\n"));
    let text = text
        .replace("teams =", "models = [\"claude-haiku-*\"]\nteams =")
        .replace("audience =", "team_claim = \"groups\"\naudience =");
    let config = parse(&text).unwrap_or_else(|faults| panic!("{faults:?}"));
    let shown = format!("{:?}", config.policy);
    for expected in [
        "name: \"haiku-by-day\"",
        "teams: [\"research\"]",
        "endpoints: [Messages, Files], max_tokens: Some(8000), max_thinking_tokens: Some(4000)",
        "server_tools: [Pattern(\"web_*\")], mcp_servers: true, files: false, skills: true",
        "betas: [Pattern(\"context-*\")], deny_betas: [Pattern(\"*-2024-*\")], inference_geo: [\"us\"]",
        "days: Days(31), offset: UtcOffset(3600)",
        "DenyRule { name: \"*\", holders: Holders { scope: \"*\", teams: [], issuers: [] }, endpoints: [], models: [ModelPattern(\"claude-opus-*\")]",
    ] {
        assert!(shown.contains(expected), "{expected}\n{shown}");
    }
}

#[test]
fn faults_of_a_grant_name_their_mend() {
    for (lines, expected) in [
        ("scope = \"*\"", "grant[0].scope: opens to every token"),
        ("name = \"a b\"\nscope = \"x\"", "grant[0].name: is empty or has white space"),
        ("scope = \"x\"\nteams = []", "grant[0].teams: names nobody"),
        ("scope = \"x\"\ndeny = true\nmax_tokens = 1", "grant[0].max_tokens: is no condition of a rule that denies"),
        (
            "scope = \"x\"\ndeny = true\nserver_tools = []",
            "grant[0].server_tools: names nothing, which a rule that denies",
        ),
        ("scope = \"x\"\nhours = [\"8-18\"]", "grant[0].hours: is not a list of hours such as \"08:00-18:00\""),
        ("scope = \"x\"\nhours = []", "grant[0].hours: names nothing"),
        ("scope = \"x\"\ndays = [\"Monday\"]", "grant[0].days: is not a list of days"),
        ("scope = \"x\"\nutc_offset = \"CET\"", "grant[0].utc_offset: is not an offset such as"),
        ("scope = \"x\"\ninference_geo = []", "grant[0].inference_geo: names nothing"),
        ("scope = \"x\"\nbetas = [\"a b\"]", "grant[0].betas: is not a list of patterns over beta values"),
        ("scope = \"x\"\nmax_thinking_tokens = 0", "grant[0].max_thinking_tokens: is not a whole number from 1"),
    ] {
        let told = changed("scope = \"claude:haiku\"", lines);
        assert!(told.iter().any(|fault| fault.contains(expected)), "{lines}\n{told:#?}");
    }
}

#[test]
fn a_section_that_asks_for_nothing_is_allowed() {
    assert!(parse(&format!("{GOOD}[cache]\n[privacy]\n")).is_ok());
    let told = faults(&format!("{GOOD}[cache]\nenabled = true\n"));
    assert!(told[0].contains("cache: is not enforced by this version"), "{told:?}");
}

#[test]
fn faults_of_an_issuer_name_their_mend() {
    for (added, expected) in [
        (
            "algorithms = [\"HS256\", \"HS512\"]",
            "issuer[0].secret: has 33 bytes, and HS512 asks for 64; make one of 64 random bytes or more",
        ),
        ("leeway = \"11m\"", "issuer[0].leeway: is above 10m; set the clocks instead"),
        ("refresh = \"9s\"", "issuer[0].refresh: is below 10s"),
        ("max_age = \"1m\"", "issuer[0].max_age: is below refresh"),
        ("scope_claim = \"/a~\"", "issuer[0].scope_claim: is not a claim's name, or a"),
        ("subject_claim = \"\"", "issuer[0].subject_claim: is not a claim's name, or a"),
        ("require_binding = \"mtls\"", "issuer[0].require_binding: is not \"certificate\", \"dpop\" or \"any\""),
        (
            "required_claims = { tid = 7 }",
            "portcullis.toml:5: issuer[0].required_claims.tid: is not a text, a list of texts, or true; it is a integer now",
        ),
        ("required_claims = { tid = false }", "issuer[0].required_claims.tid: is not"),
        ("required_claims = { tid = [] }", "issuer[0].required_claims.tid: is not"),
        ("required_claims = { \"/~\" = true }", "issuer[0].required_claims./~: is not"),
        ("required_claims = \"tid\"", "issuer[0].required_claims: is not a table"),
    ] {
        let told = changed("name = \"test\"", &format!("name = \"test\"\n{added}"));
        assert!(told.iter().any(|fault| fault.contains(expected)), "{added}\n{told:#?}");
    }
}

#[test]
fn an_issuer_says_which_claims_it_needs_and_where_they_stand() {
    let keys = "name = \"test\"\nscope_claim = \"/realm_access/roles\"\nrequire_binding = \"dpop\"\nrefresh = \"1m\"\nmax_age = \"48h\"
        required_claims = { tid = \"t-1\", \"/act/sub\" = true, groups = [\"a\", \"b\"] }";
    let text = GOOD.replace("name = \"test\"", keys);
    let text = text.replace("[[issuer]]", "origins = [\"https://gateway.example\"]\n[[issuer]]");
    let config = parse(&text).unwrap_or_else(|faults| panic!("{faults:?}"));
    let IssuerConfig { rules, life, .. } = &config.issuers[0];
    assert_eq!(rules.scope_claim, Some("/realm_access/roles".parse().unwrap()));
    assert_eq!(rules.required_binding, Some(RequiredBinding::Dpop));
    assert_eq!(*life, KeyLife { refresh: MINUTE, max_age: 48 * 60 * MINUTE });
    let required = |claim: &str, accepted| RequiredClaim { claim: claim.parse().unwrap(), accepted };
    let one_of = |texts: &[&str]| Accepted::OneOf(texts.iter().map(|text| (*text).to_owned()).collect());
    for expected in [
        required("tid", one_of(&["t-1"])),
        required("/act/sub", Accepted::Present),
        required("groups", one_of(&["a", "b"])),
    ] {
        assert!(rules.required_claims.contains(&expected), "{expected:?}");
    }
    assert_eq!(rules.required_claims.len(), 3);
}

#[test]
fn a_second_issuer_with_the_same_iss_is_refused() {
    let issuer = GOOD.split("[[grant]]").next().unwrap().split("[[issuer]]").nth(1).unwrap();
    let told = changed("[[grant]]", &format!("[[issuer]]{issuer}[[grant]]"));
    assert!(told[0].contains("issuer[1].issuer: names an issuer a second time"), "{told:?}");
}

#[test]
fn tls_and_client_certificates_load() {
    let tls = "address = \"0.0.0.0:8443\"\ntls = { certificate = \"server.crt\", key = \"server.key\" }\nclient_ca = \"server.crt\"";
    let config =
        parse(&GOOD.replace("address = \"127.0.0.1:8443\"", tls)).unwrap_or_else(|faults| panic!("{faults:?}"));
    let tls = config.listen.tls.unwrap();
    let ends: Vec<_> = tls.expiries().into_iter().map(|expiry| expiry.certificate).collect();
    assert_eq!(ends, ["listener", "listener_client_ca"]);
    let tls = "address = \"0.0.0.0:8443\"\ntls = { certificate = \"server.crt\", key = \"server.key\" }";
    let told = changed("address = \"127.0.0.1:8443\"", &tls.replace("server.key", "other.key"));
    assert!(told[0].contains("listen.tls.certificate: does not fit its key"), "{told:?}");
}

#[test]
fn secrets_do_not_show_in_faults_or_in_debug_output() {
    let config = parse(GOOD).unwrap_or_else(|faults| panic!("{faults:?}"));
    let shown = format!("{:?} {:?} {:?}", config.issuers, config.upstream, config.upstream.keys);
    assert!(!shown.contains("thirty-two") && !shown.contains("sk-ant"), "{shown}");
    let told = changed("secret = { file = \"secret\" }", "secret = \"hunter2\"").join("\n");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_too() {
    let faults = Config::load(Path::new("/no/such/file.toml")).err().unwrap();
    assert!(faults.to_string().starts_with("/no/such/file.toml: cannot read it"), "{faults}");
}

#[test]
fn sections_that_say_the_same_are_the_same_whatever_they_look_like() {
    let folder = folder();
    let path = folder.path().join("portcullis.toml");
    let sections = |text: &str| {
        let config = Config::parse(&path, text.to_owned()).unwrap_or_else(|faults| panic!("{faults}"));
        (config.sections, config.upstream.fingerprint)
    };
    let good = sections(GOOD);
    let spaced = GOOD.replace(
        "name = \"test\"\nissuer = \"https://issuer.test\"",
        "# a note\nissuer  =  'https://issuer.test'\nname = \"test\"",
    );
    assert_ne!(spaced, GOOD);
    assert!(sections(&spaced) == good);
    let differing = |text: &str| {
        let (other, _) = sections(text);
        let names = good.0.keys().chain(other.keys()).filter(|name| good.0.get(*name) != other.get(*name));
        names.cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(differing(&GOOD.replace("claude-haiku-*", "claude-sonnet-*")), ["grant"]);
    assert_eq!(differing(&format!("{GOOD}\n[door]\nrequests = \"off\"")), ["door"]);
    let renamed = GOOD.replace("name = \"one\"", "name = \"two\"");
    assert_eq!(differing(&renamed), ["upstream"]);
    assert!(sections(&renamed).1 == good.1, "of the way to it, nothing has changed");
    assert!(sections(&GOOD.replace("10.0.0.1:443", "10.0.0.2:443")).1 != good.1);
    // What a file holds counts too, where nobody follows it.
    std::fs::write(folder.path().join("secret"), "another-secret-of-thirty-two-bytes").unwrap();
    assert_eq!(differing(GOOD), ["issuer"]);
}

#[test]
fn what_cannot_change_while_it_runs_is_a_fault_with_its_line() {
    let folder = folder();
    let path = folder.path().join("portcullis.toml");
    let lasting =
        |text: &str| Config::parse(&path, text.to_owned()).unwrap_or_else(|faults| panic!("{faults}")).lasting;
    let mut running = lasting(GOOD);
    let refused = |running: &Lasting, text: &str| -> Vec<String> {
        let faults = running.refuse(&lasting(text), Path::new("x.toml"));
        faults.iter().map(ToString::to_string).collect()
    };
    assert_eq!(refused(&running, &GOOD.replace("claude-haiku-*", "claude-*")), [""; 0]);
    for (text, expected) in [
        (GOOD.replace("127.0.0.1:8443", "127.0.0.1:8444"), "x.toml:2: listen.address: needs a restart"),
        (
            GOOD.replace("127.0.0.1:8443\"", "127.0.0.1:8443\"\nworkers = 77"),
            "x.toml:3: listen.workers: needs a restart",
        ),
        (format!("{GOOD}\n[admin]\naddress = \"127.0.0.1:9\""), "admin.address: needs a restart"),
        (GOOD.replace("\"audit\"", "\"elsewhere\""), "audit.directory: needs a restart"),
    ] {
        let told = refused(&running, &text);
        assert!(told.len() == 1 && told[0].contains(expected), "{told:?}");
    }
    running.also("listen.address", "127.0.0.1:8444".to_owned());
    assert_eq!(refused(&running, &GOOD.replace("127.0.0.1:8443", "127.0.0.1:8444")), [""; 0]);
}
