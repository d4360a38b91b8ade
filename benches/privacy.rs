//! Masking: ordinary prose, text full of values, and what an attacker would send.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use portcullis::privacy::{Detectors, Masker, TagKey};

const PROSE: &str = "The committee met on Tuesday to talk about the budget, which had grown faster than anybody expected. It was \
    agreed that the library should stay open in the evening; a report follows in 12 weeks. Nobody objected.\n";
const VALUES: &str = "Ann Lee, ann.lee@example.com, +1 415 555 0132, card 4111 1111 1111 1111, from 192.0.2.17.\n";

pub fn benches(criterion: &mut Criterion) {
    let masker = Masker::new(Detectors::default(), TagKey::random().unwrap());
    let mut group = criterion.benchmark_group("privacy");
    group.sample_size(20);
    for (name, unit) in [
        ("prose", PROSE),
        ("values", VALUES),
        ("ats", "@"),
        ("digits", "1"),
        ("groups", "1-"),
        ("colons", ":"),
        ("pairs", "a@"),
        ("numbers", "1 "),
        ("letters", "AB 12 34 "),
        ("names", "api_key="),
        ("headers", "authorization: "),
        ("escapes", "1\\u002d"),
        ("named", "tax id 1234567 "),
    ] {
        for size in [128 << 10, 256 << 10] {
            let text = unit.repeat(size / unit.len());
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(format!("{name}_{}_KiB", size >> 10), |bencher| {
                bencher.iter(|| masker.scan(black_box(&text)));
            });
        }
    }
    group.finish();
}
