//! The phases of a request, each of which calls one room.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::HttpPeer;
use pingora::protocols::Digest;
use pingora::upstreams::peer::Peer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::{FailToProxy, Session};

use super::admission::Stop;
use super::context::{Exchange, RequestCtx, Stage};
use super::overdue::overdue;
use super::retry::{self, Again, MAX_ATTEMPTS, is_repeatable};
use super::revoked::{REVOKED, revoked_by};
use super::stopping::{LAST_WORDS, is_stopping};
use super::{Gateway, answer, failure, metering, replay, request, response};
use crate::audit::{Record, Unrecorded};
use crate::claude::{AnswerReader, BodyRule, error_event};
use crate::denial::{Denial, Overdue};
use crate::identity::Bearer;
use crate::upstream::{Lease, Report};

/// How long an idle connection of a client is kept. SDKs keep theirs for 5 s and must not be the later to close.
const KEEPALIVE_SECONDS: u64 = 75;

/// Send a request again: its key was refused, or the upstream is not the one that is pinned.
const KEY_REFUSED: ErrorType = ErrorType::new("KeyRefused");
const NOT_ADMITTED: ErrorType = ErrorType::new("NotAdmitted");

/// Carries a [`Denial`] through Pingora's error type, from the phase that made it to `fail_to_proxy`.
const DENIED: ErrorType = ErrorType::new("Denied");

/// The phases, as [`Corridor`](super::Corridor) has Pingora call them.
impl Gateway {
    pub(super) fn new_ctx(&self) -> RequestCtx {
        RequestCtx::new(self.in_flight.enter())
    }

