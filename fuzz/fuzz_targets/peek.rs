//! Whatever is accepted is what a plain JSON parser reads, a batch of one is its item, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::claude::{Shape, peek};
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    for shape in [Shape::Batch, Shape::Resource] {
        let _ = peek(body, shape);
    }
    if let Ok(found) = peek(body, Shape::Message)
        && let Ok(plain) = serde_json::from_slice::<Value>(body)
    {
        assert_eq!(found.models().next().map(|model| model.as_str()), plain["model"].as_str());
        assert_eq!(found.stream, plain["stream"].as_bool().unwrap_or(false));
        assert!(found.max_tokens() >= plain["max_tokens"].as_u64());
        let batch = [b"{\"requests\":[{\"params\":", body, b"}]}"].concat();
        // Two levels deeper, it may be nested too deeply.
        if let Ok(batch) = peek(&batch, Shape::Batch) {
            assert_eq!(batch.asks(), found.asks());
        }
    }
});
