use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn listed(json: &str) -> Revocations {
    let revocations = Revocations::new();
    revocations.replace(Source::File, Entry::parse_document(json.as_bytes()).unwrap());
    revocations
}

#[test]
fn nothing_is_revoked_by_an_empty_list() {
    for json in ["{}", r#"{"token_ids": [], "subjects": [], "issued_before": []}"#] {
        assert_eq!(listed(json).revoked("okta", "alice", Some("1"), None), None);
    }
}

#[test]
fn tokens_fall_by_id_subject_or_age_each_within_its_issuer() {
    let revocations = listed(
        r#"{
            "token_ids": ["anywhere", {"issuer": "okta", "id": "here"}],
            "subjects": ["alice", {"issuer": "okta", "subject": "bob"}],
            "issued_before": [
                {"issuer": "okta", "before": "2026-11-24T00:00:00Z"},
                {"issuer": "okta", "subject": "carol", "before": 1800000000},
                {"subject": "dave", "before": 1700000000},
                {"before": 1600000000},
                {"before": 1500000000}
            ]
        }"#,
    );
    let midnight = 1_795_478_400; // 2026-11-24
    let fresh = Some(at(1_900_000_000));
    for (issuer, subject, id, issued, expected) in [
        ("okta", "eve", Some("anywhere"), fresh, Some("token_id")),
        ("entra", "eve", Some("anywhere"), fresh, Some("token_id")),
        ("okta", "eve", Some("here"), fresh, Some("token_id")),
        ("entra", "eve", Some("here"), fresh, None),
        ("okta", "eve", None, fresh, None),
        ("entra", "alice", None, fresh, Some("subject")),
        ("okta", "bob", Some("x"), fresh, Some("subject")),
        ("entra", "bob", Some("x"), fresh, None),
        ("okta", "eve", None, Some(at(midnight - 1)), Some("issued_before")),
        ("okta", "eve", None, Some(at(midnight)), None),
        ("okta", "carol", None, Some(at(1_799_999_999)), Some("issued_before")),
        ("okta", "carol", None, Some(at(1_800_000_000)), None),
        ("entra", "carol", None, Some(at(1_799_999_999)), None),
        ("entra", "dave", None, Some(at(1_699_999_999)), Some("issued_before")),
        ("entra", "eve", None, Some(at(1_600_000_000)), None),
        ("entra", "eve", None, Some(at(1_599_999_999)), Some("issued_before")),
        // Who does not say when it was issued cannot show that it was later.
        ("entra", "eve", None, None, Some("issued_before")),
    ] {
        assert_eq!(revocations.revoked(issuer, subject, id, issued), expected, "{issuer} {subject} {id:?} {issued:?}");
    }
    assert_eq!(revocations.entries(Source::File), 8, "the earlier of two moments says nothing");
}

