//! The limits of one host: rules, counts, and where they are kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use smallvec::SmallVec;

use super::agent::AgentTrees;
use super::demand::{CallDemand, Charges, NumberedRule, Part, bounds_caller, charges};
use super::key::{BucketKey, Identities, Who, rule_id};
use super::ledger::{Counted, Full, Ledger};
use super::measure::Measure;
use super::reservation::{Place, Reservation, Standing};
use super::rule::{Bound, Rule};
use super::span::{Span, millis, time_of};
use super::state::StateFile;
use crate::claude::Prices;
use crate::denial::Denial;

/// The limits of one host.
///
/// [`Limits::upkeep`] must run while they are used.
pub struct Limits {
    rules: ArcSwap<Ruleset>,
    ledger: Ledger,
    agents: AgentTrees,
    state: Option<StateFile>,
    next_lease: AtomicU64,
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
    /// Limits by `rules`, whose names differ. Budgets of an hour and longer are kept in `state_file`, so that a restart does
    /// not forget them; a file that cannot be read is set aside, with an error in the log, and all counts begin at zero.
    pub fn new(rules: Vec<Rule>, prices: Prices, state_file: Option<PathBuf>) -> Arc<Self> {
        let ledger = Ledger::new();
        let state = state_file.map(StateFile::new);
        if let Some(state) = &state {
            ledger.restore(state.load());
        }
        Arc::new(Self {
            rules: ArcSwap::new(Ruleset::new(rules, prices)),
            ledger,
            agents: AgentTrees::new(),
            state,
            next_lease: AtomicU64::new(1),
        })
    }

    /// Puts other rules and prices in force. What was used stays with the rule of its name, per, measure and window.
    pub fn replace(&self, rules: Vec<Rule>, prices: Prices) {
        self.rules.store(Ruleset::new(rules, prices));
    }

    /// Whether the input tokens of a call of `parts` matter to any rule: else no estimate is needed.
    pub fn wants_tokens(&self, who: &Who<'_>, parts: &[Part]) -> bool {
        let counts_tokens = |bound: &Bound| matches!(bound.measure, Measure::InputTokens | Measure::Cost);
        self.rules.load().rules.iter().any(|NumberedRule { rule, .. }| {
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
        if self.rules.load().rules.is_empty() {
            return Ok(Reservation::unlimited());
        }
        let rules = self.rules.load_full();
        let identities = Identities::new(who, &self.agents);
        let charges = charges(&rules.rules, &rules.prices, who, identities, demand)?;
        if charges.is_empty() {
            return Ok(Reservation::unlimited());
        }
        let now = millis(now);
        let lease = self.next_lease.fetch_add(1, Ordering::Relaxed);
        let places = self.count(&rules, &charges, lease, now).await?;
        Ok(Reservation::new(self, &rules, &charges, &places, demand, lease, now))
    }

    #[allow(clippy::unused_async)] // the store is asked here
    async fn count(
        &self,
        rules: &Ruleset,
        charges: &Charges,
        _lease: u64,
        now: u64,
    ) -> Result<SmallVec<[Place; 4]>, Denial> {
        match self.ledger.acquire(charges, now) {
            Ok(counts) => Ok(counts.into_iter().map(|own| Place { own, store: None }).collect()),
            Err(full) => Err(reached(rules, charges, full)),
        }
    }

    /// How every limit of the caller stands now, whatever the models it is for.
    #[allow(clippy::unused_async)] // the store is asked here
    pub async fn standing_of(&self, who: &Who<'_>, now: SystemTime) -> Vec<Standing> {
        let now = millis(now);
        let rules = self.rules.load_full();
        let keys = keys_of(&rules, who, &self.agents);
        let counts: Vec<Counted> = keys.iter().map(|(_, _, key)| self.ledger.used(key, now)).collect();
        let standing = |((rule, bound, _), counted): (&(Arc<Rule>, Bound, BucketKey), Counted)| Standing {
            rule: Arc::clone(rule),
            bound: *bound,
            remaining: bound.amount.saturating_sub(counted.used),
            reset: time_of(counted.reset.max(now)),
        };
        keys.iter().zip(counts).map(standing).collect()
    }

    /// Keeps the counts small and, when they changed, the state file up to date. Never ends; runs once, beside the serving.
    pub async fn upkeep(&self) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            second.tick().await;
            self.ledger.sweep(millis(SystemTime::now()));
            self.save().await;
        }
    }

    /// Brings what was counted to where it outlives this process; whether all of it is there. For the end, when no call is
    /// under way any more.
    pub async fn flush(&self) -> bool {
        self.save().await
    }

    /// How many counts are kept in memory.
    pub fn counts(&self) -> usize {
        self.ledger.len()
    }

    async fn save(&self) -> bool {
        let Some(state) = &self.state else { return true };
        let Some(buckets) = self.ledger.take_changed() else { return true };
        let saved = state.save(buckets).await;
        if !saved {
            self.ledger.mark_changed();
        }
        saved
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn correct(&self, key: &BucketKey, slot: u64, _store_slot: Option<u64>, delta: i64, now: u64) {
        self.ledger.correct(key, slot, delta, now);
    }

    pub(super) fn release(&self, key: &BucketKey, _lease: u64, now: u64) {
        self.ledger.correct(key, 0, -1, now);
    }

    #[allow(clippy::unused_self)] // the store's leases end here
    pub(super) fn ended(&self, _lease: u64) {}
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
