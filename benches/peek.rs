//! Reading from a body what policy decides on; `model` is the last key.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use portcullis::claude::{Shape, peek};

use crate::support;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("body_peek");
    for (name, size) in [("2KB", 2_000), ("100KB", 100_000), ("5MB", 5_000_000)] {
        let body = support::message(size);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| peek(black_box(&body), Shape::Message).unwrap()));
    }
    // Items of four models, each with a ceiling of its own.
    let models = ["claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5", "claude-opus-5-5"];
    let item = |(n, model): (usize, &str)| {
        let tokens = n % 5000;
        format!(
            r#"{{"custom_id":"i{n}","params":{{"messages":[{{"role":"user","content":"x"}}],"max_tokens":{tokens},"model":"{model}"}}}}"#
        )
    };
    let items: Vec<String> = (0..10_000).zip(models.into_iter().cycle()).map(item).collect();
    let body = format!(r#"{{"requests":[{}]}}"#, items.join(","));
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("batch_10000_items", |bencher| {
        bencher.iter(|| peek(black_box(body.as_bytes()), Shape::Batch).unwrap());
    });
}
