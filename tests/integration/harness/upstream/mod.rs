//! An upstream of the tests' own: an HTTPS server in this process that demands client certificates. Its trust, its own
//! certificate, the keys that it accepts and what it answers can all be changed while it runs.

mod answer;
mod black_hole;
mod tests;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Version};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::authority::{Authority, Certified, roots};
pub use black_hole::BlackHole;

/// A running upstream. It stops when dropped.
pub struct TestUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Mutex<Option<Listening>>,
}

/// What the upstream speaks.
pub enum Transport {
    Plain,
    /// TLS with this certificate, to clients of these authorities.
    Tls(Certified, RootCertStore),
}

/// One request, as it came.
#[derive(Debug, Clone)]
pub struct Logged {
    pub method: String,
    /// With its query.
    pub path: String,
    pub headers: HeaderMap,
    /// Of `x-api-key`, or the bearer token.
    pub key: Option<String>,
    pub version: Version,
    /// The serial of the client's certificate.
    pub client: Option<u64>,
    /// Counts from 1 in the order of their coming.
    pub connection: u64,
    pub body: Bytes,
}

/// How calls with one key are answered.
#[derive(Debug, Clone)]
struct KeyAnswer {
    status: u16,
    headers: Vec<(String, String)>,
    /// When the key is refused from.
    ends: Option<Instant>,
}

/// How `POST /v1/oauth/token` is answered.
#[derive(Debug, Clone, Copy)]
pub enum TokenAnswer {
    /// With a token that no other answer has, taken for so many seconds.
    Fresh(u64),
    /// With an error of this status.
    Refused(u16),
}

struct Settings {
    certificate: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    clients: RootCertStore,
    protocols: &'static [&'static [u8]],
    tls: Option<Arc<ServerConfig>>,
    /// `None`: any key will do.
    keys: Option<BTreeMap<String, KeyAnswer>>,
    token: TokenAnswer,
    tokens: u64,
}

struct Shared {
    settings: Mutex<Settings>,
    log: Mutex<Vec<Logged>>,
    connections: AtomicU64,
    /// How many events of each stream may be sent; without one, other answers wait too.
    allowed: watch::Sender<usize>,
}

struct Listening {
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// The runtime of all upstreams: those of tests end with their test.
pub(super) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
}

