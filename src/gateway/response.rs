//! The way back: the answer is passed on as it comes, and read beside the relay.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderName, StatusCode, header};
use pingora::http::ResponseHeader;
use smallvec::SmallVec;

use super::context::{Change, Exchange, RequestCtx, Rewrite};
use super::{metering, trace};
use crate::claude::{AnswerReader, Endpoint, EndpointGroup, Model, ModelPage, relative_results_url, visible_models};
use crate::denial::Denial;
use crate::privacy::Listener;
use crate::upstream::Report;

/// The id header that is ours on every answer.
pub(super) const REQUEST_ID: &str = "x-portcullis-request-id";

/// Headers that must not reach a client: cookies would be shared by all users, an alternative service would lead clients
/// past this proxy, and whose account the key is on is the company's matter.
const WITHHELD: [&str; 5] =
    ["set-cookie", "alt-svc", "proxy-authenticate", "anthropic-organization-id", "anthropic-workspace-id"];

/// Limits of the company's key, which all callers share. A caller is told of its own.
const SHARED_LIMITS: [&str; 2] = ["anthropic-ratelimit-", "anthropic-priority-"];

/// Longest answer that is held to be changed: a page of batches is far below.
const MAX_REWRITE: usize = 8 << 20;

/// Takes in the head of the upstream's answer to a request with this query.
///
/// # Errors
/// A [`Denial`] for an answer that must not be passed on.
pub(super) fn take_head(ctx: &mut RequestCtx, response: &mut ResponseHeader, query: &str) -> Result<(), Denial> {
    let after = ctx.arrived.elapsed();
    let change = ctx.found.as_ref().and_then(|found| change(found.endpoint, query));
    let id = ctx.id.clone();
    let answer_header = ctx.trace_answer.clone();
    let Some(exchange) = ctx.exchange() else { return Ok(()) };
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Denial::UpstreamFailed("it changed the protocol, which nobody asked for".to_owned()));
    }
    if response.status.is_informational() {
        return Ok(());
    }
    exchange.report(Report::Answered(response.status.as_u16()));
    exchange.progress.answered();
    exchange.first_byte = Some(after);
    exchange.status = Some(response.status);
    if response.status.is_redirection() {
        // Both SDKs follow redirects, with the caller's token.
        return Err(Denial::UpstreamRedirect);
    }
    withhold(response);
    let internal = |error: Box<pingora::Error>| Denial::Internal(error.to_string());
    match response.headers.get("request-id").and_then(|value| value.to_str().ok()) {
        Some(upstream_id) => exchange.upstream_request_id = Some(upstream_id.chars().take(128).collect()),
        None => response.insert_header("request-id", &id).map_err(internal)?,
    }
    response.insert_header(REQUEST_ID, id).map_err(internal)?;
    trace::tell_client(response, answer_header.as_ref()).map_err(internal)?;
    if let Some(metered) = &exchange.metered {
        metering::tell_standing(response, metered.reservation.standing()).map_err(internal)?;
    }
    let content_type = response.headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    exchange.reader = Some(AnswerReader::new(content_type));
    let json = content_type.is_some_and(|value| value.starts_with(b"application/json"));
    if let (Some(change), true) = (change, response.status.is_success()) {
        match (&change, json) {
            (Change::Models(_), false) => {
                return Err(Denial::UpstreamFailed("a list of models that is no JSON".to_owned()));
            }
            (Change::ResultsUrls, false) => return Ok(()), // the results themselves, a JSON a line
            (Change::Models(_) | Change::ResultsUrls, true) => {}
        }
        exchange.rewrite = Some(Rewrite { change, whole: Vec::new() });
        response.remove_header(&header::CONTENT_LENGTH);
        response.insert_header(header::TRANSFER_ENCODING, "chunked").map_err(internal)?;
    }
    Ok(())
}

/// Takes out what is not for clients.
fn withhold(response: &mut ResponseHeader) {
    for name in WITHHELD {
        response.remove_header(name);
    }
    let shared = |name: &HeaderName| SHARED_LIMITS.iter().any(|start| name.as_str().starts_with(start));
    let names: SmallVec<[HeaderName; 16]> = response.headers.keys().filter(|name| shared(name)).cloned().collect();
    for name in &names {
        response.remove_header(name);
    }
}

/// How answers of an endpoint are changed; nearly all are not.
fn change(endpoint: &Endpoint, query: &str) -> Option<Change> {
    if endpoint.lists_models() {
        return Some(Change::Models(ModelPage::from_query(query).unwrap_or_default()));
    }
    (endpoint.group == EndpointGroup::Batches).then_some(Change::ResultsUrls)
}

/// Takes in a chunk of the answer's body to a request that arrived then, listens to it, and changes it where the answer is one that is changed: then `shows` says of a
/// model whether the caller may see it.
///
/// # Errors
/// A [`Denial`] when an answer that must be changed cannot be.
pub(super) fn take_chunk(
    exchange: &mut Exchange,
    chunk: &mut Option<Bytes>,
    end: bool,
    (listener, arrived): (&Listener, Instant),
    shows: impl Fn(&Model) -> bool,
) -> Result<(), Denial> {
    if let (Some(reader), Some(bytes)) = (&mut exchange.reader, chunk.as_ref()) {
        // Between two events an error event can follow, and what came so far has been passed on.
        if reader.is_between_events()
            && let Some(spent) = exchange.spent.take()
        {
            exchange.receipt.hold(bytes);
            return Err(spent);
        }
        let words = exchange.words.get_or_insert_with(|| listener.answer());
        reader.feed_with(bytes, |kind, text, block| words.take(listener, kind, text, block));
        if exchange.first_token.is_none() && reader.first_content_seen() {
            exchange.first_token = Some(arrived.elapsed());
        }
        metering::watch_usage(exchange);
    }
    if let Some(Rewrite { change, whole }) = &mut exchange.rewrite {
        if let Some(bytes) = chunk.take() {
            exchange.receipt.hold(&bytes);
            if whole.len() + bytes.len() > MAX_REWRITE {
                return Err(Denial::UpstreamFailed("an answer that must be changed is too long".to_owned()));
            }
            whole.extend_from_slice(&bytes);
        }
        if end {
            let changed = match change {
                Change::ResultsUrls => Some(relative_results_url(whole).into_owned()),
                Change::Models(page) => visible_models(whole, page, shows),
            };
            let changed = changed.ok_or_else(|| Denial::UpstreamFailed("a list of models that is none".to_owned()))?;
            exchange.receipt.add(&changed);
            *chunk = Some(Bytes::from(changed));
            exchange.rewrite = None;
        }
    } else if let Some(bytes) = &chunk {
        exchange.receipt.relay(bytes);
    }
    exchange.ended |= end;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_companys_does_not_reach_a_client() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for name in [
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-unified-status",
            "anthropic-priority-input-tokens-limit",
            "anthropic-organization-id",
            "anthropic-workspace-id",
            "set-cookie",
            "request-id",
            "retry-after",
            "anthropic-version",
        ] {
            response.insert_header(name, "x").unwrap();
        }
        withhold(&mut response);
        let mut left: Vec<_> = response.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["anthropic-version", "request-id", "retry-after"]);
    }
}
