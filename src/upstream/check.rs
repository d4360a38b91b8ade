//! Active checks: every address is looked at again and again, whether requests go there or not.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::health::fraction;
use super::pool::Pool;

/// Checks every address of `pool` each `interval`, for as long as the future is polled.
///
/// At most 16 checks are under way at one time. An ejected address rests for the time of its ejection, and is then checked
/// each second (or each `interval`, if that is shorter) until a check passes. `check` makes one connection or request, says
/// what was wrong, and has to end by itself: it bounds its own time.
pub async fn keep_checking<F, Fut>(pool: &Pool, interval: Duration, check: F)
where
    F: Fn(SocketAddr) -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let mut rota = Rota::new(interval);
    let mut under_way = FuturesUnordered::new();
    loop {
        let now = Instant::now();
        rota.update(&pool.ejected(), now);
        while under_way.len() < AT_ONE_TIME
            && let Some(address) = rota.start(now)
        {
            let outcome = check(address);
            under_way.push(async move { (address, outcome.await) });
        }
        // A full house waits for the first to leave; otherwise the pool is looked at again, for it may have changed.
        let pause = if under_way.len() < AT_ONE_TIME { rota.pause(now) } else { rota.retry };
        tokio::select! {
            Some((address, outcome)) = under_way.next(), if !under_way.is_empty() => {
                let now = Instant::now();
                pool.note_check(address, outcome, now);
                rota.finish(address, now);
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// When each address is to be checked.
struct Rota {
    interval: Duration,
    /// After which time an address whose ejection is over is checked again.
    retry: Duration,
    turns: HashMap<SocketAddr, Turn>,
    seeds: RandomState,
}

struct Turn {
    state: State,
    /// When the last check ended.
    last: Option<Instant>,
    /// The end of its ejection, if it is ejected.
    ejected_until: Option<Instant>,
    /// How many checks were planned.
    round: u64,
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    UnderWay,
    /// It waits for this time, as long as it serves.
    Waiting(Instant),
}

impl Rota {
    fn new(interval: Duration) -> Self {
        let interval = interval.max(SHORTEST);
        Self { interval, retry: interval.min(RETRY), turns: HashMap::new(), seeds: RandomState::new() }
    }

    /// Takes in the addresses that have come, forgets those that have gone, and notes which are ejected. A new one is
    /// first checked within one interval, each at a time of its own.
    fn update(&mut self, addresses: &[(SocketAddr, Option<Instant>)], now: Instant) {
        if self.turns.len() != addresses.len() || !addresses.iter().all(|(address, _)| self.turns.contains_key(address))
        {
            self.turns.retain(|known, _| addresses.iter().any(|(address, _)| address == known));
        }
        for &(address, ejected_until) in addresses {
            let turn = self.turns.entry(address).or_insert_with(|| {
                let seed = self.seeds.hash_one(address);
                let first = now + self.interval.mul_f64(fraction(seed, 0));
                Turn { state: State::Waiting(first), last: None, ejected_until: None, round: 0, seed }
            });
            turn.ejected_until = ejected_until;
        }
    }

    /// The address whose check is due longest, if there is one; it is under way from now on.
    fn start(&mut self, now: Instant) -> Option<SocketAddr> {
        let retry = self.retry;
        let due = self.turns.iter_mut().filter_map(|(address, turn)| Some((turn.due(retry)?, *address, turn)));
        let (_, address, turn) = due.filter(|(due, ..)| *due <= now).min_by_key(|(due, ..)| *due)?;
        turn.state = State::UnderWay;
        Some(address)
    }

    /// Plans the next check of an address, an interval from now with up to 10 % of jitter either way.
    fn finish(&mut self, address: SocketAddr, now: Instant) {
        if let Some(turn) = self.turns.get_mut(&address) {
            turn.round += 1;
            turn.last = Some(now);
            turn.state = State::Waiting(now + self.interval.mul_f64(0.9 + 0.2 * fraction(turn.seed, turn.round)));
        }
    }

    /// How long nothing is due, at most until the pool is to be looked at again.
    fn pause(&self, now: Instant) -> Duration {
        let waits = self.turns.values().filter_map(|turn| turn.due(self.retry));
        waits.map(|due| due.saturating_duration_since(now)).min().map_or(self.retry, |wait| wait.min(self.retry))
    }
}

impl Turn {
    fn due(&self, retry: Duration) -> Option<Instant> {
        match (self.state, self.ejected_until) {
            (State::UnderWay, _) => None,
            (State::Waiting(due), None) => Some(due),
            (State::Waiting(_), Some(until)) => Some(self.last.map_or(until, |last| until.max(last + retry))),
        }
    }
}

const AT_ONE_TIME: usize = 16;
const RETRY: Duration = Duration::from_secs(1);
/// An interval of nothing would never let go of its thread.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
