//! The limits of one host: rules, counts, and where they are kept.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use smallvec::SmallVec;
use tokio::time::MissedTickBehavior;

use super::agent::AgentTrees;
use super::demand::{CallDemand, Charges, NumberedRule, Part, bounds_caller, charges};
use super::key::{BucketKey, Identities, Who, rule_id};
use super::ledger::{Charge, Counted, Full, Ledger};
use super::measure::Measure;
use super::reservation::{Place, Reservation, Standing};
use super::rule::{Bound, OnStoreFailure, Rule};
use super::shared::{FLUSH, Origin, RENEW, Shared};
use super::span::{Span, millis, time_of};
use super::state::{StateFile, parse, to_json};
use crate::claude::{Answer, Model, Prices};
use crate::denial::Denial;
use crate::store::{Store, StoreDown};

/// The limits of one host, by the rules of one configuration.
///
/// [`Limits::upkeep`] must run while they are used.
pub struct Limits {
    rules: Arc<Ruleset>,
    counts: Arc<Counts>,
}

/// What is counted, whatever the rules are: a count belongs to the rule of its name, per, measure and window.
struct Counts {
    ledger: Ledger,
    agents: AgentTrees,
    /// With a store, `ledger` counts what this host grants besides the store, for when the store is gone.
    shared: Option<Shared>,
    state: Option<StateFile>,
    next_lease: AtomicU64,
    local_decisions: AtomicU64,
    /// Another process counts from now on, and writes the state file.
    handed_over: AtomicBool,
}

/// What the store is good for at the moment, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreState {
    /// It answers.
    pub up: bool,
    /// Calls and tries that failed.
    pub failures: u64,
    /// Calls that were decided without it.
    pub local_decisions: u64,
    /// Corrections that wait for it.
    pub waiting: usize,
    /// Corrections that there was no room for while it was away.
    pub lost: u64,
}

/// The rules and prices in force.
pub(super) struct Ruleset {
    rules: Vec<NumberedRule>,
    prices: Prices,
}

impl Ruleset {
    fn new(rules: Vec<Rule>, prices: Prices) -> Arc<Self> {
        let number = |rule: Rule| NumberedRule { id: rule_id(&rule.name), rule: Arc::new(rule) };
        Arc::new(Self { rules: rules.into_iter().map(number).collect(), prices })
    }

    pub fn rule(&self, at: usize) -> Option<&Arc<Rule>> {
        self.rules.get(at).map(|numbered| &numbered.rule)
    }

    pub fn prices(&self) -> &Prices {
        &self.prices
    }
}

impl Limits {
    /// Limits by `rules`, whose names differ, counted in `store` if there is one and else in memory. What this host counts for
    /// an hour or longer is kept in `state_file`, so that a restart does not forget it; a file that cannot be read is set
    /// aside, with an error in the log, and all counts begin at zero.
    pub fn new(rules: Vec<Rule>, prices: Prices, store: Option<Arc<Store>>, state_file: Option<PathBuf>) -> Arc<Self> {
        let ledger = Ledger::new();
        let state = state_file.map(StateFile::new);
        if let Some(state) = &state {
            ledger.restore(state.load());
        }
        let counts = Counts {
            ledger,
            agents: AgentTrees::new(),
            shared: store.map(Shared::new),
            state,
            next_lease: AtomicU64::new(1),
            local_decisions: AtomicU64::new(0),
            handed_over: AtomicBool::new(false),
        };
        Arc::new(Self { rules: Ruleset::new(rules, prices), counts: Arc::new(counts) })
    }

    /// Limits by other rules and prices over the same counts: what was used stays with the rule of its name, per, measure and
    /// window. What was reserved by these rules is settled by them.
    #[must_use]
    pub fn succeeded_by(&self, rules: Vec<Rule>, prices: Prices) -> Arc<Self> {
        Arc::new(Self { rules: Ruleset::new(rules, prices), counts: Arc::clone(&self.counts) })
    }

