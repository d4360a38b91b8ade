//! An answer reads the same wherever its chunks are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::claude::{AnswerReader, ModelPage, relative_results_url, visible_models};

fuzz_target!(|input: (bool, Vec<u8>, usize)| {
    let (sse, body, cut) = input;
    let content_type: &[u8] = if sse { b"text/event-stream" } else { b"application/json" };
    let read = |chunks: &[&[u8]]| {
        let mut reader = AnswerReader::new(Some(content_type));
        chunks.iter().for_each(|chunk| reader.feed(chunk));
        reader.answer()
    };
    let (head, tail) = body.split_at(cut % (body.len() + 1));
    assert_eq!(read(&[head, tail]), read(&[&body]));
    let _ = relative_results_url(&body);
    let _ = visible_models(&body, &ModelPage::default(), |_| true);
});
