//! Whether a request that did not come through may be sent again.

use std::time::Duration;

use http::Method;
use pingora::{Error, ErrorSource, ErrorType, RetryType};

use super::context::Exchange;
use crate::claude::{Endpoint, EndpointGroup};

/// Attempts of one request in all.
pub const MAX_ATTEMPTS: usize = 5;
/// A connection that was closed while it was idle shows so with the first packet back.
const STALE_WITHIN: Duration = Duration::from_secs(1);

/// Why a request is sent again, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// No connection was made: nothing was sent.
    Connect,
    /// A connection from the pool was closed as servers do with idle ones, so that nothing was worked on.
    Stale,
    /// The upstream broke off before its answer began. Once for a request: what breaks twice may be the request's doing.
    Broken,
    /// The upstream refused the key, and there is another.
    Key,
}

impl Again {
    /// For metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Stale => "stale",
            Self::Broken => "broken",
            Self::Key => "key",
        }
    }

    /// Whether a share of traffic bounds it. What the upstream has not begun to work on is no load on it.
    pub(super) fn is_bounded(self) -> bool {
        self == Self::Broken
    }
}

/// Why an exchange that failed `waited` after it was connected may be sent again, if it may.
///
/// `reused` says that the connection came from the pool.
pub(super) fn again(
    error: &mut Error,
    exchange: &Exchange,
    repeatable: bool,
    reused: bool,
    waited: Duration,
) -> Option<Again> {
    let stale = is_stale(error, reused, waited);
    error.set_retry(false);
    if exchange.first_byte.is_some() || exchange.attempts >= MAX_ATTEMPTS {
        return None;
    }
    if stale {
        return Some(Again::Stale);
    }
    (repeatable && !exchange.broken && broke_off(error)).then_some(Again::Broken)
}

/// Whether the upstream had not begun with the request. Pingora marks any end of a pooled connection before an answer as
/// [`RetryType::ReusedOnly`], however late: one that comes while the request may be worked on is no stale connection. An
/// HTTP/2 upstream says itself that it has not begun (RFC 9113 sections 6.8 and 8.7).
fn is_stale(error: &Error, reused: bool, waited: Duration) -> bool {
    match error.retry {
        RetryType::ReusedOnly => reused && waited < STALE_WITHIN,
        RetryType::Decided(retry) => retry && reused && *error.etype() != ErrorType::InvalidH2,
    }
}

/// Whether it is the upstream's address that failed; one that is slow to read a request has not.
pub(super) fn is_of_upstream(error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream && !matches!(error.etype(), ErrorType::WriteTimedout)
}

/// Whether the upstream closed or reset the connection: not what it sent wrongly, nor when it was silent, for a request
/// that has been worked on for minutes would be worked on again.
fn broke_off(error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream
        && matches!(
            error.etype(),
            ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError | ErrorType::H2Error
        )
}

/// Whether a request may reach the upstream twice: one that leaves nothing behind but its answer. A batch or a file would
/// be there twice.
pub(super) fn is_repeatable(method: &Method, endpoint: &Endpoint) -> bool {
    matches!(endpoint.group, EndpointGroup::Messages | EndpointGroup::CountTokens)
        || matches!(*method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude;

    #[test]
    fn what_leaves_something_behind_is_sent_once() {
        for (method, path, repeatable) in [
            (Method::POST, "/v1/messages", true),
            (Method::POST, "/v1/messages/count_tokens", true),
            (Method::POST, "/v1/messages/batches", false),
            (Method::GET, "/v1/messages/batches", true),
            (Method::GET, "/v1/models", true),
            (Method::POST, "/v1/files", false),
            (Method::DELETE, "/v1/files/file_1", false),
        ] {
            let found = claude::find(&method, path).unwrap();
            assert_eq!(is_repeatable(&method, found.endpoint), repeatable, "{method} {path}");
        }
    }

    #[test]
    fn a_connection_that_ends_late_was_not_stale() {
        let of = |kind: ErrorType, retry: RetryType| {
            let mut error = Error::new(kind);
            error.retry = retry;
            error
        };
        let (soon, late) = (Duration::from_millis(10), Duration::from_secs(20));
        let ended = of(ErrorType::ConnectionClosed, RetryType::ReusedOnly);
        assert!(is_stale(&ended, true, soon));
        assert!(!is_stale(&ended, true, late), "the request may have been worked on");
        assert!(!is_stale(&ended, false, soon));
        let refused = of(ErrorType::H2Error, RetryType::Decided(true));
        assert!(is_stale(&refused, true, late), "the upstream has said so");
        assert!(!is_stale(&of(ErrorType::InvalidH2, RetryType::Decided(true)), true, soon));
        assert!(!is_stale(&of(ErrorType::ReadError, RetryType::Decided(false)), true, soon));
    }

    #[test]
    fn only_a_broken_connection_of_the_upstream_counts() {
        let of = |kind: ErrorType, source: ErrorSource| {
            let mut error = Error::new(kind);
            error.esource = source;
            broke_off(&error)
        };
        assert!(of(ErrorType::ConnectionClosed, ErrorSource::Upstream));
        assert!(!of(ErrorType::ConnectionClosed, ErrorSource::Downstream));
        assert!(!of(ErrorType::ReadTimedout, ErrorSource::Upstream));
        assert!(!of(ErrorType::InvalidHTTPHeader, ErrorSource::Upstream));
    }
}
