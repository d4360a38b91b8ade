use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, mpsc};

use super::super::health::{Cause, HealthRules, Report};
use super::super::pool::Placed;
use super::*;

const INTERVAL: Duration = Duration::from_secs(10);

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, number], 443))
}

fn pool(addresses: u8, rules: HealthRules) -> Pool {
    let pool = Pool::new(rules, true);
    pool.replace(&(0..addresses).map(|n| Placed { address: address(n), preferred: false }).collect::<Vec<_>>());
    pool
}

/// Starts all that is due and finishes it at once.
fn run(rota: &mut Rota, now: Instant) -> Vec<SocketAddr> {
    let started: Vec<_> = std::iter::from_fn(|| rota.start(now)).collect();
    for address in &started {
        rota.finish(*address, now);
    }
    started
}

#[test]
fn each_address_has_its_turn_in_an_interval_and_not_all_at_the_same_time() {
    let (mut rota, begin) = (Rota::new(INTERVAL), Instant::now());
    let all: Vec<_> = (0..20).map(|number| (address(number), None)).collect();
    rota.update(&all, begin);
    let mut first: Vec<_> = rota.turns.values().filter_map(|turn| turn.due(RETRY)).collect();
    assert!(first.iter().all(|due| (begin..=begin + INTERVAL).contains(due)));
    first.dedup();
    assert_ne!(first.len(), 1);
    assert_eq!(run(&mut rota, begin + INTERVAL).len(), 20);
    assert_eq!(run(&mut rota, begin + INTERVAL.mul_f64(1.89)), []);
    assert_eq!(run(&mut rota, begin + INTERVAL.mul_f64(2.11)).len(), 20);
}

#[test]
fn what_is_under_way_is_not_started_again() {
    let (mut rota, begin) = (Rota::new(INTERVAL), Instant::now());
    rota.update(&[(address(1), None)], begin);
    assert_eq!(rota.start(begin + INTERVAL), Some(address(1)));
    assert_eq!(rota.start(begin + 10 * INTERVAL), None);
    rota.finish(address(1), begin + 10 * INTERVAL);
    assert_eq!(rota.start(begin + 12 * INTERVAL), Some(address(1)));
}

#[test]
fn an_ejected_address_rests_and_is_then_checked_each_second() {
    let (mut rota, begin) = (Rota::new(INTERVAL), Instant::now());
    let (before, until) = (begin + 4 * INTERVAL, begin + 4 * INTERVAL + RETRY / 2);
    rota.update(&[(address(1), Some(until))], begin);
    assert_eq!(run(&mut rota, before), []);
    assert_eq!(rota.pause(before), RETRY / 2);
    assert_eq!(run(&mut rota, until), [address(1)]);
    assert_eq!(run(&mut rota, until + RETRY / 2), []);
    assert_eq!(run(&mut rota, until + RETRY), [address(1)]);
}

#[test]
fn addresses_that_go_are_forgotten() {
    let (mut rota, begin) = (Rota::new(INTERVAL), Instant::now());
    rota.update(&[(address(1), None), (address(2), None)], begin);
    assert_eq!(rota.start(begin + INTERVAL).map(|_| ()), Some(()));
    rota.update(&[(address(3), None), (address(2), None)], begin);
    rota.finish(address(1), begin + INTERVAL);
    assert!(rota.turns.len() == 2 && !rota.turns.contains_key(&address(1)));
}

#[tokio::test]
async fn failing_checks_eject_and_a_passing_one_brings_back() {
    let rules = HealthRules { base_ejection: Duration::from_millis(1), ..HealthRules::default() };
    let pool = pool(2, rules);
    let (tell, mut told) = mpsc::unbounded_channel();
    let check = |checked: SocketAddr| {
        // The first is down until it has been ejected.
        let is_down = checked == address(0) && pool.ejections_total(Cause::Check) == 0;
        tell.send(pool.returns_total()).unwrap();
        async move { if is_down { Err("refused".to_owned()) } else { Ok(()) } }
    };
    let returned = async { while told.recv().await.unwrap() == 0 {} };
    tokio::select! {
        () = keep_checking(&pool, Duration::from_millis(1), check) => {}
        () = returned => {}
    }
    assert_eq!((pool.ejections_total(Cause::Check), pool.returns_total(), pool.serving_count()), (1, 1, 2));
}

#[tokio::test]
async fn a_passing_check_leaves_the_runs_of_requests() {
    let pool = pool(2, HealthRules::default());
    let now = Instant::now();
    let lease = pool.choose(&[address(1)], now).unwrap();
    lease.report(Report::ConnectFailed, now);
    let (tell, mut told) = mpsc::unbounded_channel();
    let check = |_| {
        tell.send(()).unwrap();
        async { Ok(()) }
    };
    let ten = async {
        for _ in 0..10 {
            told.recv().await.unwrap();
        }
    };
    tokio::select! {
        () = keep_checking(&pool, Duration::from_millis(1), check) => {}
        () = ten => {}
    }
    lease.report(Report::ConnectFailed, now);
    assert_eq!(pool.ejections_total(Cause::Connect), 1);
}

#[tokio::test]
async fn sixteen_checks_are_under_way_at_one_time_and_no_more() {
    let pool = pool(40, HealthRules::default());
    let (gate, under_way, most) = (Semaphore::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let (gate, under_way, most) = (&gate, &under_way, &most);
    let (tell, mut told) = mpsc::unbounded_channel();
    let tell = &tell;
    let check = |_| async move {
        most.fetch_max(under_way.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        tell.send(()).unwrap();
        gate.acquire().await.unwrap().forget();
        under_way.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    };
    let all_begin = async {
        for begun in 1..=40 {
            told.recv().await.unwrap();
            if begun >= AT_ONE_TIME {
                gate.add_permits(1);
            }
        }
    };
    tokio::select! {
        () = keep_checking(&pool, Duration::from_millis(1), check) => {}
        () = all_begin => {}
    }
    assert_eq!(most.load(Ordering::Relaxed), AT_ONE_TIME);
}
