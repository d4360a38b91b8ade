//! Verification of a token: parse, signature, claims.

use std::hint::black_box;

use criterion::Criterion;
use jsonwebtoken::Algorithm;
use portcullis::identity::Bearer;

use crate::support;

pub fn benches(criterion: &mut Criterion) {
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
