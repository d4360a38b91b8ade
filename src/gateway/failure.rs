//! What Pingora reports as an error, as the reason that clients, records and metrics know it by.

use std::io;

use pingora::{Error, ErrorSource, ErrorType};

use crate::denial::{Denial, Overdue};
use crate::upstream::is_about_certificate;

/// The reason behind `error`; `None` when the client has left and nobody is to be told.
pub(super) fn denial(error: &Error) -> Option<Denial> {
    let kind = error.etype();
    match error.esource() {
        ErrorSource::Downstream if *kind == ErrorType::ReadTimedout => Some(Denial::BodyTimeout),
        ErrorSource::Downstream => is_of_framing(kind).then_some(Denial::RequestMalformed("its framing is broken")),
        ErrorSource::Upstream => Some(refused_certificate(error).unwrap_or_else(|| of_upstream(kind))),
        ErrorSource::Internal | ErrorSource::Unset if is_of_connecting(kind) => Some(of_upstream(kind)),
        ErrorSource::Internal | ErrorSource::Unset => Some(Denial::Internal(kind.as_str().to_owned())),
    }
}

/// A TLS 1.3 upstream tells what it thinks of our certificate only when the request is on its way: before it reads it.
fn refused_certificate(error: &Error) -> Option<Denial> {
    let rustls::Error::AlertReceived(alert) =
        error.root_cause().downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()?
    else {
        return None;
    };
    is_about_certificate(*alert).then(|| Denial::UpstreamUnreachable(format!("it refused our certificate ({alert:?})")))
}

/// The type says enough; the whole chain of causes would repeat addresses and headers.
fn of_upstream(kind: &ErrorType) -> Denial {
    if matches!(kind, ErrorType::ReadTimedout | ErrorType::WriteTimedout) {
        Denial::UpstreamTimeout(Overdue::Silence)
    } else if is_of_connecting(kind) {
        Denial::UpstreamUnreachable(kind.as_str().to_owned())
    } else {
        Denial::UpstreamFailed(kind.as_str().to_owned())
    }
}

/// Whether what the peer sent is no HTTP.
pub(super) fn is_of_framing(kind: &ErrorType) -> bool {
    matches!(
        kind,
        ErrorType::InvalidHTTPHeader
            | ErrorType::H1Error
            | ErrorType::H2Error
            | ErrorType::InvalidH2
            // Pingora's own names for broken chunks (`pingora_core::protocols::http::v1::body`, which is private).
            | ErrorType::Custom("InvalidChunk" | "InvalidTrailerEnd")
    )
}

fn is_of_connecting(kind: &ErrorType) -> bool {
    matches!(
        kind,
        ErrorType::ConnectTimedout
            | ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::ConnectProxyFailure
            | ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::InvalidCert
            | ErrorType::HandshakeError
            | ErrorType::BindError
            | ErrorType::SocketError
    )
}
