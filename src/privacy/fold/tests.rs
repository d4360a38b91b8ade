use proptest::prelude::*;

use super::*;

#[test]
fn what_is_written_is_read_plainly() {
    for (written, plain) in [
        (r"\u0041\x42\u{43}\U00000044", "ABCD"),
        (r#"{\"a\":\"b\"}"#, r#"{"a":"b"}"#),
        (r"\\\\u002d and \\n", "- and \n"),
        ("&lt;&#97;&#x62;&commat;&nbsp;", "<ab@ "),
        ("a=3Db", "a=b"),
        ("ann=40example.com", "ann@example.com"),
        ("exam=\r\nple", "example"),
        ("078=2D05", "078-05"),
        ("1=C2=A02=E2=80=912", "1 2-2"),
        ("a%40b%2Bc", "a@b+c"),
        ("\u{ff21}\u{ff11}\u{966}\u{1d7d9}\u{e51}", "A1011"),
        ("a\u{a0}b\u{3000}c\u{202f}d", "a b c d"),
        ("1\u{2013}2 \u{2212} \u{2010}", "1-2 - -"),
        ("a\u{200b}b\u{ad}c\u{feff}", "abc"),
    ] {
        assert_eq!(Fold::of(written).text(), plain, "{written}");
    }
}

#[test]
fn what_only_looks_like_an_escape_stays() {
    for text in [
        "API_KEY=\nDB=1",
        "x =\n  4",
        "a=40&b=2D5",
        "token=3df8a",
        "100% of it",
        "50%20x50".get(..3).unwrap(),
        "AT&T; R&D &unknown;",
        r"C:\Users\d",
        r"\ud83d",
        "word\u{2014}word",
        "\u{65e5}\u{672c}\u{30fb}\u{8a9e}",
        "\u{0}",
    ] {
        assert_eq!(Fold::of(text).text(), text);
    }
}

fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[ a-z0-9@.=%&#;\\\\-]{0,12}",
        "\\PC{0,6}",
        Just("\\u002d".to_owned()),
        Just("&#45;".to_owned()),
        Just("=\r\n".to_owned()),
        Just("\u{200b}\u{200b}".to_owned()),
        Just("\u{ff11}".to_owned()),
        Just("1\u{2013}".to_owned()),
        Just("=C2=A0".to_owned()),
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn pieces_are_read_as_the_whole_and_written_back(text in texts(), cuts in prop::collection::vec(0usize..60, 0..20), at in 0usize..200) {
        let whole = Fold::of(&text);
        let mut pieces = Fold::default();
        let mut from = 0;
        for cut in cuts {
            let to = text.ceil_char_boundary(from + cut).min(text.len());
            pieces.push(&text[from..to]);
            from = to;
        }
        pieces.push(&text[from..]);
        pieces.finish();
        prop_assert_eq!(pieces.text(), whole.text());
        let mut written = String::new();
        pieces.write_rest(0, &mut written);
        prop_assert_eq!(&written, &text);
        // A place in the plain text is one in the written text, and what is forgotten was before it.
        let at = whole.text().floor_char_boundary(at);
        let place = whole.written_at(at);
        prop_assert!(text.is_char_boundary(place));
        let (mut head, mut tail) = (String::new(), String::new());
        pieces.write(0..at, &mut head);
        pieces.forget(at);
        pieces.write_rest(0, &mut tail);
        prop_assert_eq!(head.len(), place);
        prop_assert_eq!(head + &tail, text);
    }
}