    /// What [`Limits::upkeep`] keeps: once is enough for all limits that have it.
    pub fn subject(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.counts) as _
    }

    /// Whether the input tokens of a call of `parts` matter to any rule: else no estimate is needed.
    pub fn wants_tokens(&self, who: &Who<'_>, parts: &[Part]) -> bool {
        let counts_tokens = |bound: &Bound| matches!(bound.measure, Measure::InputTokens | Measure::Cost);
        self.rules.rules.iter().any(|NumberedRule { rule, .. }| {
            rule.bounds.iter().any(counts_tokens)
                && bounds_caller(rule, who)
                && rule.covers(parts.iter().map(|part| &part.model))
        })
    }

    /// Reserves what the call asks for, of every limit that it meets or of none.
    ///
    /// # Errors
    /// [`Denial::LimitReached`] for the limit that has to be waited for longest, [`Denial::PriceUnknown`] when a cost limit
    /// meets a model without a price, [`Denial::StoreUnavailable`] when a limit demands a store that does not answer.
    pub async fn acquire(
        self: &Arc<Self>,
        who: &Who<'_>,
        demand: &CallDemand,
        now: SystemTime,
    ) -> Result<Reservation, Denial> {
        if self.rules.rules.is_empty() {
            return Ok(Reservation::unlimited());
        }
        let rules = &self.rules;
        let identities = Identities::new(who, &self.counts.agents);
        let charges = charges(&rules.rules, &rules.prices, who, identities, demand)?;
        if charges.is_empty() {
            return Ok(Reservation::unlimited());
        }
        let now = millis(now);
        let lease = self.counts.next_lease.fetch_add(1, Ordering::Relaxed);
        let places = self.counts.count(rules, &charges, lease, now).await?;
        Ok(Reservation::new(self, rules, &charges, &places, demand, lease, now))
    }

    /// What a call would reserve, and of which limits, in the order of the rules: for explanations. Nothing is reserved.
    ///
    /// # Errors
    /// [`Denial::PriceUnknown`], as [`Limits::acquire`].
    pub fn would_reserve(&self, who: &Who<'_>, demand: &CallDemand) -> Result<Vec<(Arc<Rule>, Bound, u64)>, Denial> {
        let rules = &self.rules;
        let charges = charges(&rules.rules, &rules.prices, who, Identities::new(who, &self.counts.agents), demand)?;
        let shown = |charge: &Charge| {
            let bound = Bound { measure: charge.key.measure, amount: charge.bound, span: charge.key.span };
            Some((Arc::clone(rules.rule(charge.rule)?), bound, charge.amount))
        };
        Ok(charges.iter().filter_map(shown).collect())
    }

    /// What an answer costs in nano-dollars, by the price of the model that answered, else of the one that was asked; `None`
    /// when it reports no usage or neither price is known.
    pub fn cost(&self, answer: &Answer, asked: Option<&Model>) -> Option<u64> {
        let usage = answer.usage.as_ref()?;
        let rules = &self.rules;
        let answered_by = answer.model.as_deref();
        let price = answered_by.and_then(|name| rules.prices.of_name(name)).or_else(|| rules.prices.of(asked?))?;
        Some(rules.prices.cost(usage, answered_by, price, false))
    }

    /// How every limit of the caller stands now, whatever the models it is for: by the store, or by what this host has
    /// counted itself while the store does not answer.
    pub async fn standing_of(&self, who: &Who<'_>, now: SystemTime) -> Vec<Standing> {
        let now = millis(now);
        let keys = keys_of(&self.rules, who, &self.counts.agents);
        let names: Vec<BucketKey> = keys.iter().map(|(_, _, key)| *key).collect();
        let from_store = match &self.counts.shared {
            Some(shared) if !names.is_empty() => shared.used(&names).await.ok(),
            _ => None,
        };
        let counts = from_store.unwrap_or_else(|| names.iter().map(|key| self.counts.ledger.used(key, now)).collect());
        let standing = |((rule, bound, _), counted): (&(Arc<Rule>, Bound, BucketKey), Counted)| Standing {
            rule: Arc::clone(rule),
            bound: *bound,
            remaining: bound.amount.saturating_sub(counted.used),
            reset: time_of(counted.reset.max(now)),
        };
        keys.iter().zip(counts).map(standing).collect()
    }

    /// Keeps the counts small, the state file up to date and the store informed. Never ends; runs once, beside the serving, for
    /// these limits and all that have the same counts.
    pub async fn upkeep(&self) {
        self.counts.upkeep().await;
    }

    /// Brings what was counted to where it outlives this process, taking `within` at most; whether all of it is there. For the
    /// end, when no call is under way any more.
    pub async fn flush(&self, within: Duration) -> bool {
        self.counts.flush(within).await
    }

    /// What this host has counted, for the process that takes over: this one writes the state file no more. What calls
    /// under way use less than they have reserved stays reserved there; how many are under way is counted by each for its own.
    pub fn hand_over(&self) -> Vec<u8> {
        self.counts.hand_over()
    }

    /// The process that was to take over did not.
    pub fn take_back(&self) {
        self.counts.take_back();
    }

    /// Takes over what another process of this host has counted, of the same version or another.
    ///
    /// # Errors
    /// When it cannot be read; what the state file had is in force then.
    pub fn take_over(&self, counts: &[u8]) -> Result<(), String> {
        self.counts.take_over(counts)
    }

    /// What the store is good for at the moment; `None` without one.
    pub fn store_state(&self) -> Option<StoreState> {
        self.counts.store_state()
    }

    /// How many counts are kept in memory.
    pub fn counts(&self) -> usize {
        self.counts.ledger.len()
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.counts.ledger
    }

    /// Corrects what a charge counted in `slot`, here and in the store.
    pub(super) fn correct(&self, key: &BucketKey, slot: u64, store: Option<(Origin, u64)>, delta: i64, now: u64) {
        self.counts.ledger.correct(key, slot, delta, now);
        if let (Some(shared), Some((origin, slot))) = (&self.counts.shared, store) {
            shared.correct(key, slot, origin, delta, now);
        }
    }

    /// A request that `key` counts is no longer under way.
    pub(super) fn release(&self, key: &BucketKey, lease: u64, now: u64) {
        self.counts.ledger.correct(key, 0, -1, now);
        if let Some(shared) = &self.counts.shared {
            shared.release(key, lease);
        }
    }
}

