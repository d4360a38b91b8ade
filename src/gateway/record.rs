//! The records of a request: of one that is about to go upstream, and of one that has ended.

use std::time::Duration;

use http::{HeaderMap, Method};
use pingora_proxy::Session;

use super::Gateway;
use super::client_certificate::client_certificate;
use super::context::{Exchange, RequestCtx, Stage};
use super::proxy::answered_with;
use super::whoami::dollars;
use crate::audit::{Closer, Decision, Event, LimitLeft, Record, Unrecorded, to_hex};
use crate::claude::{Answer, Family, Model, Usage};
use crate::denial::Denial;
use crate::limit::{Measure, Standing};
use crate::telemetry::{EndedRequest, RequestOutcome};

impl Gateway {
    /// Hands the `begin` line of a permitted request to the log. It may go upstream when the line is on record.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub(super) async fn begin(&self, session: &Session, ctx: &mut RequestCtx) -> Result<(), Denial> {
        let mut record = draft(session, ctx);
        let prompt = ctx.said.kept.take();
        if let Some(exchange) = ctx.exchange() {
            record.event = Event::Begin;
            exchange.limits =
                exchange.metered.as_ref().map(|held| limits_left(held.reservation.standing())).unwrap_or_default();
            note_permit(exchange, &mut record);
            record.prompt = prompt;
            let ticket = self.audit.begin(&record).await.map_err(|_: Unrecorded| Denial::AuditUnavailable)?;
            exchange.ticket = Some(ticket);
        }
        Ok(())
    }

    /// Makes the record of a request that has ended with this answer of the upstream, and counts it.
    pub(super) fn conclude(&self, session: &Session, ctx: &mut RequestCtx, answer: Option<Answer>) -> Record {
        let mut record = draft(session, ctx);
        let mut family = ctx.call.as_ref().and_then(|call| call.models().next()).map(Model::family);
        let total = ctx.arrived.elapsed();
        ctx.ended = Some(total);
        record.timings.total_ms = Some(millis(total));
        record.status = answered_with(session).map(|status| status.as_u16());
        record.response_bytes = session.body_bytes_sent() as u64;
        self.conclude_stage(ctx, answer, &mut record, &mut family);
        self.measure(ctx, &record, family, total);
        self.observe(ctx, &record, family);
        record
    }

    /// Counts a request by its record.
    fn measure(&self, ctx: &mut RequestCtx, record: &Record, family: Option<Family>, total: Duration) {
        let exchange = ctx.exchange().map(|exchange| (exchange.first_byte, exchange.first_token));
        let (first_byte, first_token) = exchange.unwrap_or_default();
        self.metrics.request_ended(&EndedRequest {
            endpoint: ctx.found.as_ref().map(|found| found.endpoint.group),
            family,
            status: record.status,
            outcome: outcome(record),
            total,
            own: ctx.decided.filter(|_| record.event != Event::Left).map(|_| ctx.own_time.total()),
            first_byte,
            first_token,
        });
        if let (Some(issuer), Some(subject)) = (&record.issuer, &record.subject) {
            let cost = record.cost_micro_usd.map_or(0.0, |micros| dollars(micros * 1000));
            self.metrics.caller(issuer, subject, &record.teams, cost);
        }
    }

    fn conclude_stage(
        &self,
        ctx: &mut RequestCtx,
        answer: Option<Answer>,
        record: &mut Record,
        family: &mut Option<Family>,
    ) {
        let denial = match &mut ctx.stage {
            Stage::Arrived => None,
            Stage::Answered => {
                (record.event, record.decision) = (Event::Answered, Decision::Answered);
                record.complete = true;
                None
            }
            Stage::Refused(denial) => {
                (record.event, record.decision) = (Event::Refused, Decision::Denied);
                Some(&*denial)
            }
            Stage::Permitted(exchange) => {
                record.event = Event::End;
                note_permit(exchange, record);
                note_exchange(exchange, record);
                if let Some(answer) = answer {
                    let asked = ctx.call.as_ref().and_then(|call| call.models().next());
                    let cost = self.limits.cost(&answer, asked);
                    record.cost_micro_usd = cost.map(micros);
                    self.conclude_answer(answer, cost.map(dollars), exchange.ended, record, family);
                }
                record.complete &= exchange.failure.is_none();
                record.closed_by = (!record.complete).then(|| closer(exchange.failure.as_ref()));
                exchange.failure.as_ref()
            }
        };
        if let Some(denial) = denial {
            self.metrics.denied(denial);
            record.reason = Some(denial.reason());
            if let Some(rule) = denial.rule() {
                record.rule = Some(rule.to_owned());
            }
            record.detail = Some(denial.to_string());
        } else if !record.complete {
            record.reason = Some("client_left");
        }
    }

    fn conclude_answer(
        &self,
        answer: Answer,
        cost_usd: Option<f64>,
        ended: bool,
        record: &mut Record,
        family: &mut Option<Family>,
    ) {
        if let Some(usage) = &answer.usage {
            let by = answer.model.as_deref().map(Family::of);
            self.metrics.used(by.or(*family).unwrap_or(Family::Other), usage, cost_usd);
        }
        record.complete = ended;
        record.partial_deltas = (record.stream && !answer.complete).then_some(answer.deltas);
        record.answered_by = answer.model.map(word);
        record.error_type = answer.error_type.map(word);
        record.stop_reason = answer.stop_reason.map(word);
        record.usage = answer.usage.map(spelled);
    }
}

