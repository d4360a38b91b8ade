//! An authority, and upstreams that it has certified, for tests of this room.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::direct::{ConnectTimeouts, Direct};
use super::pin::Pin;
use super::trust::{TrustSources, TrustStore};
use crate::config::pem;
use crate::credential::SecretSource;

/// The name that upstreams are asked for.
pub(super) const NAME: &str = "api.anthropic.com";
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(super) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        Self::valid(-30, 300)
    }

    /// Valid from and to these days, counted from today.
    pub(super) fn valid(from: i64, to: i64) -> Self {
        Self::named(&uuid::Uuid::new_v4().to_string(), from, to)
    }

    /// The same with this name: with another key than a namesake's.
    pub(super) fn named(name: &str, from: i64, to: i64) -> Self {
        let mut params = params(&[], from, to);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `name` with a key.
    pub(super) fn leaf(&self, name: &str) -> Leaf {
        self.leaf_of(name, KeyPair::generate().unwrap(), -1, 60)
    }

    /// The same of this key, valid from and to these days.
    pub(super) fn leaf_of(&self, name: &str, key: KeyPair, from: i64, to: i64) -> Leaf {
        Leaf { pem: params(&[name], from, to).signed_by(&key, &self.0).unwrap().pem(), key }
    }

    /// What an upstream of these versions is set up with that asks for a client certificate of this authority.
    pub(super) fn asking(&self, leaf: &Leaf, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(pem::certificates(self.pem().as_bytes()).unwrap().remove(0)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        server(leaf, versions, Some(verifier))
    }
}

fn params(names: &[&str], from: i64, to: i64) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    let now = time::OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now + time::Duration::days(from), now + time::Duration::days(to));
    params
}

pub(super) struct Leaf {
    pub(super) pem: String,
    pub(super) key: KeyPair,
}

impl Leaf {
    pub(super) fn der(&self) -> rustls_pki_types::CertificateDer<'static> {
        pem::certificates(self.pem.as_bytes()).unwrap().remove(0)
    }

    pub(super) fn pin(&self) -> Pin {
        Pin::of(&self.der()).unwrap()
    }

    /// What an upstream is set up with that asks for no client certificate.
    pub(super) fn open(&self) -> ServerConfig {
        server(self, rustls::ALL_VERSIONS, None)
    }
}

fn server(
    leaf: &Leaf,
    versions: &[&'static SupportedProtocolVersion],
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let key = pem::private_key(leaf.key.serialize_pem().as_bytes()).unwrap();
    builder.with_single_cert(vec![leaf.der()], key).unwrap()
}

/// A listening upstream, which answers the first request of each connection and ends it.
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Listening {
    pub(super) async fn tls(config: ServerConfig) -> Self {
        Self::start(Some(config), ANSWER.to_vec()).await
    }

    pub(super) async fn start(config: Option<ServerConfig>, answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let acceptor = config.map(|config| TlsAcceptor::from(Arc::new(config)));
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                tokio::spawn(async move {
                    match acceptor {
                        Some(acceptor) => {
                            if let Ok(tls) = acceptor.accept(tcp).await {
                                serve(tls, &answer).await;
                            }
                        }
                        None => serve(tcp, &answer).await,
                    }
                });
            }
        });
        Self { address, connections, task }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An echo of the head follows where the answer asks for it by `{head}`.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8]) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let answer = if answer == b"{head}" {
        [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", head.len()).as_bytes(), &head].concat()
    } else {
        answer.to_vec()
    };
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}

/// A folder with the files of a set of trust.
pub(super) struct Files(tempfile::TempDir);

impl Files {
    pub(super) fn new(authority: &Authority, client: Option<&Leaf>) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("ca.pem", &authority.pem());
        if let Some(client) = client {
            files.write("client.pem", &client.pem);
            files.write("client.key", &client.key.serialize_pem());
        }
        files
    }

    pub(super) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.0.path().join(name), content).unwrap();
    }

    pub(super) fn sources(&self, pins: &[Pin]) -> TrustSources {
        let path = |name| Some(self.0.path().join(name)).filter(|path| path.exists());
        let client = path("client.pem").zip(path("client.key").map(SecretSource::File));
        TrustSources { ca: path("ca.pem"), client, pins: pins.into() }
    }

    pub(super) fn store(&self, pins: &[Pin]) -> Arc<TrustStore> {
        let name = ServerName::try_from(NAME).unwrap();
        Arc::new(
            TrustStore::open(name, self.sources(pins), SystemTime::now())
                .map_err(|faults| format!("{faults:?}"))
                .unwrap(),
        )
    }

    pub(super) fn direct(&self, pins: &[Pin]) -> Direct {
        Direct::new(Some(self.store(pins)), NAME, TIMEOUTS)
    }
}

pub(super) const TIMEOUTS: ConnectTimeouts =
    ConnectTimeouts { tcp: Duration::from_secs(5), tls: Duration::from_secs(5) };
