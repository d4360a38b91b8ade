//! Answers that are ours: refusals, failures, and the one call that is served here.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header;
use pingora::http::ResponseHeader;
use pingora::{Error, Result};
use pingora_proxy::Session;

use super::context::RequestCtx;
use super::response::REQUEST_ID;
use super::stopping::LAST_WORDS;
use super::{metering, trace};
use crate::claude::{self, ErrorType};
use crate::denial::{BindingFault, Denial};
use crate::limit::CutWatch;

/// Writes `denial` in the API's error shape. A client that still sends is read on to its end, unless `cut` comes before.
pub(super) async fn deny(session: &mut Session, denial: &Denial, ctx: &RequestCtx, cut: CutWatch) -> Result<()> {
    let error = denial.error_type();
    let body = claude::error_body(error, &denial.message(), &ctx.id);
    let mut response = ResponseHeader::build(error.status(), Some(8))?;
    response.insert_header(header::CONTENT_TYPE, "application/json")?;
    response.insert_header(header::CONTENT_LENGTH, body.len())?;
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    response.insert_header("request-id", &ctx.id)?;
    response.insert_header(REQUEST_ID, &ctx.id)?;
    trace::tell_client(&mut response, ctx.trace_answer.as_ref())?;
    if error == ErrorType::Authentication {
        response.insert_header(header::WWW_AUTHENTICATE, challenge(denial))?;
    }
    if let Some(wait) = denial.retry_after() {
        // Up to the next second: who comes back a moment early is refused again.
        response.insert_header(header::RETRY_AFTER, wait.as_millis().div_ceil(1000).max(1).to_string())?;
    }
    metering::tell_refusal(&mut response, denial, SystemTime::now())?;
    if denial.forbids_retry() {
        response.insert_header("x-should-retry", "false")?; // SDKs retry a 429 otherwise
    }
    if *denial == Denial::Stopping {
        return write_at_last(session, response, body).await;
    }
    let stalled = *denial == Denial::BodyTimeout;
    write(session, response, body, (!stalled).then_some(cut)).await
}

/// RFC 6750 section 3 and RFC 9449 section 7.1: the reason is named only where it helps to get a better token or proof.
fn challenge(denial: &Denial) -> &'static str {
    match denial {
        Denial::CredentialMissing => "Bearer realm=\"portcullis\"",
        Denial::TokenBinding(BindingFault::ProofMissing | BindingFault::ProofInvalid | BindingFault::ProofReplayed) => {
            "DPoP realm=\"portcullis\", error=\"invalid_dpop_proof\", algs=\"ES256 ES384 RS256 PS256 EdDSA\""
        }
        _ => "Bearer realm=\"portcullis\", error=\"invalid_token\"",
    }
}

/// Answers a call that is served here with a JSON document.
pub(super) async fn document(session: &mut Session, body: Vec<u8>, ctx: &RequestCtx, cut: CutWatch) -> Result<()> {
    let mut response = ResponseHeader::build(200, Some(8))?;
    response.insert_header(header::CONTENT_TYPE, "application/json")?;
    response.insert_header(header::CONTENT_LENGTH, body.len())?;
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    response.insert_header("request-id", &ctx.id)?;
    response.insert_header(REQUEST_ID, &ctx.id)?;
    trace::tell_client(&mut response, ctx.trace_answer.as_ref())?;
    write(session, response, body, Some(cut)).await
}

/// Answers Claude Code's warm-up call.
pub(super) async fn hello(session: &mut Session, ctx: &RequestCtx, cut: CutWatch) -> Result<()> {
    let mut response = ResponseHeader::build(200, Some(4))?;
    response.insert_header(header::CONTENT_LENGTH, 0)?;
    response.insert_header("request-id", &ctx.id)?;
    response.insert_header(REQUEST_ID, &ctx.id)?;
    trace::tell_client(&mut response, ctx.trace_answer.as_ref())?;
    write(session, response, Vec::new(), Some(cut)).await
}

/// Writes an answer when the process ends: it does not wait for a client that takes nothing.
async fn write_at_last(session: &mut Session, response: ResponseHeader, body: Vec<u8>) -> Result<()> {
    let written = tokio::time::timeout(LAST_WORDS, write(session, response, body, None)).await;
    written.unwrap_or_else(|_| Error::err(pingora::ErrorType::WriteTimedout))
}

async fn write(
    session: &mut Session,
    response: ResponseHeader,
    body: Vec<u8>,
    drains_until: Option<CutWatch>,
) -> Result<()> {
    let unread = !session.is_body_done();
    if unread {
        session.set_keepalive(None);
    }
    let silent = session.req_header().method == http::Method::HEAD || body.is_empty();
    session.write_response_header(Box::new(response), silent).await?;
    if !silent {
        session.write_response_body(Some(Bytes::from(body)), true).await?;
    }
    if let (true, Some(cut)) = (unread, drains_until) {
        drain(session, cut).await;
    }
    Ok(())
}

/// Reads on for a while what the client still sends. Most clients write their whole body before they read an answer, and
/// lose the answer when the connection is closed under them.
async fn drain(session: &mut Session, mut cut: CutWatch) {
    let mut left = MAX_DRAIN;
    let read = async {
        while let Ok(Some(chunk)) = session.downstream_session.read_request_body().await {
            match left.checked_sub(chunk.len()) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    // What is left unread then closes the connection.
    tokio::select! {
        _ = tokio::time::timeout(DRAIN, read) => {}
        () = cut.cut() => {}
    }
}

/// Bytes of a refused body that are read: a little more than the longest one that the API takes.
const MAX_DRAIN: usize = 48 << 20;
/// Time that is given to a client with a refused body.
const DRAIN: Duration = Duration::from_secs(10);
