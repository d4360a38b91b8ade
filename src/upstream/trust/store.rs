//! The set in force, and the files that it follows.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls_pki_types::ServerName;
use zeroize::Zeroizing;

use super::{ClientIdentity, Roots, Trust, TrustFault};
use crate::credential::SecretSource;
use crate::expiry::{Expiry, When};
use crate::follow::{self, FollowedCertificates, FollowedFile};
use crate::upstream::pin::Pin;

/// Longest file that is read; a bundle of all public roots has a quarter of it.
const MAX_FILE: u64 = 1 << 20;
/// As the log calls these certificates.
const WHOSE: &str = "the upstream's";

/// How many stores this process has opened.
static SERIES: AtomicU32 = AtomicU32::new(0);

/// Where a set comes from.
pub struct TrustSources {
    /// Certificates (PEM) that the upstream's chain must end in; `None` are the system's roots.
    pub ca: Option<PathBuf>,
    /// A certificate chain (PEM, leaf first), and its key (PEM).
    pub client: Option<(PathBuf, SecretSource)>,
    /// Public keys of which the upstream must have one; empty is any.
    pub pins: Arc<[Pin]>,
}

/// The set in force. It follows its files: when one changes, all are read together, and taken over only if the whole fits.
///
/// New connections are made from the new set at once; those of the old one are not used for new requests.
pub struct TrustStore {
    /// Tells its sets from those of other stores of this process.
    series: u32,
    server_name: ServerName<'static>,
    sources: TrustSources,
    current: ArcSwap<Trust>,
    followed: FollowedCertificates<TrustFault>,
}

/// What one reading has found.
struct Parts {
    roots: Roots,
    client: Option<ClientIdentity>,
}

impl TrustStore {
    /// Reads the first set. The upstream's certificate must bear `server_name`. Blocks.
    ///
    /// # Errors
    /// Every fault that there is.
    pub fn open(
        server_name: ServerName<'static>,
        sources: TrustSources,
        now: SystemTime,
    ) -> Result<Self, Vec<TrustFault>> {
        let mut files = Vec::new();
        let Parts { roots, client } = sources.read(&mut files, now)?;
        let series = SERIES.fetch_add(1, Ordering::Relaxed);
        let trust = Trust::new(roots, client, &sources.pins, 0).map_err(|fault| vec![fault])?.of_series(series);
        Ok(Self {
            series,
            server_name,
            sources,
            current: ArcSwap::from_pointee(trust),
            followed: FollowedCertificates::new(WHOSE, files),
        })
    }

    /// SNI, and the name that the upstream's certificate must bear.
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.server_name
    }

    /// The set in force.
    pub fn current(&self) -> Arc<Trust> {
        self.current.load_full()
    }

    /// When what is in force ends.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.current.load().expiries()
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
        tell_left_out(&self.current());
        follow::follow(WHOSE, self, Self::look).await;
    }

    /// Looks at the files once. Blocks.
    pub(super) fn look(&self, now: SystemTime) {
        self.followed.look(now, |files| self.renew(files, now), || self.expiries());
    }

    /// Reads all files, and takes over what they hold if it fits and is another set; whether it is.
    fn renew(&self, files: &mut Vec<FollowedFile>, now: SystemTime) -> Result<bool, Vec<TrustFault>> {
        let Parts { roots, client } = self.sources.read(files, now)?;
        let current = self.current();
        if current.consists_of(&roots, client.as_ref()) {
            return Ok(false);
        }
        let generation = current.generation() + 1;
        let trust = Trust::new(roots, client, &self.sources.pins, generation).map_err(|fault| vec![fault])?;
        let trust = trust.of_series(self.series);
        let ends = trust.expiries().iter().map(|expiry| expiry.not_after).min().map(|end| When(end).to_string());
        tell_left_out(&trust);
        self.current.store(Arc::new(trust));
        tracing::info!(generation, ends, "took over the upstream's new certificates");
        Ok(true)
    }
}

impl TrustSources {
    /// Reads everything together; the files that can be followed are put into `files`.
    fn read(&self, files: &mut Vec<FollowedFile>, now: SystemTime) -> Result<Parts, Vec<TrustFault>> {
        let roots = match &self.ca {
            Some(path) => open(path, files).map_err(TrustFault::Ca).and_then(|pem| Roots::from_pem(&pem, now)),
            None => Roots::system(),
        };
        let client = self.client.as_ref().map(|(certificate, key)| {
            let certificate = open(certificate, files).map_err(TrustFault::ClientCertificate)?;
            let key = match key {
                SecretSource::File(path) => open(path, files),
                SecretSource::Environment(_) => key.read().map(|secret| Zeroizing::new(secret.expose().to_vec())),
            };
            ClientIdentity::from_pem(&certificate, &key.map_err(TrustFault::ClientKey)?, now)
        });
        match (roots, client.transpose()) {
            (Ok(roots), Ok(client)) => Ok(Parts { roots, client }),
            (roots, client) => Err(roots.err().into_iter().chain(client.err()).collect()),
        }
    }
}

fn tell_left_out(trust: &Trust) {
    let left_out = trust.left_out();
    if left_out > 0 {
        tracing::warn!(left_out, "CA certificates for the upstream have ended or not begun, and are not believed");
    }
}

fn open(path: &Path, files: &mut Vec<FollowedFile>) -> Result<Zeroizing<Vec<u8>>, String> {
    let (file, content) = FollowedFile::open(path, MAX_FILE).map_err(|fault| format!("{}: {fault}", path.display()))?;
    files.push(file);
    Ok(content)
}
