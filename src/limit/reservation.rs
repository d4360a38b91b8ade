//! What a call holds of its limits while it is under way.

use std::sync::Arc;
use std::time::SystemTime;

use smallvec::SmallVec;

use super::demand::CallDemand;
use super::key::BucketKey;
use super::ledger::{Charge, Counted};
use super::limits::{Limits, Ruleset};
use super::measure::Measure;
use super::rule::{Bound, OnExhausted, Rule};
use super::shared::Origin;
use super::span::{millis, time_of};
use crate::claude::{Answer, Model};
use crate::denial::Denial;

/// What a call holds of its limits. Dropped without [`Reservation::settle`], it gives back everything but the request itself.
#[must_use = "dropped, it gives back what it holds"]
pub struct Reservation(Option<Box<Reserved>>);

/// What a call really used.
#[derive(Debug, Clone, Copy)]
pub enum Used<'a> {
    /// The upstream refused or was never asked: nothing is billed.
    Nothing,
    /// What the answer reports, also of one that broke off: then its output is what was reported or the deltas that came,
    /// whichever is more. An answer without usage that is no error stays as reserved.
    Answer(&'a Answer),
    /// What will be billed is not known here and now: what was reserved stays. A batch that was accepted.
    AsReserved,
}

/// How one limit stands for a caller.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The limit.
    pub rule: Arc<Rule>,
    /// The bound of it that this is about.
    pub bound: Bound,
    /// What is left; reservations of calls under way count as used.
    pub remaining: u64,
    /// When all of it is there again if nothing more is used.
    pub reset: SystemTime,
}

struct Reserved {
    limits: Arc<Limits>,
    rules: Arc<Ruleset>,
    held: SmallVec<[Held; 4]>,
    standing: Vec<Standing>,
    /// The model asked for first: its price stands in when the answer's is not known.
    model: Option<Model>,
    batch: bool,
    lease: u64,
    /// The highest time that was seen: settling later needs one, and the clock is not asked here.
    now: u64,
}

/// One charge that is held.
struct Held {
    rule: usize,
    key: BucketKey,
    bound: u64,
    reserved: u64,
    /// The slot of this host's own count.
    slot: u64,
    /// Who counted it for the store, and in which slot there; `None` without a store.
    store: Option<(Origin, u64)>,
    /// What the limit had left besides.
    headroom: u64,
}

/// Where a charge was counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// In this host's own count.
    pub own: Counted,
    /// In the store, or for it.
    pub store: Option<(Origin, Counted)>,
}

impl Reservation {
    /// Of a call that no limit bounds.
    pub(super) fn unlimited() -> Self {
        Self(None)
    }

    pub(super) fn new(
        limits: &Arc<Limits>,
        rules: &Arc<Ruleset>,
        charges: &[Charge],
        places: &[Place],
        demand: &CallDemand,
        lease: u64,
        now: u64,
    ) -> Self {
        let mut held = SmallVec::with_capacity(charges.len());
        let mut standing = Vec::with_capacity(charges.len());
        for (charge, place) in charges.iter().zip(places) {
            let counted = place.store.map_or(place.own, |(_, counted)| counted);
            let headroom = charge.bound.saturating_sub(counted.used);
            held.push(Held {
                rule: charge.rule,
                key: charge.key,
                bound: charge.bound,
                reserved: charge.amount,
                slot: place.own.slot,
                store: place.store.map(|(origin, counted)| (origin, counted.slot)),
                headroom,
            });
            standing.extend(rules.rule(charge.rule).map(|rule| Standing {
                rule: Arc::clone(rule),
                bound: Bound { measure: charge.key.measure, amount: charge.bound, span: charge.key.span },
                remaining: headroom,
                reset: time_of(counted.reset.max(now)),
            }));
        }
        Self(Some(Box::new(Reserved {
            limits: Arc::clone(limits),
            rules: Arc::clone(rules),
            held,
            standing,
            model: demand.parts.first().map(|part| part.model.clone()),
            batch: demand.tariff.batch,
            lease,
            now,
        })))
    }

    /// How the limits of the call stood once it was counted, in the order of the rules.
    pub fn standing(&self) -> &[Standing] {
        self.0.as_ref().map_or(&[], |reserved| &reserved.standing)
    }

    /// Whether a limit of the call ends a stream that uses more than the limit has: only then is
    /// [`Reservation::spent`] worth asking.
    pub fn may_cut(&self) -> bool {
        self.0.as_ref().is_some_and(|reserved| reserved.held.iter().any(|held| reserved.cuts(held)))
    }

