//! What TLS to the upstream is set up with: who we are to it, and whom we believe.
//!
//! A [`Trust`] is one consistent set. Pingora's connections and our own ([`super::Direct`]) are made from the same one, and
//! a change of its files makes another one of the next generation ([`TrustStore`]).

mod store;

use std::sync::Arc;
use std::time::SystemTime;

use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::PrivateKeyDer;

pub use store::{TrustSources, TrustStore};

use super::pin::{KnownLeaves, Pin, PinnedVerifier};
use crate::config::pem;
use crate::expiry::{Expiry, Validity};

/// One consistent set: a client certificate with its key, roots, and pins.
pub struct Trust {
    series: u32,
    generation: u64,
    client: Option<ClientIdentity>,
    roots: Roots,
    known: Option<Arc<KnownLeaves>>,
    resuming: Arc<ClientConfig>,
    complete: Arc<ClientConfig>,
}

/// Who we are to the upstream: a certificate chain, its key, and the proof that they fit.
pub struct ClientIdentity {
    pingora: Arc<CertKey>,
    certified: Arc<CertifiedKey>,
    not_after: SystemTime,
}

/// Whom we believe.
pub struct Roots {
    verifier: Arc<WebPkiServerVerifier>,
    /// `None` are the system's.
    own: Option<OwnRoots>,
}

struct OwnRoots {
    pingora: Arc<[WrappedX509]>,
    /// How many others do not count.
    left_out: usize,
    /// When the first of them ends.
    not_after: SystemTime,
}

/// Why there is no set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustFault {
    /// The file of roots.
    #[error("the CA {0}")]
    Ca(String),
    /// The system's roots, which are asked for where no file is given.
    #[error("the system {0}")]
    SystemRoots(String),
    /// The chain, or that it is not the key's.
    #[error("the client certificate {0}")]
    ClientCertificate(String),
    /// The key; nothing of it is repeated.
    #[error("the client key {0}")]
    ClientKey(String),
    /// The TLS library, which knows no protocol of ours.
    #[error("TLS {0}")]
    Tls(String),
}

impl Trust {
    /// Makes the set ready for use.
    ///
    /// # Errors
    /// [`TrustFault::Tls`]
    pub fn new(
        roots: Roots,
        client: Option<ClientIdentity>,
        pins: &Arc<[Pin]>,
        generation: u64,
    ) -> Result<Self, TrustFault> {
        let known = (!pins.is_empty()).then(|| Arc::new(KnownLeaves::new()));
        let verifier: Arc<dyn ServerCertVerifier> = match &known {
            Some(known) => {
                Arc::new(PinnedVerifier::new(Arc::clone(&roots.verifier), Arc::clone(pins), Arc::clone(known)))
            }
            None => Arc::clone(&roots.verifier) as _,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])
            .map_err(|error| TrustFault::Tls(error.to_string()))?
            .dangerous() // the name of every verifier's door; ours asks WebPKI first, and can only refuse more
            .with_custom_certificate_verifier(verifier);
        let mut resuming = match &client {
            Some(client) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&client.certified))))
            }
            None => builder.with_no_client_auth(),
        };
        resuming.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut complete = resuming.clone();
        complete.resumption = Resumption::disabled();
        Ok(Self {
            series: 0,
            generation,
            client,
            roots,
            known,
            resuming: Arc::new(resuming),
            complete: Arc::new(complete),
        })
    }

    /// The same set in the series of this number.
    fn of_series(self, series: u32) -> Self {
        Self { series, ..self }
    }

    /// Counts the sets of a series from 0.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Pingora's `group_key`, which differs from set to set and from series to series. It keeps a connection of an older set
    /// from serving a new request: the pool's own key knows the client certificate by its serial alone, and the roots not at
    /// all.
    pub fn group_key(&self) -> u64 {
        u64::from(self.series) << 32 | self.generation & u64::from(u32::MAX)
    }

    /// The client certificate, for Pingora.
    pub fn client(&self) -> Option<Arc<CertKey>> {
        self.client.as_ref().map(|client| Arc::clone(&client.pingora))
    }

    /// The roots, for Pingora; `None` are the system's.
    pub fn ca(&self) -> Option<Arc<[WrappedX509]>> {
        self.roots.own.as_ref().map(|own| Arc::clone(&own.pingora))
    }

    /// For connections of our own, which resume the sessions of earlier ones.
    pub fn resuming(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.resuming)
    }

    /// For connections that must prove that a complete handshake works: a resumed one verifies no certificate.
    pub fn complete(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.complete)
    }

    /// The leaves that our own verifier has accepted; `None` without pins.
    pub fn known(&self) -> Option<&KnownLeaves> {
        self.known.as_deref()
    }

    /// When what is in use ends; nothing of the system's roots.
    pub fn expiries(&self) -> Vec<Expiry> {
        let client = self.client.as_ref();
        let client = client.map(|client| Expiry { certificate: "upstream_client", not_after: client.not_after });
        let own = self.roots.own.as_ref();
        let ca = own.map(|own| Expiry { certificate: "upstream_ca", not_after: own.not_after });
        client.into_iter().chain(ca).collect()
    }

    /// How many certificates of the file of roots do not count, because of their time.
    fn left_out(&self) -> usize {
        self.roots.own.as_ref().map_or(0, |own| own.left_out)
    }

    /// Whether a set of these parts would be the same.
    fn consists_of(&self, roots: &Roots, client: Option<&ClientIdentity>) -> bool {
        let same_client = match (&self.client, client) {
            (Some(ours), Some(other)) => {
                ours.certified.cert == other.certified.cert && ours.pingora.key() == other.pingora.key()
            }
            (ours, other) => ours.is_none() && other.is_none(),
        };
        same_client && self.roots.certificates().eq(roots.certificates())
    }
}