/// What is known of a request, wherever it is on its way.
fn draft(session: &Session, ctx: &RequestCtx) -> Record {
    let request = session.req_header();
    let mut record = Record {
        method: method(&request.method),
        path: shown(request.uri.path()),
        client: ctx.address,
        certificate: client_certificate(session).map(|digest| to_hex(&digest)),
        session_id: claimed(&request.headers, "x-claude-code-session-id"),
        agent_id: claimed(&request.headers, "x-claude-code-agent-id"),
        parent_agent_id: claimed(&request.headers, "x-claude-code-parent-agent-id"),
        endpoint: ctx.found.as_ref().map(|found| found.endpoint.group.name()),
        request_bytes: session.body_bytes_read() as u64,
        ..Record::new(ctx.id.clone(), ctx.time)
    };
    record.prompt_hash.clone_from(&ctx.said.hash);
    record.findings = ctx.said.findings.iter().map(|(kind, &count)| (kind.name(), count)).collect();
    record.timings.decided_ms = ctx.decided.map(millis);
    if let Some(caller) = &ctx.caller {
        record.issuer = Some(caller.issuer().to_owned());
        record.subject = Some(caller.subject().to_owned());
        record.token_id = caller.token_id().map(str::to_owned);
        record.teams = caller.teams().to_vec();
    }
    if let Some(call) = &ctx.call {
        record.models = call.models().map(|model| model.as_str().to_owned()).collect();
        record.stream = call.stream;
        record.max_tokens = call.max_tokens();
        record.tools = call.tools().map(str::to_owned).collect();
    }
    record
}

/// What was decided, and what was left of the limits then.
fn note_permit(exchange: &Exchange, record: &mut Record) {
    record.decision = Decision::Allowed;
    record.rule = Some(exchange.permit.rule());
    record.sha256 = exchange.receipt.digests();
    record.limits.clone_from(&exchange.limits);
}

/// What came of the exchange with the upstream.
fn note_exchange(exchange: &Exchange, record: &mut Record) {
    record.key = exchange.key.as_ref().map(|key| key.name().to_owned());
    record.attempts = Some(exchange.attempts);
    record.upstream = exchange.upstream.map(|address| address.to_string());
    record.upstream_request_id.clone_from(&exchange.upstream_request_id);
    record.timings.recorded_ms = exchange.recorded.map(millis);
    record.timings.connected_ms = exchange.connected.map(millis);
    record.timings.first_byte_ms = exchange.first_byte.map(millis);
    record.timings.first_token_ms = exchange.first_token.map(millis);
}

/// What became of a request, for metrics.
fn outcome(record: &Record) -> RequestOutcome {
    match record.event {
        Event::Answered => RequestOutcome::Answered,
        Event::Refused => RequestOutcome::Refused,
        Event::End if record.complete => RequestOutcome::Completed,
        Event::End if record.closed_by != Some(Closer::Client) => RequestOutcome::Failed,
        Event::End | Event::Begin | Event::Left => RequestOutcome::ClientLeft,
    }
}

fn limits_left(standing: &[Standing]) -> Vec<LimitLeft> {
    let left = |Standing { rule, bound, remaining, .. }: &Standing| LimitLeft {
        name: rule.name.to_string(),
        measure: bound.measure.name(),
        remaining: if bound.measure == Measure::Cost { micros(*remaining) } else { *remaining },
    };
    standing.iter().map(left).collect()
}

