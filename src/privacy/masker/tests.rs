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

/// The same value in many writings: each is masked whole, and what stands around it goes out as it came in.
#[test]
fn a_value_is_found_however_its_characters_are_written() {
    let tag = regex::Regex::new(r"\[[A-Z_]+:[0-9a-f]{4}\]").unwrap();
    for (text, kept) in [
        ("SSN 078\u{2011}05\u{2013}1121.", "SSN #."),
        ("SSN \u{ff10}\u{ff17}\u{ff18}-\u{ff10}\u{ff15}-1121", "SSN #"),
        ("SSN \u{660}\u{667}\u{668}-05-1121", "SSN #"),
        (r#"{"ssn":"078\u002d05\u002d1121"}"#, r##"{"ssn":"#"}"##),
        (r"a\n078-05-1121\n", r"a\n#\n"),
        ("078&#45;05&#x2d;1121&nbsp;x", "#&nbsp;x"),
        ("SSN 078\\-05\\-1121 x", "SSN # x"),
        ("078-0=\r\n5-1121=3D", "#=3D"),
        ("card 4111\u{a0}1111&nbsp;1111\u{202f}1111", "card #"),
        ("card 4111\u{200b}1111\u{ad}11111111", "card #"),
        ("ann\\u0040example.com and ann&#64;example.com", "# and #"),
        ("?to=ann%40example.com&x=40", "?to=#&x=40"),
        ("\u{202a}+1 415 555 0132\u{202c}", "#\u{202c}"),
        ("card 4111 1111\n> 1111 1111", "card #"),
        ("DE89 3704 0044\n0532 0130 00", "#"),
        ("user_4111111111111111.pdf", "user_#.pdf"),
    ] {
        let masked = masker().mask(text);
        assert_eq!(tag.replace_all(&masked.text, "#"), kept, "{text:?} became {}", masked.text);
        for span in masker().scan(text) {
            assert!(text.get(span.range.clone()).is_some(), "{text:?} {span:?}");
        }
    }
    let one = masker().mask("SSN 078-05-1121").text;
    assert_eq!(masker().mask("SSN 078\u{2011}05\u{2011}1121").text, one, "one value has one tag");
}

#[test]
fn a_pattern_of_the_configuration_sees_the_text_as_it_was_written_too() {
    let custom =
        vec![Custom::new("NUMERO", "№[0-9]{4}–[0-9]{2}").unwrap(), Custom::new("PLAIN", "CASE-[0-9]{3}").unwrap()];
    let masker =
        Masker::new(Detectors { custom, ..Detectors::default() }, TagKey::new(&Secret::new(b"tests".to_vec())));
    let text = "a №1234–56, CASE\u{2011}123.";
    let found: Vec<_> = masker.scan(text).into_iter().map(|span| (span.kind.name(), &text[span.range])).collect();
    assert_eq!(found, [("NUMERO", "№1234–56"), ("PLAIN", "CASE\u{2011}123")]);
}

#[test]
fn what_a_text_says_is_no_number_of_people_is_left_alone() {
    for text in [
        "size=123904567 bytes",
        "pub const LIMIT: u32 = 1074025536;",
        "[-738955404, -806080660]",
        "Boston, MA 02110-1301 USA",
        "Copyright 1997-2000, license",
        "JO94 CBJO 0010 0000 0000 0131 0003 03",
        "0 1 0 0 0 0 0 0 0 1",
        "section 1.2.3.4",
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
    for unit in [
        "\\u002d1",
        "1&#45;",
        "\u{ff11}",
        "=3D1",
        "1\n",
        "1_",
        "is1",
        "4111 ",
        "@",
        "1",
        "a@a@a",
        "1-1-1",
        "eyJeyJ",
        ":::",
        "1:",
        "birth ",
        "+1 ",
        "192.168.1.1 ",
        "4111-",
        "AB 12 ",
    ] {
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
            Just("078\\u002d05\\u002d1121 ".to_owned()), Just("4111\u{a0}1111&nbsp;1111=C2=A01111".to_owned()),
            Just("ann&#64;exam=\r\nple.com".to_owned()), Just("\u{ff14}\u{200b}111\u{2011}1111\u{2011}1111\u{2011}1111".to_owned()),
            Just("&#45;".repeat(4000)), Just("\u{200b}".repeat(9000)), Just("\\u0031".repeat(5000)), Just("=3D%40".repeat(3000)),
            Just("token: \\\"q7Zk2Rw9Xb4Tn8Vc1Lp6\\\"".to_owned()), "[\\\\&=%#;ux0-9a-fA-F@ \r\n-]{0,60}",
        ], 0..20),
        cuts in prop::collection::vec(0usize..40_000, 0..12),
    ) {
        let text = parts.concat();
        let masker = masker();
        let whole = masker.mask(&text);
        let whole_findings = whole.findings.clone();
        prop_assert_eq!(in_pieces(&masker, &text, &cuts), (whole.text, whole.findings));
        // The scan of the whole, which has no windows, finds the same.
        let (mut last, mut rest, mut scanned) = (0, String::new(), Findings::new());
        for span in masker.scan(&text) {
            rest.push_str(&text[last..span.range.start]);
            rest.push('#');
            *scanned.entry(span.kind).or_default() += 1;
            prop_assert!(span.range.start >= last && span.range.end > span.range.start);
            prop_assert!(text.get(span.range.clone()).is_some());
            last = span.range.end;
        }
        rest.push_str(&text[last..]);
        let tag = regex::Regex::new(r"\[[A-Z_]+:[0-9a-f]{4}\]").unwrap();
        let (pieces, _) = in_pieces(&masker, &text, &cuts);
        prop_assert_eq!(tag.replace_all(&pieces, "#"), rest);
        prop_assert_eq!(scanned, whole_findings);
    }
}