impl ClientIdentity {
    /// Takes a chain, leaf first, and its key, both in PEM.
    ///
    /// # Errors
    /// When one is damaged, the leaf does not count at `now`, or the key is another certificate's.
    pub fn from_pem(certificate: &[u8], key: &[u8], now: SystemTime) -> Result<Self, TrustFault> {
        let wrong = TrustFault::ClientCertificate;
        let chain = pem::certificates(certificate).map_err(wrong)?;
        let mut leaf = None;
        for certificate in &chain {
            let validity = Validity::of(certificate).map_err(wrong)?;
            leaf.get_or_insert(validity);
        }
        let leaf = leaf.ok_or_else(|| wrong("holds no certificate".to_owned()))?;
        leaf.holds(now).map_err(wrong)?;
        let key = pem::private_key(key).map_err(TrustFault::ClientKey)?;
        // Pingora has the key as bytes, and takes a panic for an answer when it cannot tell what they are.
        let bytes = key.secret_der().to_vec();
        if PrivateKeyDer::try_from(bytes.as_slice()).is_err() {
            return Err(TrustFault::ClientKey("is of an unknown form".to_owned()));
        }
        let certificates = chain.iter().map(|certificate| certificate.to_vec()).collect();
        let certified = pem::certified_key(chain, key).map_err(wrong)?;
        Ok(Self {
            pingora: Arc::new(CertKey::new(certificates, bytes)),
            certified: Arc::new(certified),
            not_after: leaf.not_after,
        })
    }
}

impl Roots {
    /// The system's.
    ///
    /// # Errors
    /// When there is none that can be used.
    pub fn system() -> Result<Self, TrustFault> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        let (usable, _) = store.add_parsable_certificates(found.certs);
        if usable == 0 {
            let why: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            return Err(TrustFault::SystemRoots(format!("has no roots ({})", why.join(", "))));
        }
        Ok(Self { verifier: verifier(store).map_err(TrustFault::SystemRoots)?, own: None })
    }

    /// Those of a PEM text that count at `now`. Others are left out, so that an old CA beside its successor does no harm.
    /// `webpki` does not look at a root's own time: who is left in when it ends stays until the file is read again.
    ///
    /// # Errors
    /// When one is damaged, or none counts.
    pub fn from_pem(pem: &[u8], now: SystemTime) -> Result<Self, TrustFault> {
        let wrong = TrustFault::Ca;
        let mut store = RootCertStore::empty();
        let (mut certificates, mut first_end, mut faults) = (Vec::new(), None, Vec::new());
        for certificate in pem::authorities(pem).map_err(wrong)? {
            let validity = Validity::of(&certificate).map_err(wrong)?;
            if let Err(fault) = validity.holds(now) {
                faults.push(fault);
                continue;
            }
            first_end = Some(first_end.map_or(validity.not_after, |first: SystemTime| first.min(validity.not_after)));
            certificates.push(WrappedX509::new(certificate.to_vec(), parse_x509));
            store.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        let not_after = first_end.ok_or_else(|| wrong(faults.join(", ")))?;
        let own = Some(OwnRoots { pingora: certificates.into(), left_out: faults.len(), not_after });
        Ok(Self { verifier: verifier(store).map_err(wrong)?, own })
    }

    /// Those of a file, in DER.
    fn certificates(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.own.iter().flat_map(|own| own.pingora.iter()).map(WrappedX509::borrow_raw_cert)
    }
}

impl TrustFault {
    /// The key of `[upstream]` that it is about, and what is wrong there.
    pub fn key_and_problem(&self) -> (&'static str, &str) {
        match self {
            Self::Ca(problem) => ("ca", problem),
            Self::ClientCertificate(problem) => ("client_certificate", problem),
            Self::ClientKey(problem) => ("client_key", problem),
            Self::SystemRoots(problem) | Self::Tls(problem) => ("", problem),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn verifier(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, String> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
