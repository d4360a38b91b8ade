//! Whether a request that did not come through may be sent again.

use http::Method;
use pingora::{Error, ErrorSource, ErrorType};

use super::context::Exchange;
use crate::claude::{Endpoint, EndpointGroup};

/// Attempts of one request in all.
pub const MAX_ATTEMPTS: usize = 5;

/// Why a request is sent again, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// No connection was made: nothing was sent.
    Connect,
    /// A connection from the pool was closed before it answered, as servers do with idle ones.
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

/// What a failure of an exchange is to the address that it came from, and whether it may be sent again.
///
/// `reused` says that the connection came from the pool. Pingora marks what a stale one gives as
/// [`RetryType::ReusedOnly`](pingora::RetryType::ReusedOnly).
pub(super) fn again(error: &mut Error, exchange: &Exchange, repeatable: bool, reused: bool) -> Option<Again> {
    error.retry.decide_reuse(reused);
    let stale = error.retry.retry() && reused;
    error.set_retry(false);
    if exchange.first_byte.is_some() || exchange.attempts >= MAX_ATTEMPTS {
        return None;
    }
    if stale {
        return Some(Again::Stale);
    }
    (repeatable && !exchange.broken && broke_off(error)).then_some(Again::Broken)
}

/// Whether it is the upstream's address that failed: silence for too long, which may be a model's thinking, is not.
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
