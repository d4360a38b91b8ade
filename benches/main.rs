//! The hot paths, one file each. One binary, for linking costs more than measuring.

#![allow(missing_docs, clippy::unwrap_used)] // a bench may panic, and criterion's macros have no docs

mod audit;
mod limit;
mod peek;
mod policy;
mod privacy;
mod support;
mod text;
mod token;
mod upstream;
mod usage;

use criterion::{criterion_group, criterion_main};

/// As the binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group!(
    benches,
    token::benches,
    peek::benches,
    policy::benches,
    privacy::benches,
    limit::benches,
    text::benches,
    usage::benches,
    audit::benches,
    upstream::benches
);
criterion_main!(benches);