impl TestUpstream {
    /// Starts one on a free port of 127.0.0.1.
    pub fn start(transport: Transport) -> Self {
        Self::on(listener(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap(), transport)
    }

    /// Starts one there.
    pub fn at(address: SocketAddr, transport: Transport) -> Self {
        Self::on(listener(address).unwrap(), transport)
    }

    /// Starts as many as `transports` on 127.0.0.1, 127.0.0.2 and so on, all on one port.
    pub fn group(transports: Vec<Transport>) -> Vec<Self> {
        let listeners = (0..100).find_map(|_| {
            let first = listener(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
            let port = first.local_addr().unwrap().port();
            let others = (2..=transports.len())
                .map(|host| listener(SocketAddr::from(([127, 0, 0, u8::try_from(host).unwrap()], port))).ok());
            std::iter::once(Some(first)).chain(others).collect::<Option<Vec<_>>>()
        });
        listeners
            .unwrap()
            .into_iter()
            .zip(transports)
            .map(|(listener, transport)| Self::on(listener, transport))
            .collect()
    }

    fn on(listener: TcpListener, transport: Transport) -> Self {
        let (certificate, clients) = match transport {
            Transport::Plain => (None, RootCertStore::empty()),
            Transport::Tls(certificate, clients) => (Some((certificate.der(), certificate.key_der())), clients),
        };
        let mut settings = Settings {
            certificate,
            clients,
            protocols: &[b"h2", b"http/1.1"],
            tls: None,
            keys: None,
            token: TokenAnswer::Fresh(600),
            tokens: 0,
        };
        settings.renew_tls();
        let shared = Arc::new(Shared {
            settings: Mutex::new(settings),
            log: Mutex::default(),
            connections: AtomicU64::new(0),
            allowed: watch::Sender::new(usize::MAX),
        });
        let address = listener.local_addr().unwrap();
        let listening = Mutex::new(Some(shared.listen(listener)));
        Self { address, shared, listening }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts clients of these authorities, on connections to come.
    pub fn trust(&self, authorities: &[&Authority]) {
        let mut settings = self.shared.settings.lock().unwrap();
        settings.clients = roots(authorities);
        settings.renew_tls();
    }

    /// Has this certificate, on connections to come.
    pub fn present(&self, certificate: &Certified) {
        let mut settings = self.shared.settings.lock().unwrap();
        settings.certificate = Some((certificate.der(), certificate.key_der()));
        settings.renew_tls();
    }

    /// Speaks nothing but HTTP/1.1 on TLS connections to come.
    pub fn speak_http1(&self) {
        let mut settings = self.shared.settings.lock().unwrap();
        settings.protocols = &[b"http/1.1"];
        settings.renew_tls();
    }

    /// Accepts `key`, and from now on no key that was not named so. Its calls are answered with these headers and this
    /// status; with other than 200 the body is the API's error. Whatever the key, a request with
    /// `anthropic-test-status` gets the error of that status.
    pub fn accept(&self, key: &str, status: u16, headers: &[(&str, &str)]) {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut settings = self.shared.settings.lock().unwrap();
        settings.keys.get_or_insert_default().insert(key.to_owned(), KeyAnswer { status, headers, ends: None });
    }

    /// Refuses `key` from now on.
    pub fn refuse(&self, key: &str) {
        self.shared.settings.lock().unwrap().keys.get_or_insert_default().remove(key);
    }

    /// Answers the exchange of tokens so.
    pub fn answer_tokens(&self, answer: TokenAnswer) {
        self.shared.settings.lock().unwrap().token = answer;
    }

    /// Holds each stream once it has sent so many events; with 0, other answers are held as a whole.
    pub fn hold_after(&self, events: usize) {
        self.shared.allowed.send_replace(events);
    }

    /// Lets all go on that is held, and all to come.
    pub fn release(&self) {
        self.hold_after(usize::MAX);
    }

    /// Every request so far.
    pub fn log(&self) -> Vec<Logged> {
        self.shared.log.lock().unwrap().clone()
    }

    /// Waits until the log is as it should be.
    pub async fn until_log(&self, holds: impl Fn(&[Logged]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = self.log();
            if holds(&log) {
                return;
            }
            assert!(Instant::now() < deadline, "not the requests that were waited for: {log:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline
        }
    }

    /// How many connections were accepted, those included that never came to a request.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Waits until so many connections were accepted.
    pub async fn until_connections(&self, count: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.connections() < count {
            assert!(Instant::now() < deadline, "{} connections", self.connections());
            tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline
        }
    }

    /// Ends as a killed process does: every connection is reset, and new ones are refused once this returns.
    pub async fn stop(&self) {
        let listening = self.listening.lock().unwrap().take();
        if let Some(Listening { stop, accepting }) = listening {
            stop.send_replace(true);
            accepting.await.unwrap();
        }
    }

    /// Listens on the same address again.
    pub fn start_again(&self) {
        let listening = self.shared.listen(listener(self.address).unwrap());
        assert!(self.listening.lock().unwrap().replace(listening).is_none(), "it was not stopped");
    }
}

impl Drop for TestUpstream {
    fn drop(&mut self) {
        if let Some(listening) = self.listening.lock().unwrap().take() {
            listening.stop.send_replace(true);
        }
    }
}

impl Settings {
    fn renew_tls(&mut self) {
        self.tls = self.certificate.as_ref().map(|(certificate, key)| {
            server_config(certificate.clone(), key.clone_key(), self.clients.clone(), self.protocols)
        });
    }
}

/// TLS with a certificate, to clients of `clients` alone.
pub fn server_config(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    clients: RootCertStore,
    protocols: &[&[u8]],
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(clients), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_client_cert_verifier(verifier).with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// A listener of the upstreams' runtime.
pub(super) fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let _entered = runtime().enter();
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?; // connections that were closed a moment ago still hold the port
    socket.bind(address)?;
    socket.listen(1024)
}

impl Shared {
    fn listen(self: &Arc<Self>, listener: TcpListener) -> Listening {
        let (stop, mut stopped) = watch::channel(false);
        let shared = Arc::clone(self);
        let accepting = runtime().spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                        let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
                        connections.spawn(Arc::clone(&shared).keep(stream, number, stopped.clone()));
                    },
                    Some(_) = connections.join_next() => {}
                    () = end(&mut stopped) => break,
                }
            }
            drop(listener);
            while connections.join_next().await.is_some() {}
        });
        Listening { stop, accepting }
    }

    /// Serves a connection to its end, or resets it when the upstream is stopped.
    async fn keep(self: Arc<Self>, stream: TcpStream, number: u64, mut stopped: watch::Receiver<bool>) {
        let stream = stream.into_std().unwrap();
        // The second handle outlives the first, so that it is the one whose closing resets.
        let handle = TcpStream::from_std(stream.try_clone().unwrap()).unwrap();
        let stream = TcpStream::from_std(stream).unwrap();
        tokio::select! {
            () = self.serve(stream, number) => {}
            () = end(&mut stopped) => handle.set_zero_linger().unwrap(),
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, number: u64) {
        let tls = self.settings.lock().unwrap().tls.clone();
        let Some(tls) = tls else { return self.serve_http(stream, number, None).await };
        let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
        let client = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(serial);
        self.serve_http(stream, number, client).await;
    }

    async fn serve_http(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        number: u64,
        client: Option<u64>,
    ) {
        let service = service_fn(move |request| Arc::clone(&self).answer(request, number, client));
        // A client that leaves in the middle is its own matter.
        let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    }
}

/// Waits until the upstream is stopped.
async fn end(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await; // whoever lets go of the sender has stopped it
}

/// The serial of a certificate that an [`Authority`] made.
fn serial(certificate: &CertificateDer<'_>) -> u64 {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).unwrap();
    certificate.raw_serial().iter().fold(0, |serial, byte| serial << 8 | u64::from(*byte))
}
