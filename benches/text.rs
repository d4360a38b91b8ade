//! Telling the texts of a request, to a sink that only counts them.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use portcullis::claude::{Shape, texts};

use crate::support;

fn count(body: &[u8]) -> usize {
    let mut bytes = 0;
    texts(black_box(body), Shape::Message, |piece| bytes += piece.text.len()).unwrap();
    bytes
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("text");
    let prose = "The quick brown fox jumps over the lazy dog, and nobody minds. ".repeat(80_000);
    let plain =
        format!(r#"{{"system":"s","messages":[{{"role":"user","content":"{prose}"}}],"model":"claude-opus-5"}}"#);
    // A system prompt that comes after the turns has them passed over first.
    let turns_first = format!(r#"{{"messages":[{{"role":"user","content":"{prose}"}}],"model":"claude-opus-5"}}"#);
    let block = r#"{"type":"text","text":"some words of a turn","cache_control":{"type":"ephemeral"}},"#;
    let blocks = format!(
        r#"{{"messages":[{{"role":"user","content":[{}{{}}]}}],"model":"claude-opus-5"}}"#,
        block.repeat(50_000)
    );
    let image = "iVBORw0KGgo/+A".repeat(350_000);
    let image = format!(
        r#"{{"messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"base64","data":"{image}"}}}}]}}],"model":"m"}}"#
    );
    for (name, body) in [
        ("2KB", support::message(2_000)),
        ("5MB_prose_system_first", plain.into_bytes()),
        ("5MB_prose_turns_first", turns_first.into_bytes()),
        ("5MB_code", support::message(5_000_000)),
        ("4MB_blocks", blocks.into_bytes()),
        ("5MB_image", image.into_bytes()),
    ] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| count(&body)));
    }
}
