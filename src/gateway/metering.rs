//! How much a call may use and did use: what it asks of the limits, what its caller is told of them, and what is settled.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderMap;
use pingora::Result;
use pingora::http::ResponseHeader;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Gateway;
use super::context::{Exchange, RequestCtx};
use crate::claude::{Answer, EndpointGroup, Match, Peek, Usage};
use crate::denial::Denial;
use crate::identity::Caller;
use crate::limit::{CallDemand, Measure, Reservation, Standing, Used, Who};

/// What is held of the limits while a call is under way.
pub(super) struct Metered {
    pub(super) reservation: Reservation,
    /// What the input was estimated as; zero when no limit counts it.
    estimate: u64,
    stream: bool,
    batch: bool,
}

impl Gateway {
    /// Reserves what the call asks for.
    pub(super) async fn reserve(
        &self,
        headers: &HeaderMap,
        caller: &Caller,
        found: &Match,
        call: &Peek,
        body: Option<&Bytes>,
    ) -> Result<Metered, Denial> {
        let who = who(headers, caller);
        let group = found.endpoint.group;
        let mut demand = CallDemand::of(group, call);
        if !demand.free && self.limits.wants_tokens(&who, &demand.parts) {
            demand.estimate(group, call, body.map(AsRef::as_ref).unwrap_or_default());
        }
        let reservation = self.limits.acquire(&who, &demand, SystemTime::now()).await?;
        Ok(Metered {
            reservation,
            estimate: demand.input_tokens,
            stream: call.stream,
            batch: group == EndpointGroup::Batches,
        })
    }
}

/// Settles what a call used, once it has ended, however it ended. `answer` is the upstream's, if its head came.
pub(super) fn settle(ctx: &mut RequestCtx, answer: Option<&Answer>) {
    let Some(exchange) = ctx.exchange() else { return };
    let Some(Metered { reservation, estimate, stream, batch }) = exchange.metered.take() else { return };
    let succeeded = exchange.status.is_some_and(|status| status.is_success());
    let read_at_least = unanswered(estimate);
    let used = match answer {
        // The upstream said that it did nothing, or was never asked.
        Some(_) if !succeeded => Used::Nothing,
        None if exchange.connected.is_none() => Used::Nothing,
        // Once taken in, a batch runs whether or not its sender waits for the answer.
        _ if batch => Used::AsReserved,
        Some(answer) => Used::Answer(answer),
        // Its sender left, and how far the model had come nobody knows: were it counted as little, who leaves early every
        // time would have the model think for nothing.
        None if exchange.failure.is_none() && !stream => Used::AsReserved,
        // A stream that had not begun, or an upstream that failed: at the least the input was read.
        None => Used::Answer(&read_at_least),
    };
    reservation.settle(used, SystemTime::now());
}

/// What a call without an answer has used at the least.
fn unanswered(input_tokens: u64) -> Answer {
    let usage = Usage { input_tokens: Some(input_tokens), ..Usage::default() };
    Answer { usage: Some(usage), ..Answer::default() }
}

/// Whom limits count the request for.
pub(super) fn who<'a>(headers: &'a HeaderMap, caller: &'a Caller) -> Who<'a> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Who {
        caller,
        session: text("x-claude-code-session-id"),
        agent: text("x-claude-code-agent-id"),
        parent_agent: text("x-claude-code-parent-agent-id"),
    }
}

/// Notes whether the answer has used more than a limit lets it, when a limit ends answers that do. To be asked after each
/// chunk; the answer is ended before the next one.
pub(super) fn watch_usage(exchange: &mut Exchange) {
    let (Some(metered), Some(reader), None) = (&mut exchange.metered, &exchange.reader, &exchange.spent) else {
        return;
    };
    if let Some(so_far) = reader.stream_so_far().filter(|_| metered.reservation.may_cut()) {
        exchange.spent = metered.reservation.spent(so_far, SystemTime::now());
    }
}

/// Tells the caller how its own limits stand, in the API's headers; of several limits on one measure the tightest.
pub(super) fn tell_standing(response: &mut ResponseHeader, standing: &[Standing]) -> Result<()> {
    for (measure, name) in RATES {
        if let Some(standing) = tightest(standing, measure) {
            rate(response, name, Some(standing.bound.amount), standing.remaining, standing.reset)?;
        }
    }
    if let Some(budget) = tightest(standing, Measure::Cost) {
        let used = 1.0 - share(budget);
        let status = if used >= WARNED { "allowed_warning" } else { "allowed" };
        unified(response, status, budget.reset)?;
        response.insert_header("anthropic-ratelimit-unified-utilization", format!("{used:.4}"))?;
    }
    Ok(())
}

