use proptest::prelude::*;

use super::*;
use crate::credential::Secret;

fn masker() -> Masker {
    Masker::new(Detectors::default(), TagKey::new(&Secret::new(b"tests".to_vec())))
}

fn kinds(text: &str) -> Vec<(Kind, String)> {
    masker().scan(text).into_iter().map(|span| (span.kind, text[span.range].to_owned())).collect()
}

/// The text masked in pieces that end where `cuts` say.
fn in_pieces(masker: &Masker, text: &str, cuts: &[usize]) -> (String, Findings) {
    let (mut stream, mut out, mut at) = (masker.stream(), String::new(), 0);
    for cut in cuts {
        let to = text.ceil_char_boundary(at + cut);
        stream.push(&text[at..to], &mut out);
        at = to;
    }
    stream.push(&text[at..], &mut out);
    let findings = stream.finish(&mut out);
    (out, findings)
}

/// The first scan makes them, which has nobody to tell a fault to.
#[test]
fn every_rule_compiles_and_keeps_its_bounds() {
    let rules = Rules::new();
    assert!(rules.anchors.is_some());
    for compiled in &rules.compiled {
        let rule = compiled.rule;
        if let Err(error) = Regex::new(rule.pattern) {
            panic!("{}: {error}", rule.name);
        }
        assert!(rule.back.max(rule.reach) <= Rule::FURTHEST && rule.longest <= Rule::LONGEST, "{}", rule.name);
        let is_literal = |anchor: &&str| anchor.len() >= 2 && !anchor.bytes().any(|byte| byte.is_ascii_uppercase());
        assert!(!rule.anchors.is_empty() && rule.anchors.iter().all(is_literal), "{}", rule.name);
    }
}

#[test]
fn what_is_found_is_validated() {
    for (text, kind, value) in [
        ("mail ann.lee@example.co.uk.", Kind::EMAIL, "ann.lee@example.co.uk"),
        ("call +44 20 7946 0958 now", Kind::PHONE_NUMBER, "+44 20 7946 0958"),
        ("card 4111 1111 1111 1111,", Kind::CREDIT_CARD, "4111 1111 1111 1111"),
        ("SSN 078-05-1121", Kind::US_SSN, "078-05-1121"),
        ("to GB82 WEST 1234 5698 7654 32", Kind::IBAN, "GB82 WEST 1234 5698 7654 32"),
        ("from 2001:db8::8a2e:370:7334", Kind::IP_ADDRESS, "2001:db8::8a2e:370:7334"),
        ("at 00:1a:2b:3c:4d:5e", Kind::MAC_ADDRESS, "00:1a:2b:3c:4d:5e"),
        ("born on 12 March 1984 in", Kind::DATE_OF_BIRTH, "12 March 1984"),
        ("MRN: 00482913", Kind::MEDICAL_RECORD_NUMBER, "00482913"),
        ("postgres://app:s3cr3tpw@db/x", Kind::URL_CREDENTIALS, "app:s3cr3tpw"),
    ] {
        assert!(kinds(text).contains(&(kind, value.to_owned())), "{text}: {:?}", kinds(text));
    }
    for text in [
        "4111 1111 1111 1112",
        "666-12-3456",
        "GB82 WEST 1234 5698 7654 33",
        "version 1.2.3.4",
        "std::fmt::Display at 12:34:56",
        "icon@2x.png and git@github.com:a/b",
        "[EMAIL:7f3a] and [US_SSN:0912]",
    ] {
        assert_eq!(kinds(text), [], "{text}");
    }
}

#[test]
fn a_tag_takes_the_place_and_the_rest_stays() {
    let masked = masker().mask("From Ann@Example.com to ann@example.com.");
    let (first, rest) = masked.text.split_once(" to ").unwrap();
    assert_eq!(first.strip_prefix("From "), rest.strip_suffix('.'));
    assert_eq!(masked.findings, [(Kind::EMAIL, 2)].into());
}

#[test]
fn a_value_is_found_wherever_a_long_text_is_cut() {
    let masker = masker();
    let text =
        format!("{}ann@example.com 4111 1111 1111 1111 {}", "some words ".repeat(9000), "and more ".repeat(9000));
    let whole = masker.mask(&text);
    for size in [1, 7, 4096, 70_000] {
        let cuts = vec![size; text.len() / size];
        assert_eq!(in_pieces(&masker, &text, &cuts), (whole.text.clone(), whole.findings.clone()), "{size}");
    }
}

/// What an attacker sends to make the pass slow leads to a bounded number of candidates for each byte.
#[test]
fn candidates_grow_with_the_text_and_no_faster() {
    let masker = masker();
    for unit in ["@", "1", "a@a@a", "1-1-1", "eyJeyJ", ":::", "1:", "birth ", "+1 ", "192.168.1.1 ", "4111-", "AB 12 "]
    {
        let found = |size: usize| masker.find(&unit.repeat(size / unit.len())).len();
        let (one, two) = (found(20_000), found(40_000));
        assert!(one <= 20_000 && two <= 2 * one + 64, "{unit:?}: {one} then {two}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn pieces_are_masked_as_the_whole(
        parts in prop::collection::vec(prop_oneof![
            Just("ann@example.com".to_owned()), Just("4111 1111 1111 1111".to_owned()), Just("+1 415 555 0132".to_owned()),
            Just("GB82 WEST 1234 5698 7654 32".to_owned()), Just("2001:db8::1".to_owned()), Just("born 01/02/1980".to_owned()),
            Just("é".repeat(3000)), Just("1".repeat(30_000)), Just("a@".repeat(3000)), Just("AB 12 34 ".repeat(800)),
            "[ a-z0-9@:.-]{0,30}", "\\PC{0,12}",
        ], 0..20),
        cuts in prop::collection::vec(0usize..40_000, 0..12),
    ) {
        let text = parts.concat();
        let masker = masker();
        let whole = masker.mask(&text);
        prop_assert_eq!(in_pieces(&masker, &text, &cuts), (whole.text, whole.findings));
        let mut last = 0;
        for span in masker.scan(&text) {
            prop_assert!(span.range.start >= last && span.range.end > span.range.start);
            prop_assert!(text.get(span.range.clone()).is_some());
            last = span.range.end;
        }
    }
}