    pub(super) async fn request_filter(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(KEEPALIVE_SECONDS)); // Pingora's default is for ever
        }
        // Who takes nothing of an answer would hold it, its connection and its record for ever.
        session.set_write_timeout(Some(self.upstream.patience().silence));
        self.note_answer_header(session, ctx);
        session.set_ignore_info_resp(true); // an interim answer would pass for one, and no SDK reads it
        if Self::is_hello(session) && self.admit_address(session, ctx).is_ok() {
            ctx.stage = Stage::Answered;
            answer::hello(session, ctx, self.in_flight.watch()).await?;
            return Ok(true);
        }
        if Self::is_whoami(session) {
            return self.answer_whoami(session, ctx).await;
        }
        let admitted = self.admit(session, ctx).await;
        let after = ctx.arrived.elapsed();
        ctx.decided = Some(after);
        self.metrics.decided(after);
        match admitted {
            Ok(exchange) => {
                ctx.stage = Stage::Permitted(Box::new(exchange));
                match self.begin(session, ctx).await {
                    Ok(()) => Ok(false), // Carry on to `upstream_peer`.
                    Err(denial) => self.refuse(session, ctx, denial).await,
                }
            }
            Err(Stop::Refused(denial)) => self.refuse(session, ctx, denial).await,
            Err(Stop::Gone(error)) => Err(error.into_down()),
        }
    }

    pub(super) async fn upstream_peer(&self, ctx: &mut RequestCtx) -> Result<Box<HttpPeer>> {
        ctx.own_time.work();
        // Before a key and a connection are taken: neither is to wait for the disk.
        if let Err(denial) = await_record(ctx).await {
            return Err(stop(ctx, denial));
        }
        if self.in_flight.is_cut() {
            return Err(stop(ctx, Denial::Stopping));
        }
        let family = ctx.family();
        if ctx.is_upload() {
            ctx.body_length = 0; // what has passed by already does so again
        }
        let (Stage::Permitted(exchange), Some(caller)) = (&mut ctx.stage, &ctx.caller) else {
            return without_permit();
        };
        let claim = exchange.claim(caller.teams(), family);
        let key = self.keys.choose(claim, &exchange.refused_keys, SystemTime::now());
        match key.and_then(|key| Ok((key, self.upstream.choose(&exchange.tried)?))) {
            Ok((key, (peer, lease))) => {
                exchange.attempts += 1;
                exchange.key = Some(key);
                exchange.lease = Some(lease);
                match exchange.again.take() {
                    None => self.upstream.budget().request(),
                    Some(again) => self.metrics.upstream_retry(again.label()),
                }
                ctx.own_time.rest(); // it is connected
                Ok(Box::new(peer))
            }
            Err(denial) => Err(stop(ctx, denial)),
        }
    }

    #[allow(clippy::unnecessary_box_returns)] // as Pingora takes it
    pub(super) fn fail_to_connect(&self, peer: &HttpPeer, ctx: &mut RequestCtx, mut error: Box<Error>) -> Box<Error> {
        tracing::warn!(request_id = ctx.id, upstream = %peer.address(), error = error.etype().as_str(), "could not connect to the upstream");
        error.set_retry(false);
        let after = ctx.arrived.elapsed();
        if let Some(exchange) = ctx.exchange() {
            // What this host has no room for says nothing of the address.
            if *error.etype() != ErrorType::SocketError {
                exchange.report(Report::ConnectFailed);
            }
            if self.may_connect_again(exchange) {
                exchange.begin_again(Again::Connect, after);
                error.set_retry(true);
            }
        }
        error
    }

    pub(super) async fn connected_to_upstream(
        &self,
        reused: bool,
        digest: Option<&Digest>,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        self.metrics.connected(reused, ctx.own_time.work());
        let after = ctx.arrived.elapsed();
        if let Some(address) = ctx.exchange().and_then(|exchange| exchange.lease.as_ref()).map(Lease::address) {
            let shown = digest.and_then(|digest| digest.ssl_digest.as_ref());
            let shown = shown.map(|digest| digest.cert_digest.as_slice()).unwrap_or_default();
            match self.unless_stopping(self.upstream.admits(address, shown)).await {
                Ok(Ok(())) => {}
                Ok(Err(denial)) => return self.not_admitted(ctx, denial),
                Err(stopping) => return Err(stop(ctx, stopping)),
            }
        }
        if self.in_flight.is_cut() {
            return Err(stop(ctx, Denial::Stopping)); // it was connecting meanwhile
        }
        if let Some(exchange) = ctx.exchange() {
            if !reused {
                exchange.report(Report::Connected);
            }
            exchange.connected = Some(after);
            exchange.progress.connected();
            exchange.upstream = exchange.lease.as_ref().map(Lease::address);
        }
        Ok(())
    }

    pub(super) fn upstream_request_filter(
        &self,
        session: &Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let (Stage::Permitted(exchange), Some(found)) = (&ctx.stage, &ctx.found) else {
            return without_permit();
        };
        let client = session.req_header();
        let token = Bearer::from_headers(&client.headers).map(|bearer| bearer.expose().as_bytes()).unwrap_or_default();
        let host = exchange.upstream.map(|address| self.upstream.host(address)).unwrap_or_default();
        let own = self.upstream.headers();
        let version = upstream_request.version;
        let parts = request::Parts { client, found, host: &host, version, own, body_length: ctx.body_length, token };
        let mut request = request::build(&parts)?;
        let (Some(key), Some(on_record)) = (&exchange.key, &exchange.on_record) else { return without_permit() };
        key.inject(&exchange.permit, on_record, &mut request)?;
        self.tell_upstream(session, ctx, &mut request)?;
        *upstream_request = request;
        ctx.own_time.rest(); // it is sent, and worked on
        Ok(())
    }

    /// Takes down what goes up, and counts an upload as it passes by: its announced length may be absent.
    pub(super) fn request_body_filter(&self, body: Option<&Bytes>, ctx: &mut RequestCtx) -> Result<()> {
        if let (Some(exchange), Some(piece)) = (ctx.exchange(), body) {
            exchange.receipt.up(piece);
        }
        if ctx.is_upload() {
            ctx.body_length += body.map_or(0, Bytes::len);
            let limit = self.bounds.max_upload;
            if ctx.body_length > limit {
                return Err(stop(ctx, Denial::BodyTooLarge { limit }));
            }
        }
        Ok(())
    }

    pub(super) fn response_filter(
        &self,
        session: &Session,
        upstream_response: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        ctx.own_time.work();
        let query = session.req_header().uri.query().unwrap_or_default();
        if !upstream_response.status.is_informational() && self.judge_key(ctx, upstream_response) {
            return Err(Error::new(KEY_REFUSED));
        }
        match response::take_head(ctx, upstream_response, query) {
            Ok(()) => {
                let streams = |exchange: &&mut Exchange| exchange.reader.as_ref().is_some_and(AnswerReader::is_stream);
                if let Some(exchange) = ctx.exchange().filter(streams) {
                    exchange.stream = Some(self.metrics.stream());
                }
                ctx.own_time.rest();
                Ok(())
            }
            Err(denial) => Err(stop(ctx, denial)),
        }
    }

    pub(super) fn response_body_filter(
        &self,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut RequestCtx,
    ) -> Result<Option<Duration>> {
        ctx.own_time.work();
        let heard = (self.listening.listener(), ctx.arrived);
        let taken = match (&mut ctx.stage, &ctx.caller) {
            (Stage::Permitted(exchange), Some(caller)) => {
                response::take_chunk(exchange, body, end, heard, |model| self.policy.shows(caller, model))
            }
            _ => Ok(()),
        };
        ctx.own_time.rest();
        match taken {
            Ok(()) => Ok(None),
            Err(denial) => Err(stop(ctx, denial)),
        }
    }

    #[allow(clippy::unnecessary_box_returns)] // as Pingora takes it
    pub(super) fn error_while_proxy(
        &self,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut RequestCtx,
        client_reused: bool,
    ) -> Box<Error> {
        let replayable = answered_with(session).is_none() && !session.as_ref().retry_buffer_truncated();
        let repeatable = ctx
            .found
            .as_ref()
            .is_some_and(|found| replayable && is_repeatable(&session.req_header().method, found.endpoint));
        // What ends while a client sends may have ended for want of what the client owes.
        let is_sent = session.as_mut().is_body_done();
        let Some(exchange) = ctx.exchange() else { return error };
        let again = match again_by_us(error.etype()) {
            None => retry::again(&mut error, exchange, repeatable, client_reused, exchange.progress.waited()),
            ours => ours,
        };
        // How long an answer is in coming is also the client's doing: it may have a model think for long.
        let hung = overdue(error.etype()) == Some(Overdue::Silence);
        if hung || is_sent && again != Some(Again::Stale) && retry::is_of_upstream(&error) {
            exchange.report(Report::Broken);
        }
        let again = again
            .filter(|again| replayable && (!again.is_bounded() || self.upstream.budget().try_retry(Instant::now())));
        if let Some(again) = again {
            tracing::info!(
                request_id = ctx.id,
                why = again.label(),
                error = error.etype().as_str(),
                "sending a request again"
            );
            let after = ctx.arrived.elapsed();
            if let Some(exchange) = ctx.exchange() {
                exchange.begin_again(again, after);
            }
            error.set_retry(true);
        }
        error
    }

    pub(super) async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut RequestCtx,
    ) -> FailToProxy {
        ctx.own_time.rest();
        let told = match &ctx.stage {
            Stage::Permitted(exchange) => exchange.failure.clone(),
            Stage::Refused(denial) => Some(denial.clone()),
            Stage::Arrived | Stage::Answered => None,
        };
        let late = || overdue(error.etype()).map(Denial::UpstreamTimeout);
        let stopping = is_stopping(error.etype());
        let denial = stopping.map(|_| Denial::Stopping).or(told).or_else(late);
        let denial = denial.or_else(|| self.revoked(error, ctx)).or_else(|| failure::denial(error));
        let mut error_code = 0;
        if let Some(denial) = denial {
            let mid_write = stopping == Some(true);
            let written = if mid_write {
                Ok(()) // it takes nothing
            } else if answered_with(session).is_none() {
                error_code = denial.error_type().status();
                answer::deny(session, &denial, ctx, self.in_flight.watch()).await
            } else {
                break_off(session, &denial, ctx).await
            };
            if let Err(error) = written {
                tracing::debug!(request_id = ctx.id, %error, "the client left before it was told");
            }
            tracing::warn!(request_id = ctx.id, reason = denial.reason(), detail = %denial, "a request failed");
            match ctx.exchange() {
                Some(exchange) => exchange.failure = Some(denial),
                None => ctx.stage = Stage::Refused(denial),
            }
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    pub(super) async fn logging(&self, session: &mut Session, ctx: &mut RequestCtx) {
        replay::remove(session, &ctx.real_session);
        let answer = ctx.exchange().and_then(|exchange| exchange.reader.as_ref()).map(AnswerReader::answer);
        metering::settle(ctx, answer.as_ref());
        let words = ctx.exchange().and_then(|exchange| exchange.words.take());
        let mut record = self.conclude(session, ctx, answer);
        if let Some(words) = words {
            (record.response_hash, record.response) = self.listening.conclude(words).await;
        }
        let trace = self.conclude_trace(session, ctx, &mut record);
        if matches!(ctx.stage, Stage::Refused(Denial::AuditUnavailable)) {
            self.audit.refused_unrecorded();
        } else {
            self.audit.write(&record).await;
            self.metrics.audit_records.inc();
        }
        log_end(&record);
        if let Some(trace) = trace {
            self.send_spans(session, ctx, trace, record);
        }
    }
}

impl Gateway {
    /// Tells the ring what an answer says of its key. Whether the request goes again with another key: the upstream has
    /// refused this one before it looked at anything else.
    fn judge_key(&self, ctx: &mut RequestCtx, response: &ResponseHeader) -> bool {
        let family = ctx.family();
        let (Stage::Permitted(exchange), Some(caller), Some(found)) = (&mut ctx.stage, &ctx.caller, &ctx.found) else {
            return false;
        };
        let Some(key) = exchange.key.clone() else { return false };
        let (status, now) = (response.status, SystemTime::now());
        self.keys.answered(&key, status, &response.headers, family, now);
        let replayable = found.endpoint.body != BodyRule::Streamed;
        if status != StatusCode::UNAUTHORIZED || !replayable || exchange.attempts >= MAX_ATTEMPTS {
            return false;
        }
        exchange.refused_keys.push(key.id());
        let other = self.keys.has_other(exchange.claim(caller.teams(), family), &exchange.refused_keys, now);
        if other {
            exchange.report(Report::Answered(status.as_u16())); // else the head is taken in, and reported there
        }
        other
    }

    /// Ends an attempt whose upstream has shown a certificate that is not pinned. Nothing was sent.
    fn not_admitted(&self, ctx: &mut RequestCtx, denial: Denial) -> Result<()> {
        tracing::error!(request_id = ctx.id, detail = %denial, "the upstream is not the one that is pinned");
        let stopped = stop(ctx, denial);
        if let Some(exchange) = ctx.exchange() {
            exchange.report(Report::ConnectFailed);
            if self.may_connect_again(exchange) {
                exchange.failure = None;
                return Error::err(NOT_ADMITTED);
            }
        }
        Err(stopped)
    }

    /// Each address once; a lone one twice, for it may just have been restarted.
    fn may_connect_again(&self, exchange: &Exchange) -> bool {
        exchange.attempts < MAX_ATTEMPTS && exchange.unconnected + 1 < self.upstream.pool().len().max(2)
    }

    async fn answer_whoami(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
        match self.whoami(session, ctx).await {
            Ok(body) => {
                ctx.stage = Stage::Answered;
                answer::document(session, body, ctx, self.in_flight.watch()).await?;
                Ok(true)
            }
            Err(denial) => self.refuse(session, ctx, denial).await,
        }
    }

    /// Refuses a request; the answer is written then.
    async fn refuse(&self, session: &mut Session, ctx: &mut RequestCtx, denial: Denial) -> Result<bool> {
        ctx.own_time.rest(); // to be told takes as long as the client takes
        let written = answer::deny(session, &denial, ctx, self.in_flight.watch()).await;
        ctx.stage = Stage::Refused(denial);
        written.map(|()| true)
    }

    /// The reason behind an error that a [`RevocationWatch`](super::revoked::RevocationWatch) made.
    fn revoked(&self, error: &Error, ctx: &RequestCtx) -> Option<Denial> {
        if *error.etype() != REVOKED {
            return None;
        }
        let by = ctx.caller.as_ref().and_then(|caller| revoked_by(&self.revocations, caller));
        Some(Denial::TokenRevoked { by: by.unwrap_or("a list that has changed since") })
    }
}

/// Why a request is sent again that was stopped for it.
fn again_by_us(kind: &ErrorType) -> Option<Again> {
    match kind {
        kind if *kind == KEY_REFUSED => Some(Again::Key),
        kind if *kind == NOT_ADMITTED => Some(Again::Connect),
        _ => None,
    }
}

/// The status that the client has been told, if it has: an interim one, such as `100 Continue`, is no answer.
pub(super) fn answered_with(session: &Session) -> Option<StatusCode> {
    session.response_written().map(|response| response.status).filter(|status| !status.is_informational())
}

/// Tells of a request's end, in words that are no caller's: a path, a token or a text may be anything.
fn log_end(record: &Record) {
    tracing::debug!(
        request_id = record.request_id,
        trace_id = record.trace_id,
        event = record.event.name(),
        endpoint = record.endpoint,
        status = record.status,
        reason = record.reason,
        rule = record.rule,
        attempts = record.attempts,
        total_ms = record.timings.total_ms,
        "a request ended"
    );
}

/// Cannot be: Pingora asks for a peer after `request_filter` let the request pass.
fn without_permit<T>() -> Result<T> {
    Error::e_explain(ErrorType::InternalError, "a request without a permit")
}

/// Waits until the call is on record: nothing of it may leave before.
async fn await_record(ctx: &mut RequestCtx) -> Result<(), Denial> {
    let arrived = ctx.arrived;
    let Some(exchange) = ctx.exchange() else { return Ok(()) };
    if let Some(ticket) = exchange.ticket.take() {
        match ticket.on_record().await {
            Ok(on_record) => exchange.on_record = Some(on_record),
            Err(unrecorded) => {
                if unrecorded == Unrecorded::Withdrawn {
                    ctx.stage = Stage::Refused(Denial::AuditUnavailable); // there is no `begin` that an `end` would belong to
                }
                return Err(Denial::AuditUnavailable);
            }
        }
        exchange.recorded = Some(arrived.elapsed());
    }
    Ok(())
}

/// Notes why a permitted call failed, and gives Pingora an error that ends it.
#[allow(clippy::unnecessary_box_returns)] // as Pingora takes it
fn stop(ctx: &mut RequestCtx, denial: Denial) -> Box<Error> {
    if let Some(exchange) = ctx.exchange() {
        exchange.failure = Some(denial);
    }
    let mut error = Error::new(DENIED);
    error.esource = ErrorSource::Internal;
    error
}

/// Ends an answer that has begun. A stream between two events gets an `error` event and its end, as the API itself does
/// it, which SDKs raise; any other answer just breaks, so that nobody takes half of it for the whole.
async fn break_off(session: &mut Session, denial: &Denial, ctx: &mut RequestCtx) -> Result<()> {
    let at_event_end =
        ctx.exchange().and_then(|exchange| exchange.reader.as_ref()).is_some_and(AnswerReader::is_between_events);
    if at_event_end {
        let event = error_event(denial.error_type(), &denial.message(), &ctx.id);
        if let Some(exchange) = ctx.exchange() {
            exchange.receipt.add(&event);
        }
        let written = session.write_response_body(Some(Bytes::from(event)), true);
        if *denial == Denial::Stopping {
            let written = tokio::time::timeout(LAST_WORDS, written).await;
            return written.unwrap_or_else(|_| Error::err(ErrorType::WriteTimedout));
        }
        written.await?;
    }
    Ok(())
}
