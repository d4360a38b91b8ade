//! Spans are in order, do not overlap and lie between characters, and a text in pieces is masked as the whole.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis::privacy::{Detectors, Masker, TagKey};

static MASKER: LazyLock<Masker> = LazyLock::new(|| {
    let key = TagKey::random().expect("the system gives random bytes");
    Masker::new(Detectors::default(), key)
});

fuzz_target!(|input: (String, Vec<u16>, u16)| {
    let (unit, cuts, times) = input;
    // Long texts are what a stream is for.
    let text = unit.repeat(1 + usize::from(times) / unit.len().max(1));
    let mut last = 0;
    for span in MASKER.scan(&text) {
        assert!(span.range.start >= last && !span.range.is_empty() && text.get(span.range.clone()).is_some());
        last = span.range.end;
    }
    let whole = MASKER.mask(&text);
    let (mut stream, mut out, mut at) = (MASKER.stream(), String::new(), 0);
    for cut in cuts {
        let to = text.ceil_char_boundary(at + usize::from(cut));
        stream.push(&text[at..to], &mut out);
        at = to;
    }
    stream.push(&text[at..], &mut out);
    assert_eq!((stream.finish(&mut out), out), (whole.findings, whole.text));
});