/// The same on a refusal by a limit.
pub(super) fn tell_refusal(response: &mut ResponseHeader, denial: &Denial, now: SystemTime) -> Result<()> {
    let Denial::LimitReached { measure, retry_after: Some(wait), .. } = denial else { return Ok(()) };
    let reset = now + *wait;
    if *measure == Measure::Cost {
        return unified(response, "rejected", reset);
    }
    match RATES.iter().find(|(rated, _)| rated == measure) {
        Some((_, name)) => rate(response, name, None, 0, reset),
        None => Ok(()),
    }
}

/// Measures with headers of their own.
const RATES: [(Measure, &str); 3] =
    [(Measure::Requests, "requests"), (Measure::InputTokens, "input-tokens"), (Measure::OutputTokens, "output-tokens")];

/// Claude Code warns from here on.
const WARNED: f64 = 0.75;

fn tightest(standing: &[Standing], measure: Measure) -> Option<&Standing> {
    let of_measure = standing.iter().filter(|standing| standing.bound.measure == measure);
    of_measure.min_by(|one, other| share(one).total_cmp(&share(other)))
}

/// The part that is left.
#[allow(clippy::cast_precision_loss)] // for a comparison and four places
fn share(standing: &Standing) -> f64 {
    standing.remaining as f64 / standing.bound.amount.max(1) as f64
}

fn rate(
    response: &mut ResponseHeader,
    name: &str,
    limit: Option<u64>,
    remaining: u64,
    reset: SystemTime,
) -> Result<()> {
    if let Some(limit) = limit {
        response.insert_header(format!("anthropic-ratelimit-{name}-limit"), limit.to_string())?;
    }
    response.insert_header(format!("anthropic-ratelimit-{name}-remaining"), remaining.to_string())?;
    response.insert_header(format!("anthropic-ratelimit-{name}-reset"), rfc3339(reset))?;
    Ok(())
}

fn unified(response: &mut ResponseHeader, status: &str, reset: SystemTime) -> Result<()> {
    let seconds = reset.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    response.insert_header("anthropic-ratelimit-unified-status", status)?;
    response.insert_header("anthropic-ratelimit-unified-reset", seconds.to_string())?;
    Ok(())
}

/// In whole seconds, rounded up: what resets in the middle of a second has not reset at its beginning.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let whole = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().div_ceil(1000);
    let whole = UNIX_EPOCH + Duration::from_secs(u64::try_from(whole).unwrap_or_default());
    OffsetDateTime::from(whole).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::limit::{Bound, OnExhausted, OnStoreFailure, Per, Rule, Span, Unit};

    fn standing(measure: Measure, amount: u64, remaining: u64) -> Standing {
        let bound = Bound { measure, amount, span: Span::Sliding(Unit::Minute) };
        let rule = Rule {
            name: "test".into(),
            per: Per::Subject,
            models: Vec::new(),
            teams: Vec::new(),
            bounds: vec![bound],
            on_store_failure: OnStoreFailure::Local,
            on_exhausted: OnExhausted::Finish,
        };
        let reset = UNIX_EPOCH + Duration::from_millis(1_795_478_400_001);
        Standing { rule: Arc::new(rule), bound, remaining, reset }
    }

    fn told(standing: &[Standing]) -> Vec<String> {
        let mut response = ResponseHeader::build(200, None).unwrap();
        tell_standing(&mut response, standing).unwrap();
        let mut lines: Vec<_> =
            response.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn of_several_limits_the_tightest_is_told() {
        let lines = told(&[
            standing(Measure::Requests, 1000, 100),
            standing(Measure::Requests, 10, 5),
            standing(Measure::Concurrent, 3, 1),
        ]);
        assert_eq!(
            lines,
            [
                "anthropic-ratelimit-requests-limit: 1000",
                "anthropic-ratelimit-requests-remaining: 100",
                "anthropic-ratelimit-requests-reset: 2026-11-24T00:00:01Z",
            ]
        );
        assert!(told(&[]).is_empty());
    }

    #[test]
    fn a_budget_warns_from_three_quarters_on() {
        for (remaining, status) in [(100, "allowed"), (26, "allowed"), (25, "allowed_warning"), (0, "allowed_warning")]
        {
            let lines = told(&[standing(Measure::Cost, 100, remaining)]);
            assert_eq!(lines[1], format!("anthropic-ratelimit-unified-status: {status}"), "{remaining}");
            assert_eq!(lines[0], "anthropic-ratelimit-unified-reset: 1795478400");
        }
    }
}
