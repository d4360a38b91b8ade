//! The addresses of the upstream with their health, and which of them a request goes to.
//!
//! What is read for each request is an atomic word an address. Ejections and returns are rare and take turns under one
//! lock, so that the last address that serves is never ejected.

use std::cmp::Ordering as Order;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::health::{Cause, Earned, FULL_WEIGHT, Health, HealthRules, Report, Standing, Word};

/// An address, and whether its zone is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placed {
    /// Where to connect to.
    pub address: SocketAddr,
    /// Whether it is used before those that are not preferred.
    pub preferred: bool,
}

/// The addresses of one upstream.
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    rules: HealthRules,
    checked: bool,
    origin: Instant,
    members: ArcSwap<Vec<Member>>,
    /// Held while an address is ejected, returns, joins or leaves.
    transition: Mutex<()>,
    turn: AtomicU64,
    totals: Totals,
    seeds: RandomState,
}

#[derive(Default)]
struct Totals {
    connect: AtomicU64,
    reset: AtomicU64,
    server_errors: AtomicU64,
    check: AtomicU64,
    returns: AtomicU64,
}

#[derive(Clone)]
struct Member {
    preferred: bool,
    site: Arc<Site>,
}

/// An address and what is known of it, shared with the leases that outlive its membership.
struct Site {
    address: SocketAddr,
    health: Health,
    in_flight: AtomicUsize,
    /// The turn in which it was last chosen.
    chosen: AtomicU64,
    /// Whether a request tries this address, which is on probation.
    on_trial: AtomicBool,
    pool: Weak<Shared>,
}

/// An address and its state, for metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct AddressState {
    /// The address.
    pub address: SocketAddr,
    /// Whether its zone is preferred.
    pub preferred: bool,
    /// Whether it takes requests, and not only for want of another.
    pub serving: bool,
    /// Its weight, from 0 when it does not serve to 1.
    pub weight: f64,
    /// Requests that are under way to it.
    pub in_flight: usize,
    /// How often it was ejected since it joined.
    pub ejections: u64,
}

