//! What a call would take of which limits. What is left of them only the running proxy knows: `GET /portcullis/whoami`.

use crate::claude::{EndpointGroup, Peek, Prices};
use crate::denial::Denial;
use crate::identity::Caller;
use crate::limit::{Bound, CallDemand, Limits, Measure, Rule, Who};

/// One line for each bound of the limits that the call meets.
///
/// # Errors
/// When the call could never pass, however much were left.
pub(super) fn taken(
    (rules, prices): (Vec<Rule>, Prices),
    caller: &Caller,
    group: EndpointGroup,
    call: &Peek,
    body: Option<&[u8]>,
) -> Result<Vec<String>, Denial> {
    let limits = Limits::new(rules, prices, None, None);
    let who = Who { caller, session: None, agent: None, parent_agent: None };
    let mut demand = CallDemand::of(group, call);
    if !demand.free {
        demand.estimate(group, call, body.unwrap_or_default());
    }
    let mut lines = Vec::new();
    for (rule, bound, amount) in limits.would_reserve(&who, &demand)? {
        if amount > bound.amount {
            return Err(Denial::LimitReached {
                limit: rule.name.to_string(),
                measure: bound.measure,
                retry_after: None,
            });
        }
        lines.push(format!("{}: {} of {}, per {}", rule.name, of(&bound, amount), whole(&bound), rule.per.name()));
    }
    Ok(lines)
}

fn whole(bound: &Bound) -> String {
    let window = bound.span.unit().map_or_else(String::new, |unit| format!(" in a {}", unit.name()));
    format!("{} {}{window}", of(bound, bound.amount), bound.measure)
}

fn of(bound: &Bound, amount: u64) -> String {
    if bound.measure != Measure::Cost {
        return amount.to_string();
    }
    let (dollars, nanos) = (amount / 1_000_000_000, amount % 1_000_000_000);
    format!("${dollars}.{nanos:09}").trim_end_matches('0').trim_end_matches('.').to_owned()
}
