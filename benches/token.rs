//! Verification of a token: parse, signature, claims.

#![allow(missing_docs, clippy::unwrap_used)] // a bench may panic, and criterion's macros have no docs

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use jsonwebtoken::Algorithm;
use portcullis::identity::Bearer;

fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("token_verify");
    for (name, algorithm) in
        [("hs256", Algorithm::HS256), ("es256", Algorithm::ES256), ("rs256_2048", Algorithm::RS256)]
    {
        let (issuers, token) = support::issuers(algorithm);
        let now = support::now();
        group.bench_function(name, |bencher| {
            bencher.iter(|| issuers.verify(Bearer::parse(black_box(&token)).unwrap(), now).unwrap());
        });
    }
}

criterion_group!(benches, verify);
criterion_main!(benches);
