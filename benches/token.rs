//! Verification of a token: the first time (parse, signature, claims), and when it is known as verified or as refused.

use std::hint::black_box;

use criterion::Criterion;
use jsonwebtoken::Algorithm;
use portcullis::identity::{Bearer, CacheBounds};

use crate::support;

/// Nothing is remembered, so that every time is the first.
const NOTHING: CacheBounds = CacheBounds { verified: 0, refused: 0 };

pub fn benches(criterion: &mut Criterion) {
    let now = support::now();
    let mut group = criterion.benchmark_group("token_verify");
    for (name, algorithm) in
        [("hs256", Algorithm::HS256), ("es256", Algorithm::ES256), ("rs256_2048", Algorithm::RS256)]
    {
        let (issuers, token) = support::issuers_bounded(algorithm, NOTHING);
        group.bench_function(name, |bencher| {
            bencher.iter(|| issuers.verify(Bearer::parse(black_box(&token)).unwrap(), now).unwrap());
        });
    }
    let (issuers, token) = support::issuers(Algorithm::RS256);
    group.bench_function(format!("cached_{}_bytes", token.len()), |bencher| {
        bencher.iter(|| issuers.verify(Bearer::parse(black_box(&token)).unwrap(), now).unwrap());
    });
    let forged = format!("{}{}", &token[..token.len() - 4], if token.ends_with("AAAA") { "BBBB" } else { "AAAA" });
    group.bench_function("refused_again", |bencher| {
        bencher.iter(|| issuers.verify(Bearer::parse(black_box(&forged)).unwrap(), now).unwrap_err());
    });
}
