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
}
