//! Choosing an address of the upstream, reporting an answer, and giving the address back.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use criterion::Criterion;
use portcullis::upstream::{HealthRules, Placed, Pool, Report, RetryBudget};

fn pool(addresses: u8) -> Pool {
    let pool = Pool::new(HealthRules::default(), false);
    let placed =
        |last: u8| Placed { address: SocketAddr::from(([10, 0, 0, last], 443)), preferred: last.is_multiple_of(2) };
    pool.replace(&(0..addresses).map(placed).collect::<Vec<_>>());
    pool
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("upstream");
    let now = Instant::now();
    for addresses in [3, 64] {
        let pool = pool(addresses);
        group.bench_function(format!("choose_report_drop_{addresses}_addresses"), |bencher| {
            bencher.iter(|| pool.choose(black_box(&[]), now).unwrap().report(black_box(Report::Answered(200)), now));
        });
    }
    // Without a floor, and never at its cap: a deposit and a withdrawal each time.
    let budget = RetryBudget::new(1.0, 0);
    group.bench_function("budget_request_and_retry", |bencher| {
        bencher.iter(|| {
            black_box(&budget).request();
            budget.try_retry(now)
        });
    });
}
