//! Listening sockets and their TLS.
//!
//! Sockets are bound before Pingora starts: a port that is taken is an error with a name instead of a panic, port 0 is
//! known at once, and whoever connects from then on waits in the kernel's queue instead of being turned away.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::listeners::tls::TlsSettings;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// A socket that listens, to be adopted by a Pingora service with the same address.
pub struct BoundSocket {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundSocket {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The system's, such as an address that is in use.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?; // Pingora adopts it as it is
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Hands bound sockets to Pingora. Services that listen on them must depend on this one.
pub struct SocketService(Vec<BoundSocket>);

impl SocketService {
    /// A service for these sockets.
    pub fn new(sockets: Vec<BoundSocket>) -> Self {
        Self(sockets)
    }
}

#[async_trait]
impl ServiceWithDependents for SocketService {
    async fn start_service(&mut self, fds: Option<ListenFds>, _: ShutdownWatch, _: usize, ready: ServiceReadyNotifier) {
        if let Some(fds) = fds {
            for socket in self.0.drain(..) {
                fds.lock().add(socket.address.to_string(), socket.listener.into_raw_fd());
            }
        }
        ready.notify_ready();
    }

    fn name(&self) -> &'static str {
        "listening sockets"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// TLS for a listener: HTTP/2 and HTTP/1.1, TLS 1.2 and 1.3, and client certificates where a verifier is given.
///
/// # Errors
/// Pingora's.
pub fn tls_settings(
    certificate: Arc<CertifiedKey>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> pingora::Result<TlsSettings> {
    let mut settings = TlsSettings::intermediate("", "")?;
    settings.set_cert_resolver(Arc::new(OneCertificate(certificate)));
    settings.enable_h2();
    if let Some(clients) = clients {
        settings.set_client_cert_verifier(clients);
    }
    Ok(settings)
}

/// The same certificate for every client.
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl fmt::Debug for OneCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneCertificate")
    }
}