impl Pool {
    /// A pool without addresses. When it is `checked`, an address whose ejection is over waits for an active check to
    /// pass (see [`keep_checking`](super::keep_checking)); else one request at a time tries it.
    pub fn new(rules: HealthRules, checked: bool) -> Self {
        let shared = Shared {
            rules,
            checked,
            origin: Instant::now(),
            members: ArcSwap::default(),
            transition: Mutex::new(()),
            turn: AtomicU64::new(0),
            totals: Totals::default(),
            seeds: RandomState::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Makes these the addresses. Those that stay keep their health and their requests under way; those that join serve
    /// at once; an address that stands there twice is preferred if it is so once. When only ejected ones stay, the one
    /// whose ejection ends first serves again.
    pub fn replace(&self, placed: &[Placed]) {
        let shared = &self.shared;
        let _turn = shared.transition();
        let before: HashMap<_, _> =
            shared.members.load().iter().map(|member| (member.site.address, Arc::clone(&member.site))).collect();
        let mut members: Vec<Member> = Vec::with_capacity(placed.len());
        let mut seats = HashMap::with_capacity(placed.len());
        for &Placed { address, preferred } in placed {
            let seat = *seats.entry(address).or_insert(members.len());
            if let Some(member) = members.get_mut(seat) {
                member.preferred |= preferred;
                continue;
            }
            let site = before.get(&address).map_or_else(|| Arc::new(shared.site(address)), Arc::clone);
            members.push(Member { preferred, site });
        }
        if !members.iter().any(Member::is_serving)
            && let Some(first) = members.iter().min_by_key(|member| member.site.health.ejected_until())
        {
            first.site.health.pardon();
            shared.totals.returns.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(address = %first.site.address, "an upstream address is used again, as no other is left");
        }
        shared.members.store(Arc::new(members));
    }

    /// The address for a request that has already `tried` these; `None` only when there is no address at all.
    ///
    /// Of the addresses that were not tried (of all, when all were) these are preferred, in this order:
    ///
    /// 1. one on probation that waits for its trial, when this is a first attempt;
    /// 2. one that serves, in the preferred zone;
    /// 3. one that serves elsewhere;
    /// 4. the one whose ejection ends first.
    ///
    /// Among equals it is the one with the least requests under way for its weight, then the one that was chosen longest
    /// ago.
    pub fn choose(&self, tried: &[SocketAddr], now: Instant) -> Option<Lease> {
        let members = self.shared.members.load();
        let may_try = tried.is_empty() && !self.shared.checked;
        let pick = |tried: &[SocketAddr], may_try: bool| {
            let untried = members.iter().filter(|member| tried.is_empty() || !tried.contains(&member.site.address));
            let ranked = untried.map(|member| (member.rank(may_try, now), member));
            ranked.min_by(|(left, _), (right, _)| left.cmp(right))
        };
        let (mut rank, mut member) = pick(tried, may_try).or_else(|| pick(&[], false))?;
        let mut trial = self.claims_trial(&rank, member);
        if matches!(rank.tier, Tier::Trial) && !trial {
            // Another request was quicker.
            (rank, member) = pick(tried, false)?;
            trial = self.claims_trial(&rank, member);
        }
        member.site.chosen.store(self.shared.turn.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        member.site.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Lease {
            word: rank.word,
            trial: AtomicBool::new(trial),
            answering: AtomicBool::new(false),
            site: Arc::clone(&member.site),
        })
    }

    fn claims_trial(&self, rank: &Rank, member: &Member) -> bool {
        let may = match rank.tier {
            Tier::Trial => true,
            Tier::Ejected { over, .. } => over && !self.shared.checked,
            Tier::Preferred(_) | Tier::Elsewhere(_) => false,
        };
        may && !member.site.on_trial.swap(true, Ordering::AcqRel)
    }

    /// Takes the outcome of an active check. Two failures in a row eject an address; one success after the time of its
    /// ejection lets it return.
    pub(super) fn note_check(&self, address: SocketAddr, outcome: Result<(), String>, now: Instant) {
        let members = self.shared.members.load();
        let Some(Member { site, .. }) = members.iter().find(|member| member.site.address == address) else { return };
        let (word, standing) = site.health.standing(now);
        match (standing, outcome) {
            (Standing::Serving { .. }, outcome) => {
                if let Some(earned) = site.health.note_check(outcome.is_ok()) {
                    self.shared.eject(site, word, earned, &outcome.err().unwrap_or_default(), now);
                }
            }
            (Standing::Probation { .. }, Ok(())) => self.shared.restore(site, word, now),
            (Standing::Probation { .. }, Err(fault)) => {
                tracing::debug!(%address, fault, "an upstream address is not well yet");
            }
            (Standing::Ejected { .. }, _) => {}
        }
    }

    /// Every address with the time until which it is ejected, if it is.
    pub(super) fn ejected(&self) -> Vec<(SocketAddr, Option<Instant>)> {
        let members = self.shared.members.load();
        members.iter().map(|member| (member.site.address, member.site.health.ejected_until())).collect()
    }

    /// The state of every address.
    pub fn states(&self, now: Instant) -> Vec<AddressState> {
        let state = |Member { preferred, site }: &Member| {
            let weight = match site.health.standing(now).1 {
                Standing::Serving { weight } => Some(weight),
                Standing::Ejected { .. } | Standing::Probation { .. } => None,
            };
            AddressState {
                address: site.address,
                preferred: *preferred,
                serving: weight.is_some(),
                weight: f64::from(weight.unwrap_or(0)) / f64::from(FULL_WEIGHT),
                in_flight: site.in_flight.load(Ordering::Relaxed),
                ejections: site.health.ejections(),
            }
        };
        self.shared.members.load().iter().map(state).collect()
    }

    /// How many ejections there were for this cause.
    pub fn ejections_total(&self, cause: Cause) -> u64 {
        self.shared.totals.ejections(cause).load(Ordering::Relaxed)
    }

    /// How many ejected addresses came back.
    pub fn returns_total(&self) -> u64 {
        self.shared.totals.returns.load(Ordering::Relaxed)
    }

    /// How many addresses there are.
    pub fn len(&self) -> usize {
        self.shared.members.load().len()
    }

    /// Whether there is no address.
    pub fn is_empty(&self) -> bool {
        self.shared.members.load().is_empty()
    }

    /// How many addresses serve; at least one, if there is any.
    pub fn serving_count(&self) -> usize {
        self.shared.members.load().iter().filter(|member| member.is_serving()).count()
    }
}

/// One use of an address, which counts as under way until this is dropped.
pub struct Lease {
    site: Arc<Site>,
    /// The standing of the address as it was chosen. A report on an earlier standing says nothing about this one.
    word: Word,
    /// Whether this request is the trial of an address on probation, and still undecided.
    trial: AtomicBool,
    /// Whether an answer has begun and was not broken off.
    answering: AtomicBool,
}

impl Lease {
    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.site.address
    }

    /// Tells how this use goes. An answer that is broken off is reported twice, as `Answered` and then as `Broken`.
    pub fn report(&self, report: Report, now: Instant) {
        if self.trial.load(Ordering::Relaxed) {
            self.judge_trial(report, now);
            return;
        }
        let health = &self.site.health;
        if !self.word.is_serving() || health.word() != self.word {
            return;
        }
        let in_answer = match report {
            Report::Answered(_) => {
                self.answering.store(true, Ordering::Relaxed);
                false
            }
            Report::Broken => self.answering.swap(false, Ordering::Relaxed),
            Report::Connected | Report::ConnectFailed => false,
        };
        if let Some(earned) = health.note(report, in_answer)
            && let Some(shared) = self.site.pool.upgrade()
        {
            shared.eject(&self.site, self.word, earned, "seen by requests", now);
        }
    }

    fn judge_trial(&self, report: Report, now: Instant) {
        let Some(verdict) = report.verdict() else { return };
        if let Some(shared) = self.site.pool.upgrade() {
            match verdict {
                Ok(()) => shared.restore(&self.site, self.word, now),
                Err(cause) => {
                    shared.eject(&self.site, self.word, Earned { cause, first: true }, "it failed its trial", now);
                }
            }
        }
        self.end_trial();
    }

    fn end_trial(&self) {
        if self.trial.swap(false, Ordering::Relaxed) {
            self.site.on_trial.store(false, Ordering::Release);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end_trial();
        if *self.answering.get_mut() && self.site.health.word() == self.word {
            self.site.health.note_end();
        }
        self.site.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn site(self: &Arc<Self>, address: SocketAddr) -> Site {
        Site {
            address,
            health: Health::new(self.rules, self.origin, self.seeds.hash_one(address)),
            in_flight: AtomicUsize::new(0),
            chosen: AtomicU64::new(0),
            on_trial: AtomicBool::new(false),
            pool: Arc::downgrade(self),
        }
    }

    fn transition(&self) -> MutexGuard<'_, ()> {
        self.transition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stands(&self, site: &Arc<Site>, word: Word) -> bool {
        site.health.word() == word && self.members.load().iter().any(|member| Arc::ptr_eq(&member.site, site))
    }

    /// Ejects this address, unless its standing has changed since `word`, it has left, or no other one serves.
    fn eject(&self, site: &Arc<Site>, word: Word, earned: Earned, detail: &str, now: Instant) {
        let _turn = self.transition();
        if !self.stands(site, word) {
            return;
        }
        let members = self.members.load();
        let (address, cause) = (site.address, earned.cause.label());
        if !members.iter().any(|member| member.is_serving() && !Arc::ptr_eq(&member.site, site)) {
            if earned.first {
                tracing::warn!(%address, cause, detail, "an upstream address fails, and stays as the last one");
            }
            return;
        }
        let lasts = site.health.eject(now);
        self.totals.ejections(earned.cause).fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%address, cause, detail, ?lasts, "an upstream address is ejected");
    }

    /// Lets this address return, unless its standing has changed since `word`, or it has left.
    fn restore(&self, site: &Arc<Site>, word: Word, now: Instant) {
        let _turn = self.transition();
        if self.stands(site, word) {
            site.health.restore(now);
            self.totals.returns.fetch_add(1, Ordering::Relaxed);
            tracing::info!(address = %site.address, "an upstream address serves again");
        }
    }
}

impl Totals {
    fn ejections(&self, cause: Cause) -> &AtomicU64 {
        match cause {
            Cause::Connect => &self.connect,
            Cause::Reset => &self.reset,
            Cause::ServerErrors => &self.server_errors,
            Cause::Check => &self.check,
        }
    }
}

impl Member {
    fn is_serving(&self) -> bool {
        self.site.health.word().is_serving()
    }

    fn rank(&self, may_try: bool, now: Instant) -> Rank {
        let Site { health, in_flight, chosen, on_trial, .. } = &*self.site;
        let (word, standing) = health.standing(now);
        let tier = match standing {
            Standing::Serving { weight } => {
                let load = Load { requests: in_flight.load(Ordering::Relaxed), weight };
                if self.preferred { Tier::Preferred(load) } else { Tier::Elsewhere(load) }
            }
            Standing::Probation { .. } if may_try && !on_trial.load(Ordering::Relaxed) => Tier::Trial,
            Standing::Probation { until } => Tier::Ejected { until, over: true },
            Standing::Ejected { until } => Tier::Ejected { until, over: false },
        };
        Rank { tier, chosen: chosen.load(Ordering::Relaxed), word }
    }
}

/// How an address compares with others; the least is chosen.
struct Rank {
    tier: Tier,
    chosen: u64,
    word: Word,
}

impl Rank {
    fn cmp(&self, other: &Self) -> Order {
        self.tier.cmp(&other.tier).then(self.chosen.cmp(&other.chosen))
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Trial,
    Preferred(Load),
    Elsewhere(Load),
    Ejected { until: u64, over: bool },
}

/// Requests under way, and the weight that carries them.
struct Load {
    requests: usize,
    weight: u32,
}

impl Ord for Load {
    /// Compares what the load would be with one request more, so that a light address is not taken for an idle one.
    fn cmp(&self, other: &Self) -> Order {
        let loaded = |load: &Self, other: &Self| (load.requests as u64 + 1).saturating_mul(other.weight.into());
        loaded(self, other).cmp(&loaded(other, self))
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Order::Equal
    }
}

impl Eq for Load {}

#[cfg(test)]
mod tests;
