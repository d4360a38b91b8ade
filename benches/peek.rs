//! Reading from a body what policy decides on; `model` is the last key.

#![allow(missing_docs, clippy::unwrap_used)] // a bench may panic, and criterion's macros have no docs

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::claude::{Shape, peek};

fn body_peek(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("body_peek");
    for (name, size) in [("2KB", 2_000), ("100KB", 100_000), ("5MB", 5_000_000)] {
        let body = support::message(size);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| peek(black_box(&body), Shape::Message).unwrap()));
    }
}

criterion_group!(benches, body_peek);
criterion_main!(benches);
