//! What a call asks for, and what of it each rule counts.

use smallvec::SmallVec;

use super::key::{BucketKey, Identities, Who};
use super::ledger::Charge;
use super::measure::Measure;
use super::rule::{Bound, Rule};
use crate::claude::{Demand, EndpointGroup, Model, Peek, Prices, Tariff, estimate_input_tokens};
use crate::denial::Denial;

/// What a call asks for.
#[derive(Debug, Clone, Default)]
pub struct CallDemand {
    /// By model; empty when the endpoint takes none.
    pub parts: SmallVec<[Part; 1]>,
    /// Estimated input tokens of the whole body.
    pub input_tokens: u64,
    /// The answer is to be a stream.
    pub stream: bool,
    /// The price that is, or may be, asked for.
    pub tariff: Tariff,
    /// Nothing is billed: only requests count.
    pub free: bool,
}

impl CallDemand {
    /// What a call at an endpoint of `group` asks for, as far as its size is no matter.
    pub fn of(group: EndpointGroup, call: &Peek) -> Self {
        let part = |demand: &Demand| Part {
            model: demand.model.clone(),
            calls: demand.calls,
            output_tokens: demand.output_tokens,
            calls_without_max_tokens: demand.calls_without_max_tokens,
        };
        // A model that is looked up, or stored with an agent, is not called.
        let parts = if call.messages == 0 { SmallVec::new() } else { call.demands().map(part).collect() };
        let free = !matches!(group, EndpointGroup::Messages | EndpointGroup::Batches);
        Self { parts, stream: call.stream, free, ..Self::default() }
    }

    /// Estimates the input, and which price is asked for, from the body.
    pub fn estimate(&mut self, group: EndpointGroup, call: &Peek, body: &[u8]) {
        self.input_tokens = estimate_input_tokens(body);
        self.tariff = Tariff {
            batch: group == EndpointGroup::Batches,
            fast: call.fast,
            us: call.asks().iter().any(|ask| ask.features.inference_geo.as_deref() == Some("us")),
        };
    }
}

/// What a call asks of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The model.
    pub model: Model,
    /// How many messages: one, or the items of a batch.
    pub calls: u64,
    /// The sum of `max_tokens`.
    pub output_tokens: u64,
    /// Messages that give no `max_tokens`: each may use what the model can.
    pub calls_without_max_tokens: u64,
}

/// A rule, and the number that stands for it in keys.
#[derive(Debug, Clone)]
pub(super) struct NumberedRule {
    pub rule: std::sync::Arc<Rule>,
    pub id: u64,
}

pub(super) type Charges = SmallVec<[Charge; 4]>;

/// The charges of a call by all of `rules`.
pub(super) fn charges(
    rules: &[NumberedRule],
    prices: &Prices,
    who: &Who<'_>,
    mut identities: Identities<'_>,
    demand: &CallDemand,
) -> Result<Charges, Denial> {
    let mut charges = Charges::new();
    for (numbered, at) in rules.iter().zip(0..) {
        let rule = &numbered.rule;
        if !bounds_caller(rule, who) || !rule.covers(demand.parts.iter().map(|part| &part.model)) {
            continue;
        }
        let identities = identities.of(rule);
        for bound in &rule.bounds {
            let Some(amount) = amount(bound, rule, prices, demand)? else { continue };
            charges.extend(identities.iter().map(|&who| Charge {
                rule: at,
                key: BucketKey { rule: numbered.id, per: rule.per, measure: bound.measure, span: bound.span, who },
                bound: bound.amount,
                amount: amount.min(Bound::MAX + 1),
            }));
        }
    }
    Ok(charges)
}

/// Whether the rule is for the caller's teams.
pub(super) fn bounds_caller(rule: &Rule, who: &Who<'_>) -> bool {
    rule.teams.is_empty() || who.caller.teams().iter().any(|team| rule.teams.contains(team))
}

/// What the call takes of `bound`; `None` when the call has nothing that it counts.
fn amount(bound: &Bound, rule: &Rule, prices: &Prices, demand: &CallDemand) -> Result<Option<u64>, Denial> {
    let parts = || demand.parts.iter().filter(|part| rule.covers_model(&part.model));
    let is_billed = !demand.free && !demand.parts.is_empty();
    Ok(match bound.measure {
        Measure::Requests if demand.parts.is_empty() => Some(1),
        Measure::Requests => Some(parts().fold(0, |sum: u64, part| sum.saturating_add(part.calls))),
        Measure::Concurrent => Some(1),
        Measure::ConcurrentStreams => demand.stream.then_some(1),
        Measure::InputTokens => is_billed.then_some(demand.input_tokens),
        Measure::OutputTokens => {
            is_billed.then(|| parts().fold(0, |sum: u64, part| sum.saturating_add(part.output_ceiling(prices))))
        }
        Measure::Cost if is_billed => {
            // Which part of the input is whose is not known: all of it at the price of the dearest model.
            let calls = demand.parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.calls));
            let (mut input, mut output) = (0_u64, 0_u64);
            for part in parts() {
                let price = prices.of(&part.model).ok_or_else(|| Denial::PriceUnknown { model: part.model.clone() })?;
                let of_input = price.ceiling(demand.input_tokens, 0, calls, demand.tariff);
                let all = price.ceiling(demand.input_tokens, part.output_ceiling(prices), calls, demand.tariff);
                input = input.max(of_input);
                output = output.saturating_add(all - of_input);
            }
            Some(input.saturating_add(output))
        }
        Measure::Cost => None,
    })
}

impl Part {
    /// The most output tokens that the part may use.
    fn output_ceiling(&self, prices: &Prices) -> u64 {
        if self.calls_without_max_tokens == 0 {
            return self.output_tokens;
        }
        let most = prices.of(&self.model).map_or(MOST_OUTPUT_TOKENS, |price| price.max_output_tokens);
        self.output_tokens.saturating_add(self.calls_without_max_tokens.saturating_mul(most))
    }
}

/// What any model known today can answer at the most.
const MOST_OUTPUT_TOKENS: u64 = 128_000;