impl Counts {
    async fn count(
        &self,
        rules: &Ruleset,
        charges: &Charges,
        lease: u64,
        now: u64,
    ) -> Result<SmallVec<[Place; 4]>, Denial> {
        let Some(shared) = &self.shared else {
            return match self.ledger.acquire(charges, now) {
                Ok(counts) => Ok(counts.into_iter().map(|own| Place { own, store: None }).collect()),
                Err(full) => Err(reached(rules, charges, full)),
            };
        };
        let places: SmallVec<[Place; 4]> = match shared.acquire(charges, lease, None).await {
            Ok(Err(full)) => return Err(reached(rules, charges, full)),
            Ok(Ok(counts)) => {
                let own = self.ledger.add(charges, now);
                own.into_iter()
                    .zip(counts)
                    .map(|(own, counted)| Place { own, store: Some((Origin::Store, counted)) })
                    .collect()
            }
            Err(StoreDown) => self.count_without(shared, rules, charges, now).inspect_err(|_| {
                for charge in charges.iter().filter(|charge| charge.key.span == Span::UnderWay) {
                    shared.release(&charge.key, lease); // the store may have granted it nevertheless
                }
            })?,
        };
        for charge in charges.iter().filter(|charge| charge.key.span == Span::UnderWay) {
            shared.hold(&charge.key, lease);
        }
        Ok(places)
    }

    /// Decides as every rule says for a store that does not answer. What is used meanwhile waits for the store.
    fn count_without(
        &self,
        shared: &Shared,
        rules: &Ruleset,
        charges: &Charges,
        now: u64,
    ) -> Result<SmallVec<[Place; 4]>, Denial> {
        self.local_decisions.fetch_add(1, Ordering::Relaxed);
        let mut own = charges.clone();
        for charge in &mut own {
            let Some(rule) = rules.rule(charge.rule) else { continue };
            charge.bound = match rule.on_store_failure {
                OnStoreFailure::Closed => return Err(Denial::StoreUnavailable { limit: rule.name.to_string() }),
                OnStoreFailure::Open => u64::MAX,
                OnStoreFailure::Local => (charge.bound / shared.store().instances()).max(1),
            };
        }
        let counts = self.ledger.acquire(&own, now).map_err(|mut full| {
            // A call above this host's share, but not above the bound, passes when the store is back.
            let fits = charges.get(full.charge).is_some_and(|charge| charge.amount <= charge.bound);
            if fits {
                full.wait = full.wait.or(Some(0));
            }
            reached(rules, charges, full)
        })?;
        let place = |(charge, own): (&Charge, Counted)| {
            if charge.key.span != Span::UnderWay {
                shared.correct(
                    &charge.key,
                    own.slot,
                    Origin::Host,
                    i64::try_from(charge.amount).unwrap_or(i64::MAX),
                    now,
                );
            }
            Place { own, store: Some((Origin::Host, own)) }
        };
        Ok(charges.iter().zip(counts).map(place).collect())
    }