#[test]
fn what_is_written_wrongly_is_told_with_its_place() {
    for (json, expected) in [
        ("", "EOF while parsing"),
        ("[]", "expected an object"),
        (r#"{"subjects": [["okta", "alice"]]}"#, "expected a text or an object"),
        (r#"{"issued_before": [["okta", "alice", 17]]}"#, "expected an object"),
        (r#"{"subject": []}"#, "unknown field `subject`, expected one of"),
        (r#"{"subjects": [1]}"#, "expected a text or an object"),
        (r#"{"subjects": [""]}"#, "an empty text names nothing"),
        (r#"{"subjects": [{"issuer": "okta"}]}"#, "missing field `subject`"),
        (r#"{"subjects": [{"subject": "a", "sub": "b"}]}"#, "unknown field `sub`"),
        (r#"{"subjects": [{"subject": "a", "subject": "b"}]}"#, "duplicate field"),
        (r#"{"subjects": [], "subjects": ["a"]}"#, "duplicate field"),
        (r#"{"token_ids": ["a"], "jti": ["b"]}"#, "duplicate field"),
        (r#"{"issued_before": [{"issuer": "okta"}]}"#, "missing field `before`"),
        (r#"{"issued_before": [{"before": -1}]}"#, "expected seconds since 1970"),
        (r#"{"issued_before": [{"before": 1e3}]}"#, "expected seconds since 1970"),
        (r#"{"issued_before": [{"before": 1764000000000}]}"#, "is no sane time"),
        (r#"{"issued_before": [{"before": "yesterday"}]}"#, "is no time such as"),
        (r#"{"issued_before": [{"before": "1969-01-01T00:00:00Z"}]}"#, "is no time such as"),
        ("{\n\n\"token_ids\": [true]}", "at line 3"),
    ] {
        let fault = Entry::parse_document(json.as_bytes()).unwrap_err().to_string();
        assert!(fault.contains(expected), "{json}: {fault}");
    }
}

#[test]
fn token_ids_may_be_called_jti() {
    for name in ["token_ids", "jti", "jtis"] {
        assert_eq!(listed(&format!(r#"{{"{name}": ["a"]}}"#)).revoked("x", "y", Some("a"), None), Some("token_id"));
    }
}

#[test]
fn members_of_a_set_have_one_form_each() {
    let (okta, text) = (|| Some("okta".to_owned()), str::to_owned);
    for (member, expected) in [
        ("token_id a", Some(Entry::TokenId { issuer: None, id: text("a") })),
        ("token_id a b@c", Some(Entry::TokenId { issuer: None, id: text("a b@c") })),
        ("token_id@okta a", Some(Entry::TokenId { issuer: okta(), id: text("a") })),
        ("subject auth0|5", Some(Entry::Subject { issuer: None, subject: text("auth0|5") })),
        ("subject@okta alice", Some(Entry::Subject { issuer: okta(), subject: text("alice") })),
        ("issued_before 17", Some(Entry::IssuedBefore { issuer: None, subject: None, before: at(17) })),
        ("issued_before@okta 17", Some(Entry::IssuedBefore { issuer: okta(), subject: None, before: at(17) })),
        (
            "issued_before@okta 17 alice b",
            Some(Entry::IssuedBefore { issuer: okta(), subject: Some(text("alice b")), before: at(17) }),
        ),
        ("", None),
        ("token_id", None),
        ("token_id ", None),
        ("token_id@ a", None),
        ("jti a", None),
        (" token_id a", None),
        ("issued_before alice", None),
        ("issued_before -1", None),
        ("issued_before 1764000000000", None),
        ("issued_before 17 ", None),
    ] {
        assert_eq!(Entry::parse_member(member), expected, "{member:?}");
    }
}

#[test]
fn the_parts_are_replaced_apart_and_asked_together() {
    let subject = |name: &str| Entry::Subject { issuer: None, subject: name.to_owned() };
    let revocations = Revocations::new();
    let changes = revocations.changes();
    assert!(revocations.replace(Source::File, [subject("alice")]));
    assert!(revocations.replace(Source::Store, [subject("bob"), subject("bob")]));
    assert_eq!(revocations.generation(), 2);
    assert!(!revocations.replace(Source::Store, [subject("bob")]), "the same list is no change");
    assert_eq!((revocations.generation(), *changes.borrow()), (2, 2));
    for name in ["alice", "bob"] {
        assert_eq!(revocations.revoked("x", name, None, None), Some("subject"));
    }
    assert!(revocations.replace(Source::File, []));
    assert_eq!(revocations.revoked("x", "alice", None, None), None);
    assert_eq!(revocations.revoked("x", "bob", None, None), Some("subject"));
    assert_eq!((revocations.entries(Source::File), revocations.entries(Source::Store)), (0, 1));
}

#[test]
fn parts_come_into_force_together_and_those_before_no_longer_count() {
    let subject = |name: &str| Entry::Subject { issuer: None, subject: name.to_owned() };
    let revocations = Revocations::new();
    let file = Part::new([subject("alice")]);
    revocations.adopt(Some(Arc::clone(&file)), None);
    assert_eq!(revocations.revoked("x", "alice", None, None), Some("subject"));
    let changes = revocations.changes();
    let store = Part::new([subject("alice"), subject("bob")]);
    revocations.adopt(None, Some(Arc::clone(&store)));
    assert!(changes.has_changed().unwrap(), "who waits asks again");
    assert_eq!(revocations.revoked("x", "alice", None, None), Some("subject"), "it moved to another source");
    // Whoever followed the file may have been at it.
    revocations.replace_in(&file, [subject("carol")]);
    assert_eq!(revocations.revoked("x", "carol", None, None), None);
    revocations.replace_in(&store, [subject("carol")]);
    assert_eq!(revocations.revoked("x", "carol", None, None), Some("subject"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".*", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Entry::parse_member(&text);
        let _ = Entry::parse_document(text.as_bytes());
        let _ = Entry::parse_document(&bytes);
    }

    #[test]
    fn whatever_is_listed_is_revoked(
        subjects in proptest::collection::vec(("[a-c]{1,2}", proptest::option::of("[xy]")), 0..8),
        asked in "[a-c]{1,2}",
        issuer in "[xyz]",
    ) {
        let entries = subjects.iter().cloned().map(|(subject, issuer)| Entry::Subject { issuer, subject });
        let revocations = Revocations::new();
        revocations.replace(Source::Store, entries);
        let listed = subjects.iter().any(|(subject, of)| {
            *subject == asked && of.as_ref().is_none_or(|of| *of == issuer)
        });
        prop_assert_eq!(revocations.revoked(&issuer, &asked, None, None).is_some(), listed);
    }
}
