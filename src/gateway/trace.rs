//! Tracing of a request: what others are told of it while it is under way, and its spans when it has ended.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::Gateway;
use super::context::{Exchange, RequestCtx};
use super::record::shown;
use super::retry::Again;
use crate::audit::Record;
use crate::telemetry::{Attempt, AttemptEnd, Route, Trace, Tracer, attempt_error, request_error};

impl Gateway {
    /// Notes the header that tells the client of the trace, where one does: every answer is to have it.
    pub(super) fn note_answer_header(&self, session: &Session, ctx: &mut RequestCtx) {
        if let Some(tracer) = &self.tracer
            && let Some(name) = tracer.answer_header()
        {
            let trace = trace_of(tracer, session, ctx);
            ctx.trace_answer = trace.header(trace.span()).map(|value| (name, value));
        }
    }

    /// Tells the upstream of the trace, where it is told: each attempt is a span of its own.
    pub(super) fn tell_upstream(
        &self,
        session: &Session,
        ctx: &mut RequestCtx,
        request: &mut RequestHeader,
    ) -> Result<()> {
        let Some(tracer) = self.tracer.as_ref().filter(|tracer| tracer.tells_upstream()) else { return Ok(()) };
        let number = ctx.exchange().map_or(0, |exchange| exchange.attempts.saturating_sub(1));
        let trace = trace_of(tracer, session, ctx);
        if let Some(value) = trace.header(trace.attempt(number)) {
            request.insert_header("traceparent", value)?;
        }
        match trace.state() {
            Some(state) => request.insert_header("tracestate", state)?,
            None => drop(request.remove_header("tracestate")), // of the configuration, or of none
        }
        Ok(())
    }

    /// The trace of a request that has ended with this record, if anybody may ask for it; the record names it.
    pub(super) fn conclude_trace(&self, session: &Session, ctx: &mut RequestCtx, record: &mut Record) -> Option<Trace> {
        let tracer = self.tracer.as_ref()?;
        let status = ctx.exchange().and_then(|exchange| exchange.status).map(|status| status.as_u16());
        let failed = request_error(record).is_some() || attempt_error(record, status).is_some();
        let headers = &session.req_header().headers;
        let trace = tracer.conclude(ctx.trace.take(), failed, peer(session), headers)?;
        record.trace_id = Some(trace.id().to_string());
        Some(trace)
    }

    /// Has the spans of a request that has ended sent, if it is sampled.
    pub(super) fn send_spans(&self, session: &Session, ctx: &mut RequestCtx, trace: Trace, record: Record) {
        let Some(tracer) = &self.tracer else { return };
        let found = ctx.found.take();
        let total = ctx.ended.unwrap_or_default();
        tracer.send(trace, record, |ended| {
            ended.route = Route {
                template: found.as_ref().map(|found| found.endpoint.route),
                is_tls: session.digest().is_some_and(|digest| digest.ssl_digest.is_some()),
                version: session.req_header().version,
                ..Route::default()
            };
            let (Some(exchange), Some(found)) = (ctx.exchange(), &found) else { return };
            let attempts = attempts(exchange, total);
            if let Some(address) = attempts.iter().rev().find_map(|attempt| attempt.address) {
                let host = self.upstream.host(address);
                let is_named = host.parse::<SocketAddr>().is_err();
                let scheme = if self.upstream.trust().is_some() { "https" } else { "http" };
                let port = if is_named { format!(":{}", address.port()) } else { String::new() };
                ended.route.upstream = Some(format!("{scheme}://{host}{port}{}", shown(&found.path)));
                ended.route.host = Some(if is_named { host } else { address.ip().to_string() });
            }
            ended.attempts = attempts;
        });
    }
}

/// The trace of a request, from now on one that others know.
fn trace_of<'c>(tracer: &Tracer, session: &Session, ctx: &'c mut RequestCtx) -> &'c Trace {
    ctx.trace.get_or_insert_with(|| tracer.begin(peer(session), &session.req_header().headers))
}

/// Who sent the request to us, a proxy's own address if one did.
fn peer(session: &Session) -> Option<IpAddr> {
    Some(session.client_addr()?.as_inet()?.ip())
}

/// Every attempt, the last one included, which ended with the request.
fn attempts(exchange: &mut Exchange, total: Duration) -> Vec<Attempt> {
    let has_last = exchange.attempts > exchange.abandoned.len();
    let last = has_last.then(|| exchange.attempt(total, AttemptEnd::Last));
    exchange.abandoned.extend(last);
    std::mem::take(&mut exchange.abandoned)
}

impl Exchange {
    /// The attempt that is under way, as one that has ended so long after the request's head arrived.
    fn attempt(&self, ended: Duration, end: AttemptEnd) -> Attempt {
        // The first begins when the call is on record, each further one when the one before has failed.
        let started = self.abandoned.last().map_or(self.recorded, |before| Some(before.ended)).unwrap_or_default();
        let within = |time: Option<Duration>| time.filter(|&time| time >= started);
        Attempt {
            address: self.lease.as_ref().map(crate::upstream::Lease::address),
            started,
            connected: within(self.connected),
            first_byte: within(self.first_byte),
            first_token: within(self.first_token),
            ended,
            status: self.status.map(|status| status.as_u16()),
            end,
        }
    }

    /// Keeps the times of an attempt that came to nothing so long after the request's head arrived.
    pub(super) fn abandon(&mut self, ended: Duration, again: Again) {
        let mut attempt = self.attempt(ended, AttemptEnd::Again(again.label()));
        attempt.status = (again == Again::Key).then_some(http::StatusCode::UNAUTHORIZED.as_u16());
        self.abandoned.push(attempt);
    }
}

/// Puts the header that tells of the trace on an answer.
pub(super) fn tell_client(response: &mut ResponseHeader, header: Option<&(HeaderName, HeaderValue)>) -> Result<()> {
    match header {
        Some((name, value)) => response.insert_header(name.clone(), value.clone()),
        None => Ok(()),
    }
}
