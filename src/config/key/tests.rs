use super::super::fault::Faults;
use super::super::reader::Document;
use super::*;

const FEDERATION: &str = r#"federation = { token = { file = "token" }, rule = "fdrl_1", organization = "4D7B4D5C-0000-4000-8000-000000000001" }"#;

fn parse(toml: &str) -> Result<Vec<NamedKey>, Faults> {
    let folder = tempfile::tempdir().unwrap();
    for (file, content) in [("key", "sk-one\n"), ("other", "sk-two"), ("twin", "  sk-one"), ("lines", "sk-one\nsk-two")]
    {
        std::fs::write(folder.path().join(file), content).unwrap();
    }
    std::fs::write(folder.path().join("token"), "a.b.c").unwrap();
    Document::new(&folder.path().join("p.toml"), toml.to_owned()).read(|root| read(root, &["opus", "haiku"]))
}

/// The faults, without the file and its line.
fn faults(toml: &str) -> Vec<String> {
    let faults = parse(toml).err().map(|faults| faults.0).unwrap_or_default();
    faults.iter().map(|fault| format!("{}: {}; {}", fault.key, fault.problem, fault.mend)).collect()
}

/// The one fault of a key that is good but for `lines`.
fn fault(lines: &str) -> String {
    let faults = faults(&format!("[[key]]\nname = \"one\"\n{lines}"));
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.into_iter().next().unwrap()
}

#[test]
fn a_key_serves_everyone_for_ever_by_default() {
    let keys = parse("[[key]]\nname = \"one\"\nsecret = { file = \"key\" }").unwrap();
    let [NamedKey { name, origin: Origin::Secret(key, source), teams, grants, not_after: None }] = &keys[..] else {
        panic!("{keys:?}")
    };
    assert_eq!((name.as_str(), key.name(), teams.len(), grants.len()), ("one", "one", 0, 0));
    assert!(source.path().is_some_and(|path| path.ends_with("key")));
}

#[test]
fn a_key_may_be_for_teams_and_grants_and_until_a_time() {
    let rest = "teams = [\"research\", \"labs\"]\ngrants = [\"opus\"]\nnot_after = \"2027-01-15T09:00:00+01:00\"";
    let keys = parse(&format!("[[key]]\nname = \"one\"\nsecret = {{ file = \"key\" }}\n{rest}")).unwrap();
    assert_eq!(
        (&keys[0].teams, &keys[0].grants),
        (&vec!["research".to_owned(), "labs".to_owned()], &vec!["opus".to_owned()])
    );
    let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000);
    assert_eq!(keys[0].not_after, Some(time));
}

#[test]
fn a_key_may_be_federated() {
    let keys = parse(&format!("[[key]]\nname = \"one\"\n{FEDERATION}")).unwrap();
    let Origin::Federation(federation) = &keys[0].origin else { panic!("{keys:?}") };
    assert_eq!(
        (federation.rule.as_str(), federation.organization.as_str()),
        ("fdrl_1", "4d7b4d5c-0000-4000-8000-000000000001")
    );
    assert_eq!((&federation.service_account, &federation.workspace), (&None, &None));
    let all = FEDERATION
        .replace(" }", ", service_account = \"svac_1\", workspace = \"default\" }")
        .replace("\"token\", service_account = \"svac_1\", workspace = \"default\" }", "\"token\" }");
    let keys = parse(&format!("[[key]]\nname = \"one\"\n{all}")).unwrap();
    let Origin::Federation(federation) = &keys[0].origin else { panic!("{keys:?}") };
    assert_eq!(
        (federation.service_account.as_deref(), federation.workspace.as_deref()),
        (Some("svac_1"), Some("default"))
    );
}

#[test]
fn every_fault_of_a_key_is_told_with_its_mend() {
    let secret = "secret = { file = \"key\" }";
    for (lines, told) in [
        (String::new(), "key[0]: has no secret; give one of secret = { file = \"...\" } and federation = { ... }"),
        (
            format!("{secret}\n{FEDERATION}"),
            "key[0]: has both secret and federation; give one of secret = { file = \"...\" } and federation = { ... }",
        ),
        (
            "secret = { file = \"lines\" }".to_owned(),
            "key[0].secret: has white space, control characters or other bytes that are not visible ASCII; check the file that it names",
        ),
        (format!("{secret}\nteams = []"), "key[0].teams: names nobody; list at least one, or take the key out"),
        (format!("{secret}\ngrants = []"), "key[0].grants: names nobody; list at least one, or take the key out"),
        (
            format!("{secret}\ngrants = [\"opus\", \"opsu\"]"),
            "key[0].grants: opsu is no [[grant]]'s name; write one of opus, haiku",
        ),
        (
            format!("{secret}\nnot_after = \"2026-12-31\""),
            "key[0].not_after: is not a time in quotes such as \"2026-12-31T00:00:00Z\"; it is a string now",
        ),
        (
            FEDERATION.replace("fdrl_1", "wrkspc_1"),
            "key[0].federation.rule: is no federation rule; write its id, fdrl_...; the Console shows it",
        ),
        (
            FEDERATION.replace("4D7B4D5C-", ""),
            "key[0].federation.organization: is not a UUID, which is how organizations are named; it is a string now",
        ),
        (
            FEDERATION.replace("rule", "workspace = \"default \", rule"),
            "key[0].federation.workspace: is no workspace; write its id, wrkspc_..., or \"default\"",
        ),
        (
            FEDERATION.replace("rule", "service_account = \"\", rule"),
            "key[0].federation.service_account: is no id; write the id that the Console shows",
        ),
        (
            FEDERATION.replace("token = { file = \"token\" }, ", ""),
            "key[0].federation.token: is missing; add it; conf/portcullis.toml explains every key",
        ),
    ] {
        assert_eq!(fault(&lines), told);
    }
    assert_eq!(faults(""), ["key: is missing; add [[upstream.key]] with a name and a secret"]);
    let gone = FEDERATION.replace("\"token\"", "\"gone\"");
    assert!(fault(&gone).starts_with("key[0].federation.token: cannot read"), "{}", fault(&gone));
}

#[test]
fn two_keys_differ_in_name_and_in_secret() {
    let two = |name: &str, file: &str| {
        faults(&format!(
            "[[key]]\nname = \"one\"\nsecret = {{ file = \"key\" }}\n[[key]]\nname = \"{name}\"\nsecret = {{ file = \"{file}\" }}"
        ))
    };
    assert_eq!(two("two", "other"), [""; 0]);
    assert_eq!(two("one", "other"), ["key[1].name: one is another key's name too; give each key a name of its own"]);
    assert_eq!(
        two("two", "twin"),
        ["key[1].secret: is the secret of one too; take one of them out, or list all teams and grants in one"]
    );
}
