//! Reads a request's body whole, within bounds.

use bytes::{Bytes, BytesMut};
use http::header;
use pingora::ErrorType;
use pingora_proxy::Session;
use sha2::{Digest, Sha256};

use super::admission::Stop;
use super::own_time::OwnTime;
use super::{Bounds, failure};
use crate::denial::Denial;
use crate::limit::Held;

/// Reads the body, each byte counted in `held` as it arrives, so that a client cannot reserve what it never sends. Returns
/// it with its SHA-256. The time in which nothing came is the client's.
pub(super) async fn read_whole(
    session: &mut Session,
    held: &mut Held,
    bounds: &Bounds,
    own_time: &mut OwnTime,
) -> Result<(Bytes, [u8; 32]), Stop> {
    let limit = bounds.max_body;
    let announced = announced_length(session);
    if announced.is_some_and(|length| length > limit) {
        return Err(Denial::BodyTooLarge { limit }.into());
    }
    if expects_continue(session) {
        session.write_continue_response().await.map_err(Stop::Gone)?;
    }
    session.set_read_timeout(Some(bounds.body_timeout));
    // The first chunk is the body in the common case: no copy.
    let mut whole = BytesMut::new();
    let mut first = Bytes::new();
    let mut digest = Sha256::new();
    loop {
        own_time.rest();
        let chunk = session.downstream_session.read_request_body().await;
        own_time.work();
        let Some(chunk) = chunk.map_err(of_reading)? else { break };
        if chunk.len() > limit.saturating_sub(first.len() + whole.len()) {
            return Err(Denial::BodyTooLarge { limit }.into());
        }
        if !held.grow(chunk.len()) {
            return Err(Denial::BodyMemory.into());
        }
        digest.update(&chunk);
        if first.is_empty() && whole.is_empty() {
            first = chunk;
        } else {
            if whole.is_empty() {
                whole.reserve(announced.unwrap_or_default().max(first.len() + chunk.len()));
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&chunk);
        }
    }
    session.set_read_timeout(None);
    Ok((if whole.is_empty() { first } else { whole.freeze() }, digest.finalize().into()))
}

/// The body's length, when the client says it ahead.
pub(super) fn announced_length(session: &Session) -> Option<usize> {
    let value = session.req_header().headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// RFC 9110 section 10.1.1: the client waits for a word before it sends its body.
fn expects_continue(session: &Session) -> bool {
    session
        .req_header()
        .headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn of_reading(error: Box<pingora::Error>) -> Stop {
    if *error.etype() == ErrorType::ReadTimedout {
        Denial::BodyTimeout.into()
    } else if failure::is_of_framing(error.etype()) {
        Denial::RequestMalformed("its body's framing is broken").into()
    } else {
        Stop::Gone(error)
    }
}
