//! Why a request of our own had no answer.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

use crate::expiry::When;
use crate::upstream::pin::{NotPinned, Pin};

/// Why a request of our own had no answer, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectFault {
    /// No connection, in the system's words.
    #[error("no TCP connection: {0}")]
    Tcp(String),
    /// No connection in time.
    #[error("no TCP connection in time")]
    TcpTimeout,
    /// No TLS over the connection.
    #[error("no TLS: {0}")]
    Tls(#[from] TlsFault),
    /// No end of the TLS handshake in time.
    #[error("no end of the TLS handshake in time")]
    TlsTimeout,
    /// What came is not HTTP/1.1, or stopped in the middle.
    #[error("no HTTP: {0}")]
    Http(String),
    /// No whole answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The answer's head or body is above its bound.
    #[error("the answer is too large")]
    TooLarge,
}

impl DirectFault {
    /// Whether nothing of a request has been sent.
    pub fn is_of_connecting(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::TcpTimeout | Self::Tls(_) | Self::TlsTimeout)
    }
}

/// What TLS could not agree on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// The upstream's certificate bears other names.
    #[error("the upstream's certificate is not for this name; it is for {}", .presented.join(", "))]
    Name {
        /// Those.
        presented: Vec<String>,
    },
    /// The upstream's certificate does not count any longer, or not yet.
    #[error("the upstream's certificate {0}")]
    Time(String),
    /// The upstream's certificate ends in no root that we believe.
    #[error("the upstream's certificate is of no CA that is believed")]
    UnknownIssuer,
    /// The upstream refuses who we are, by this alert (RFC 8446 section 6.2).
    #[error("the upstream refuses our client certificate ({0})")]
    ClientCertificateRefused(String),
    /// The upstream's certificate is good, but has this public key, which no pin names.
    #[error("no pin names the public key of the upstream's certificate ({0})")]
    NotPinned(Pin),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl DirectFault {
    /// The fault in an error of reading or writing, which may wrap one of TLS.
    pub(super) fn of_io(error: &io::Error) -> Self {
        tls(error).unwrap_or_else(|| TlsFault::Other(error.to_string())).into()
    }

    /// The fault in an error of HTTP.
    pub(super) fn of_http(error: &hyper::Error) -> Self {
        if error.is_parse_too_large() {
            return Self::TooLarge;
        }
        // hyper's own words leave out what happened below it.
        let words = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        tls(error).map_or(Self::Http(words), Self::Tls)
    }
}

/// The error of TLS somewhere below `error`.
fn tls(error: &(dyn Error + 'static)) -> Option<TlsFault> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(error.into());
        }
        // The source of an io::Error is the source of what it wraps, not what it wraps.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

impl From<&rustls::Error> for TlsFault {
    fn from(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) if is_about_certificate(*alert) => {
                Self::ClientCertificateRefused(format!("{alert:?}"))
            }
            rustls::Error::InvalidCertificate(error) => error.into(),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<&CertificateError> for TlsFault {
    fn from(error: &CertificateError) -> Self {
        match error {
            CertificateError::NotValidForName => Self::Name { presented: Vec::new() },
            CertificateError::NotValidForNameContext { presented, .. } => Self::Name { presented: presented.clone() },
            CertificateError::Expired => Self::Time("has ended".to_owned()),
            CertificateError::ExpiredContext { not_after, .. } => Self::Time(format!(
                "has ended at {}",
                When(std::time::UNIX_EPOCH + std::time::Duration::from_secs(not_after.as_secs()))
            )),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::Time("does not count yet".to_owned())
            }
            // A CA that was made anew under the old name has another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::Other(other) => match other.0.downcast_ref::<NotPinned>() {
                Some(NotPinned(pin)) => Self::NotPinned(*pin),
                None => Self::Other(other.to_string()),
            },
            other => Self::Other(other.to_string()),
        }
    }
}

/// Whether a server sends this alert for what a client has shown, or not shown, of itself.
pub fn is_about_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
    )
}
