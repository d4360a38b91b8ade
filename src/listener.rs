//! TLS to clients: the certificate that they see, and whose certificates are asked of them.
//!
//! The set in force follows its files, as the upstream's does ([`TrustStore`](crate::upstream::TrustStore)): when one changes,
//! all are read together, and taken over only if the whole fits. A new set has sessions of its own, so that none that began
//! under another certificate or another authority is resumed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::config::pem;
use crate::expiry::{Expiry, Validity, When};
use crate::follow::{self, FollowedCertificates, FollowedFile};

/// Longest file that is read.
const MAX_FILE: u64 = 1 << 20;
/// As the log calls these certificates.
const WHOSE: &str = "the listener's";

/// Where a set comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSources {
    /// A certificate chain (PEM, leaf first).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
    /// Certificates (PEM) that a client's chain must end in; `None`: clients are asked for no certificate.
    pub client_ca: Option<PathBuf>,
    /// Whether a client may come without a certificate all the same.
    pub client_certificate_optional: bool,
}

/// Why there is no set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// The chain, or that it is not the key's.
    #[error("the listener's certificate {0}")]
    Certificate(String),
    /// The key; nothing of it is repeated.
    #[error("the listener's key {0}")]
    Key(String),
    /// The file of authorities.
    #[error("the clients' CA {0}")]
    ClientCa(String),
}

/// The set in force, and the files that it follows.
pub struct ListenerTls {
    sources: TlsSources,
    current: ArcSwap<Set>,
    followed: FollowedCertificates<TlsFault>,
}

/// One consistent set.
struct Set {
    server: Arc<ServerConfig>,
    /// What it is made of, for comparison.
    key: Arc<CertifiedKey>,
    key_der: Zeroizing<Vec<u8>>,
    authorities: Vec<CertificateDer<'static>>,
    expiries: Vec<Expiry>,
}

impl ListenerTls {
    /// Reads the first set. Blocks.
    ///
    /// # Errors
    /// Every fault that there is.
    pub fn open(sources: TlsSources) -> Result<Self, Vec<TlsFault>> {
        let mut files = Vec::new();
        let set = sources.read(&mut files)?;
        Ok(Self { sources, current: ArcSwap::from_pointee(set), followed: FollowedCertificates::new(WHOSE, files) })
    }

    /// Where its sets come from.
    pub fn sources(&self) -> &TlsSources {
        &self.sources
    }

    /// What the next handshake is made with.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
    }

    /// When what is in force ends.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.current.load().expiries.clone()
    }

    /// How many sets were taken over since the start.
    pub fn reloads_total(&self) -> u64 {
        self.followed.reloads_total()
    }

    /// Whether the files do not fit at the last look, so that an older set is in force.
    pub fn is_faulty(&self) -> bool {
        self.followed.is_faulty()
    }

    /// Follows the files, and warns of the end of what is in force, for as long as the future is polled.
    pub async fn follow(self: Arc<Self>) {
        follow::follow(WHOSE, self, Self::look).await;
    }

    /// Looks at the files once. Blocks.
    fn look(&self, now: SystemTime) {
        self.followed.look(now, |files| self.renew(files), || self.expiries());
    }

    /// Reads all files, and takes over what they hold if it fits and is another set; whether it is.
    fn renew(&self, files: &mut Vec<FollowedFile>) -> Result<bool, Vec<TlsFault>> {
        let set = self.sources.read(files)?;
        if set.is_as(&self.current.load()) {
            return Ok(false);
        }
        let ends = set.expiries.iter().map(|expiry| expiry.not_after).min().map(|end| When(end).to_string());
        self.current.store(Arc::new(set));
        tracing::info!(ends, "took over the listener's new certificates");
        Ok(true)
    }
}

impl TlsSources {
    /// Reads everything together; the files are put into `files`.
    fn read(&self, files: &mut Vec<FollowedFile>) -> Result<Set, Vec<TlsFault>> {
        let chain =
            open(&self.certificate, files).and_then(|pem| pem::certificates(&pem)).map_err(TlsFault::Certificate);
        let key = open(&self.key, files).and_then(|pem| pem::private_key(&pem)).map_err(TlsFault::Key);
        let authorities = self.client_ca.as_ref().map(|path| open(path, files).and_then(|pem| pem::authorities(&pem)));
        let authorities = authorities.transpose().map_err(TlsFault::ClientCa);
        let (chain, key, authorities) = match (chain, key, authorities) {
            (Ok(chain), Ok(key), Ok(authorities)) => (chain, key, authorities.unwrap_or_default()),
            (chain, key, authorities) => {
                return Err(chain.err().into_iter().chain(key.err()).chain(authorities.err()).collect());
            }
        };
        let key_der = Zeroizing::new(key.secret_der().to_vec());
        let one = |fault| vec![fault];
        let key = pem::certified_key(chain, key).map_err(TlsFault::Certificate).map_err(one)?;
        let expiries = [("listener", key.cert.get(..1).unwrap_or_default()), ("listener_client_ca", &authorities)];
        let expiries = expiries.into_iter().filter_map(|(certificate, chain)| first_end(certificate, chain)).collect();
        let key = Arc::new(key);
        let server = Arc::new(self.server(&key, &authorities).map_err(one)?);
        Ok(Set { server, key, key_der, authorities, expiries })
    }

    /// HTTP/2 and HTTP/1.1, TLS 1.2 and 1.3.
    fn server(
        &self,
        certified: &Arc<CertifiedKey>,
        authorities: &[CertificateDer<'static>],
    ) -> Result<ServerConfig, TlsFault> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])
            .map_err(|error| TlsFault::Certificate(error.to_string()))?;
        let builder = if authorities.is_empty() {
            builder.with_no_client_auth()
        } else {
            let wrong = |error: &dyn std::fmt::Display| TlsFault::ClientCa(error.to_string());
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots.add(authority.clone()).map_err(|error| wrong(&error))?;
            }
            let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            if self.client_certificate_optional {
                verifier = verifier.allow_unauthenticated();
            }
            builder.with_client_cert_verifier(verifier.build().map_err(|error| wrong(&error))?)
        };
        let mut server = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(certified))));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(server)
    }
}

impl Set {
    fn is_as(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert && self.key_der == other.key_der && self.authorities == other.authorities
    }
}

impl TlsFault {
    /// The key of `[listen]` that it is about, and what is wrong there.
    pub fn key_and_problem(&self) -> (&'static str, &str) {
        match self {
            Self::Certificate(problem) => ("tls.certificate", problem),
            Self::Key(problem) => ("tls.key", problem),
            Self::ClientCa(problem) => ("client_ca", problem),
        }
    }
}

/// When the first of these certificates ends.
fn first_end(certificate: &'static str, chain: &[CertificateDer<'_>]) -> Option<Expiry> {
    let ends = chain.iter().filter_map(|certificate| Validity::of(certificate).ok());
    ends.map(|validity| validity.not_after).min().map(|not_after| Expiry { certificate, not_after })
}

fn open(path: &Path, files: &mut Vec<FollowedFile>) -> Result<Zeroizing<Vec<u8>>, String> {
    let (file, content) = FollowedFile::open(path, MAX_FILE).map_err(|fault| format!("{}: {fault}", path.display()))?;
    files.push(file);
    Ok(content)
}

#[cfg(test)]
mod tests;
