//! A line is read as it was written or not at all, and no content of a segment makes its verification panic.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use portcullis::audit::segment::SegmentName;
use portcullis::audit::verify::Verifier;
use portcullis::audit::{Checkpoint, Head};

fuzz_target!(|content: &[u8]| {
    if let Some((head, rest)) = Head::parse(content) {
        let mut line = Vec::new();
        head.splice(&[b"{", rest].concat(), &mut line);
        assert_eq!(line.strip_suffix(b"\n"), Some(content));
    }
    let _ = Checkpoint::parse(content);
    let mut verifier = Verifier::new(Vec::new(), BTreeMap::new());
    let _ = verifier.segment(SegmentName { chain: 0, first: 1 }, "it", content);
    let _ = verifier.finish();
});
