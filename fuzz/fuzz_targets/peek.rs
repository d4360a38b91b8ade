//! Whatever is accepted names the model that a plain JSON parser reads, and nothing panics.
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
        let model = plain["model"].as_str();
        assert!(model.is_none_or(|model| found.models().any(|judged| judged.as_str() == model)));
        assert_eq!(found.stream, plain["stream"].as_bool().unwrap_or(false));
    }
});