    async fn upkeep(&self) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut flush = tokio::time::interval(if self.shared.is_some() { FLUSH } else { RENEW });
        let mut renew = tokio::time::interval(RENEW);
        for interval in [&mut second, &mut flush, &mut renew] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut was_up = false;
        loop {
            tokio::select! {
                _ = second.tick() => {
                    self.ledger.sweep(millis(SystemTime::now()));
                    self.save().await;
                }
                _ = flush.tick() => {
                    let Some(shared) = &self.shared else { continue };
                    let is_up = shared.store().is_up();
                    if is_up && !was_up {
                        shared.renew(); // it may have lost all leases, and never had those of the time without it
                    }
                    was_up = is_up;
                    if is_up && shared.waiting() > 0 {
                        shared.flush(None).await;
                    }
                }
                _ = renew.tick() => {
                    if let Some(shared) = &self.shared {
                        shared.renew();
                    }
                }
            }
        }
    }

    async fn flush(&self, within: Duration) -> bool {
        let store_has_it = async {
            let Some(shared) = &self.shared else { return };
            while !shared.flush(None).await {
                tokio::time::sleep(FLUSH).await; // the store is away, or upkeep is at it
            }
        };
        let is_shared = tokio::time::timeout(within, store_has_it).await.is_ok();
        self.save().await && is_shared
    }

    fn hand_over(&self) -> Vec<u8> {
        self.handed_over.store(true, Ordering::Relaxed);
        // Keys and counts always have a form.
        to_json(&self.ledger.all()).unwrap_or_default()
    }

    fn take_back(&self) {
        self.handed_over.store(false, Ordering::Relaxed);
        self.ledger.mark_changed();
    }

    fn take_over(&self, counts: &[u8]) -> Result<(), String> {
        self.ledger.restore(parse(counts)?);
        self.ledger.mark_changed();
        Ok(())
    }

    fn store_state(&self) -> Option<StoreState> {
        self.shared.as_ref().map(|shared| StoreState {
            up: shared.store().is_up(),
            failures: shared.store().failures(),
            local_decisions: self.local_decisions.load(Ordering::Relaxed),
            waiting: shared.waiting(),
            lost: shared.lost(),
        })
    }

    async fn save(&self) -> bool {
        let Some(state) = self.state.as_ref().filter(|_| !self.handed_over.load(Ordering::Relaxed)) else {
            return true;
        };
        let Some(buckets) = self.ledger.take_changed() else { return true };
        let saved = state.save(buckets).await;
        if !saved {
            self.ledger.mark_changed();
        }
        saved
    }
}

/// Every count that the caller's calls may meet.
fn keys_of(rules: &Ruleset, who: &Who<'_>, agents: &AgentTrees) -> Vec<(Arc<Rule>, Bound, BucketKey)> {
    let mut identities = Identities::new(who, agents);
    let mut keys = Vec::new();
    for NumberedRule { rule, id } in &rules.rules {
        if bounds_caller(rule, who) {
            for who in identities.of(rule) {
                keys.extend(rule.bounds.iter().map(|bound| {
                    let key = BucketKey { rule: *id, per: rule.per, measure: bound.measure, span: bound.span, who };
                    (Arc::clone(rule), *bound, key)
                }));
            }
        }
    }
    keys
}

fn reached(rules: &Ruleset, charges: &Charges, full: Full) -> Denial {
    let found = charges.get(full.charge).and_then(|charge| Some((charge, rules.rule(charge.rule)?)));
    let Some((charge, rule)) = found else { return Denial::Internal("a limit without a rule".to_owned()) };
    let wait = |millis| Duration::from_millis(millis).max(SHORTEST_WAIT);
    Denial::LimitReached { limit: rule.name.to_string(), measure: charge.key.measure, retry_after: full.wait.map(wait) }
}

/// `retry-after` counts in seconds.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