    /// What ends a stream that has used `so_far`, if anything does: a limit with [`OnExhausted::Cut`] whose reservation is
    /// used up and that has no more to give. While it has, the reservation grows.
    pub fn spent(&mut self, so_far: &Answer, now: SystemTime) -> Option<Denial> {
        let reserved = self.0.as_mut()?;
        reserved.now = reserved.now.max(millis(now));
        for at in 0..reserved.held.len() {
            let held = reserved.held.get(at)?;
            let used = if reserved.cuts(held) { reserved.used(held, Used::Answer(so_far)) } else { 0 };
            if used > held.reserved && !reserved.grow(at, used) {
                let rule = reserved.rules.rule(reserved.held.get(at)?.rule)?;
                return Some(Denial::LimitSpent {
                    limit: rule.name.to_string(),
                    measure: reserved.held.get(at)?.key.measure,
                });
            }
        }
        None
    }

    /// Puts what was really used in the place of what was reserved, in the slot of the reservation, and gives back the rest.
    pub fn settle(mut self, used: Used<'_>, now: SystemTime) {
        if let Some(mut reserved) = self.0.take() {
            reserved.now = reserved.now.max(millis(now));
            reserved.settle(used);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(reserved) = self.0.take() {
            reserved.settle(Used::Nothing);
        }
    }
}

impl Reserved {
    fn cuts(&self, held: &Held) -> bool {
        matches!(held.key.measure, Measure::InputTokens | Measure::OutputTokens | Measure::Cost)
            && self.rules.rule(held.rule).is_some_and(|rule| rule.on_exhausted == OnExhausted::Cut)
    }

    /// Raises a reservation to `used` if the limit has that much.
    fn grow(&mut self, at: usize, used: u64) -> bool {
        let Some(held) = self.held.get_mut(at) else { return false };
        let more = used - held.reserved;
        let grown = match held.store {
            None => self.limits.ledger().grow(&held.key, held.slot, more, held.bound, self.now),
            // The store is not asked in the middle of a stream: what it had left when the call began is the measure.
            Some(_) if more <= held.headroom => {
                self.limits.correct(&held.key, held.slot, held.store, signed(more), self.now);
                held.headroom -= more;
                true
            }
            Some(_) => false,
        };
        if grown {
            held.reserved = used;
        }
        grown
    }

    fn settle(&self, used: Used<'_>) {
        for held in &self.held {
            match held.key.measure {
                Measure::Requests => {}
                Measure::Concurrent | Measure::ConcurrentStreams => {
                    self.limits.release(&held.key, self.lease, self.now);
                }
                Measure::InputTokens | Measure::OutputTokens | Measure::Cost => {
                    let delta = signed(self.used(held, used)) - signed(held.reserved);
                    if delta != 0 {
                        self.limits.correct(&held.key, held.slot, held.store, delta, self.now);
                    }
                }
            }
        }
    }

    /// What was used of what `held` counts.
    fn used(&self, held: &Held, used: Used<'_>) -> u64 {
        let answer = match used {
            Used::Nothing => return 0,
            Used::AsReserved => return held.reserved,
            Used::Answer(answer) => answer,
        };
        let Some(usage) = &answer.usage else {
            return if answer.error_type.is_some() { 0 } else { held.reserved };
        };
        let answered_by = answer.model.as_deref();
        // Whether counts are totals is known at the end only. Until then there were as many tokens as deltas, at the least.
        let missing = if answer.complete { 0 } else { answer.deltas.saturating_sub(usage.output_tokens.unwrap_or(0)) };
        match held.key.measure {
            Measure::InputTokens => usage.all_input_tokens(answered_by),
            Measure::OutputTokens => usage.all_output_tokens(answered_by).saturating_add(missing),
            Measure::Cost => {
                let prices = self.rules.prices();
                let asked = || self.model.as_ref().and_then(|model| prices.of(model));
                let price = answered_by.and_then(|name| prices.of_name(name)).or_else(asked);
                price.map_or(held.reserved, |price| {
                    if missing == 0 {
                        return prices.cost(usage, answered_by, price, self.batch);
                    }
                    let output_tokens = Some(usage.output_tokens.unwrap_or(0) + missing);
                    let usage = crate::claude::Usage { output_tokens, ..usage.clone() };
                    prices.cost(&usage, answered_by, price, self.batch)
                })
            }
            Measure::Requests | Measure::Concurrent | Measure::ConcurrentStreams => held.reserved,
        }
    }
}

/// Amounts as differences. No answer uses more than a limit can be.
fn signed(amount: u64) -> i64 {
    i64::try_from(amount.min(Bound::MAX)).unwrap_or_default()
}
