//! How many input tokens a body may be, before anybody has counted them.

/// Estimates the input tokens of a request body: a third of its bytes, which text in most languages stays below. The base64
/// of an image or a document (the value of a key `data`, 1,024 bytes or longer) counts 1,600 and a 64th of its bytes.
///
/// An estimate is for reserving alone; what the answer reports takes its place. Text is not parsed: plain text is passed over
/// in steps of 1,024 bytes.
pub fn estimate_input_tokens(body: &[u8]) -> u64 {
    let mut plain = body.len();
    let mut tokens = 0;
    let mut from = 0;
    while let Some((start, end)) = next_run(body, from) {
        if is_data(body.get(..start).unwrap_or_default()) {
            let length = end - start;
            plain -= length;
            tokens += 1_600 + length / 64;
        }
        from = end;
    }
    u64::try_from(tokens + plain.div_ceil(3)).unwrap_or(u64::MAX)
}

/// The next run of `RUN` or more bytes of base64's alphabet that begins at or after `from`.
fn next_run(body: &[u8], mut from: usize) -> Option<(usize, usize)> {
    loop {
        // Whatever run is long enough and begins here covers all of this piece, so its bytes are read from the back, and the
        // first one that is no base64 is where the search goes on.
        let piece = body.get(from..from.checked_add(RUN)?)?;
        if let Some(breaks) = piece.iter().rposition(|&byte| !is_base64(byte)) {
            from += breaks + 1;
        } else {
            let rest = body.get(from + RUN..).unwrap_or_default();
            let more = rest.iter().position(|&byte| !is_base64(byte)).unwrap_or(rest.len());
            return Some((from, from + RUN + more));
        }
    }
}

/// Whether what comes next is a string that is the value of a key `data`. Inside a string the quotes would be escaped.
fn is_data(before: &[u8]) -> bool {
    let key = before
        .strip_suffix(b"\"")
        .map(<[u8]>::trim_ascii_end)
        .and_then(|before| before.strip_suffix(b":"))
        .map(<[u8]>::trim_ascii_end);
    key.and_then(|key| key.strip_suffix(b"\"data\"")).is_some_and(|before| !before.ends_with(b"\\"))
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}

/// Shorter runs are words, ids and signatures.
const RUN: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_third_of_its_bytes() {
        assert_eq!(estimate_input_tokens(b""), 0);
        assert_eq!(estimate_input_tokens(b"four"), 2);
        assert_eq!(estimate_input_tokens("a word or two ".repeat(1_000).as_bytes()), 4_667);
    }

    #[test]
    fn an_image_counts_as_one_and_not_as_its_base64() {
        let data = "iVBORw0KGgo/+A".repeat(10_000);
        for source in [
            format!(r#"{{"source":{{"type":"base64","data":"{data}"}}}}"#),
            format!("{{\"source\" : {{\"data\" :\n \"{data}\",\"type\":\"base64\"}}}}"),
        ] {
            let around = u64::try_from((source.len() - data.len()).div_ceil(3)).unwrap();
            assert_eq!(estimate_input_tokens(source.as_bytes()), 1_600 + 140_000 / 64 + around);
        }
    }

    #[test]
    fn long_words_are_text_unless_they_are_data() {
        let word = "a".repeat(30_000);
        let escaped = format!(r#"{{"text":"\"data\":\"{word}"}}"#);
        for body in [format!(r#"{{"text":"{word}"}}"#), format!(r#"{{"data":["{word}"]}}"#), escaped, word] {
            assert_eq!(
                estimate_input_tokens(body.as_bytes()),
                u64::try_from(body.len().div_ceil(3)).unwrap(),
                "{body:.40}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn runs_are_found_as_a_plain_search_finds_them(pieces in proptest::collection::vec((0_usize..3_000, "[ \"{}:\\\\]{1,3}"), 0..8)) {
            let body: String = pieces.iter().map(|(length, gap)| "Zz9".repeat(length / 3) + gap).collect();
            let mut found = Vec::new();
            let mut from = 0;
            while let Some((start, end)) = next_run(body.as_bytes(), from) {
                found.push(end - start);
                from = end;
            }
            let expected: Vec<usize> =
                pieces.iter().map(|(length, _)| length / 3 * 3).filter(|&length| length >= RUN).collect();
            proptest::prop_assert_eq!(found, expected);
        }
    }
}