/// Who ended an exchange that did not come to its end.
fn closer(failure: Option<&Denial>) -> Closer {
    match failure {
        None => Closer::Client,
        Some(
            Denial::UpstreamAddress(_)
            | Denial::UpstreamUnreachable(_)
            | Denial::UpstreamFailed(_)
            | Denial::UpstreamRedirect,
        ) => Closer::Upstream,
        Some(_) => Closer::Proxy,
    }
}

/// Nano-dollars as millionths of a dollar, to the nearest.
fn micros(nanos: u64) -> u64 {
    (nanos + 500) / 1000
}

/// What the client says of itself in a header: visible ASCII, and no longer than such ids are.
fn claimed(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    (text.len() <= MAX_CLAIMED && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.to_owned())
}

const MAX_CLAIMED: usize = 128;

/// A word of the API as it stands in an answer. What is not spelled like one may be content.
fn word(text: String) -> String {
    let fits = text.len() <= MAX_WORD && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { text } else { "*".to_owned() }
}

const MAX_WORD: usize = 128;

/// The counts with their words as they may stand in the record.
fn spelled(mut usage: Usage) -> Usage {
    for text in [&mut usage.service_tier, &mut usage.speed, &mut usage.inference_geo] {
        *text = text.take().map(word);
    }
    if let Some(iterations) = &mut usage.iterations {
        iterations.truncate(MAX_ITERATIONS);
        for iteration in iterations {
            iteration.kind = iteration.kind.take().map(word);
            iteration.model = iteration.model.take().map(word);
        }
    }
    usage
}

/// More parts than a call has.
const MAX_ITERATIONS: usize = 64;

/// The method, unless it is longer than any that is registered: a client may send any word, however long.
fn method(method: &Method) -> String {
    let is_short = method.as_str().len() <= MAX_METHOD;
    if is_short { method.to_string() } else { "*".to_owned() }
}

/// The longest that is registered, `UPDATEREDIRECTREF` (RFC 4437), has 17 letters.
const MAX_METHOD: usize = 17;

/// A path for the record. Segments that no endpoint of the API has, for they are long or hold other letters, may be
/// anything, a token by mistake among them, and are not written down.
pub(super) fn shown(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
    let segments = path.split('/').take(MAX_SEGMENTS);
    let shown =
        segments.map(|segment| if segment.len() <= MAX_SEGMENT && segment.bytes().all(plain) { segment } else { "*" });
    shown.collect::<Vec<_>>().join("/")
}

/// More than the API's longest path has.
const MAX_SEGMENTS: usize = 10;
/// Ids of the API stay below it, tokens above.
const MAX_SEGMENT: usize = 64;

/// Milliseconds with three places.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::Iteration;

    #[test]
    fn what_an_answer_says_of_itself_is_no_place_for_content() {
        assert_eq!(word("end_turn".to_owned()), "end_turn");
        assert_eq!(word("Dear Ann".to_owned()), "*");
        assert_eq!(word("x".repeat(129)), "*");
        let iteration = Iteration { kind: Some("Dear Ann".to_owned()), ..Iteration::default() };
        let usage = Usage { speed: Some("fast".to_owned()), iterations: Some(vec![iteration; 65]), ..Usage::default() };
        let usage = spelled(usage);
        let iterations = usage.iterations.unwrap();
        assert_eq!((usage.speed.as_deref(), iterations.len()), (Some("fast"), 64));
        assert!(iterations.iter().all(|iteration| iteration.kind.as_deref() == Some("*")));
        assert_eq!(method(&Method::DELETE), "DELETE");
        assert_eq!(method(&Method::from_bytes("X".repeat(18).as_bytes()).unwrap()), "*");
    }

    #[test]
    fn paths_show_what_an_endpoint_may_have() {
        let token = format!("eyJ{}.x.y", "a".repeat(100));
        for (path, expected) in [
            (
                "/v1/messages/batches/msgbatch_013Zva2CMHLNnXjNJJKqJ2EF/results",
                "/v1/messages/batches/msgbatch_013Zva2CMHLNnXjNJJKqJ2EF/results",
            ),
            (&format!("/v1/{token}/x"), "/v1/*/x"),
            ("/v1/John%20Doe", "/v1/*"),
            ("/a/b/c/d/e/f/g/h/i/j/k/l", "/a/b/c/d/e/f/g/h/i"),
        ] {
            assert_eq!(shown(path), expected);
        }
    }
}
