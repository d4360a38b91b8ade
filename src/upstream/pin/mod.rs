//! Public keys of which the upstream must have one: pins, for those who do not want every certificate that a CA can issue.
//!
//! Our own connections ask [`PinnedVerifier`] in the handshake. Pingora's rustls connector takes no verifier of ours, but
//! says before any byte of a request leaves which leaf it has accepted, by the SHA-256 of its DER. So:
//!
//! - [`KnownLeaves`] holds the digests of the leaves that our own verifier has accepted, for chain, name and pin.
//! - [`PinGate::admits`] lets a request leave if its connection's leaf is one of them. Is it unknown, a handshake of our own
//!   to the same address learns the leaf that is shown there, and the question is asked once more.
//!
//! What is accepted is a certificate, not a connection: that its key is in the upstream's hands, each handshake proves by
//! itself. So whoever shows Pingora another certificate than our own handshake sees wins nothing: the digests differ, and
//! the request does not leave. The price: where hosts behind one address have different leaves, a new leaf is refused until
//! a handshake of ours has met it. No byte has left by then, so that the next attempt is safe; and health checks by
//! handshake meet the leaves ahead of requests.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::direct::{Direct, DirectFault};

/// The SHA-256 of a public key's `SubjectPublicKeyInfo` in DER, as RFC 7469 section 2.4 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The pin that a certificate meets; `None` when it does not parse.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        Some(Self(Sha256::digest(parsed.public_key().raw).into()))
    }
}

/// What is no pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not sha256/ and 32 bytes in base64")]
pub struct NoPin;

impl FromStr for Pin {
    type Err = NoPin;

    /// `sha256/` and the hash in base64.
    fn from_str(text: &str) -> Result<Self, NoPin> {
        let hash = text.strip_prefix("sha256/").ok_or(NoPin)?;
        let hash = STANDARD.decode(hash).map_err(|_| NoPin)?;
        hash.try_into().map(Self).map_err(|_| NoPin)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", STANDARD.encode(self.0))
    }
}

/// The SHA-256 of a certificate's DER.
type LeafDigest = [u8; 32];

/// The leaves that were accepted last, in one set of trust.
#[derive(Debug)]
pub struct KnownLeaves(ArcSwap<Vec<LeafDigest>>);

impl KnownLeaves {
    /// How many are known at one time; the oldest makes room.
    const MAX: usize = 64;

    /// None.
    pub fn new() -> Self {
        Self(ArcSwap::from_pointee(Vec::new()))
    }

    /// Whether it is known.
    pub fn contains(&self, digest: &[u8]) -> bool {
        self.0.load().iter().any(|known| known == digest)
    }

    fn learn(&self, leaf: &CertificateDer<'_>) {
        let digest: LeafDigest = Sha256::digest(leaf).into();
        if self.contains(&digest) {
            return;
        }
        self.0.rcu(|known| {
            let kept = known.len().saturating_sub(Self::MAX - 1);
            known.iter().skip(kept).copied().filter(|known| *known != digest).chain([digest]).collect::<Vec<_>>()
        });
    }
}

impl Default for KnownLeaves {
    fn default() -> Self {
        Self::new()
    }
}

/// Verifies as `webpki` does, then that the leaf meets a pin; learns the leaves that it accepts.
#[derive(Debug)]
pub struct PinnedVerifier {
    verifier: Arc<WebPkiServerVerifier>,
    pins: Arc<[Pin]>,
    known: Arc<KnownLeaves>,
}

/// The leaf is good, but its public key is no pinned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no pin names its public key ({0})")]
pub struct NotPinned(pub Pin);

impl PinnedVerifier {
    /// Leaves must satisfy `verifier` and one of `pins`.
    pub fn new(verifier: Arc<WebPkiServerVerifier>, pins: Arc<[Pin]>, known: Arc<KnownLeaves>) -> Self {
        Self { verifier, pins, known }
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        let pin = Pin::of(end_entity).ok_or(CertificateError::BadEncoding)?;
        if !self.pins.contains(&pin) {
            return Err(CertificateError::Other(OtherError(Arc::new(NotPinned(pin)))).into());
        }
        self.known.learn(end_entity);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Lets requests leave over Pingora's connections, or not.
pub struct PinGate {
    direct: Arc<Direct>,
    /// Handshakes of our own under way; each belongs to the requests that wait for it, and goes with the last of them.
    flights: Mutex<Vec<(FlightKey, Weak<Flight>)>>,
}

type FlightKey = (SocketAddr, LeafDigest);
type Flight = OnceCell<Result<(), PinFault>>;

/// Why a request must not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinFault {
    /// A handshake of our own did not see the leaf of this connection.
    #[error("the connection's certificate is not the one that the upstream shows to a handshake of our own")]
    NotShown,
    /// The handshake of our own came to no end, or saw a leaf that no pin names.
    #[error("the connection's certificate cannot be held against the pins: {0}")]
    Handshake(#[from] DirectFault),
}

impl PinGate {
    /// A gate whose own handshakes are made by `direct`.
    pub fn new(direct: Arc<Direct>) -> Self {
        Self { direct, flights: Mutex::default() }
    }

    /// Whether a request may leave over a connection to `address` whose leaf has this digest, the SHA-256 of its DER as in
    /// Pingora's `SslDigest::cert_digest`. Without pins always; with a leaf that is known at once; else after one handshake
    /// of our own, which all who ask for the same wait for, bounded by the timeouts of connecting.
    ///
    /// # Errors
    /// [`PinFault`]
    pub async fn admits(&self, address: SocketAddr, cert_digest: &[u8]) -> Result<(), PinFault> {
        let Some(trust) = self.direct.trust().map(|store| store.current()) else { return Ok(()) };
        let Some(known) = trust.known() else { return Ok(()) };
        if known.contains(cert_digest) {
            return Ok(());
        }
        let digest = LeafDigest::try_from(cert_digest).map_err(|_| PinFault::NotShown)?;
        let flight = self.flight((address, digest));
        let shown = flight.get_or_init(|| async {
            self.direct.learn(&trust, address).await?;
            if known.contains(&digest) { Ok(()) } else { Err(PinFault::NotShown) }
        });
        shown.await.clone()
    }

    /// The handshake that is under way for `key`, or a new one.
    fn flight(&self, key: FlightKey) -> Arc<Flight> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|(_, flight)| flight.strong_count() > 0);
        let under_way = flights.iter().find(|(under_way, _)| *under_way == key);
        under_way.and_then(|(_, flight)| flight.upgrade()).unwrap_or_else(|| {
            let flight = Arc::new(Flight::new());
            flights.push((key, Arc::downgrade(&flight)));
            flight
        })
    }
}

#[cfg(test)]
mod tests;
