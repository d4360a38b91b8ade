//! The PROXY protocol, for balancers that pass TCP on: they say in a header before everything else, TLS included, whose
//! connection it is.
//!
//! Pingora calls back before a TLS handshake and nowhere else, so that on a plain listener the header is read by an
//! application that stands before the proxy's own. Either way the address is put where Pingora keeps the peer's, and
//! everything after believes it to be the connection's.

pub mod parse;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;
use pingora::apps::ServerApp;
use pingora::listeners::PreTlsProcess;
use pingora::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream, UniqueID};
use pingora::server::ShutdownWatch;
use pingora::{Error, ErrorType};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use parse::{HeaderFault, Origin, Progress};

/// Time for the header to come: a balancer sends it at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads the header of connections on a listener that demands one. A connection without a header, and one from anybody but
/// the trusted proxies, is closed.
#[derive(Debug, Clone)]
pub struct ProxyProtocol {
    trusted: Arc<[IpNet]>,
}

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
enum Closed {
    #[error("its peer is no trusted proxy")]
    Untrusted,
    #[error(transparent)]
    Header(#[from] HeaderFault),
    #[error("no whole PROXY header came in time")]
    Late,
    #[error("it ended within the PROXY header")]
    Ended,
}

impl ProxyProtocol {
    /// Believes headers of these peers alone.
    pub fn new(trusted: &[IpNet]) -> Self {
        Self { trusted: trusted.into() }
    }

    /// Takes the header off the stream, and puts the client's address where the peer's was.
    async fn take<S>(&self, stream: &mut S) -> Result<(), Closed>
    where
        S: AsyncRead + GetSocketDigest + UniqueID + Unpin + ?Sized,
    {
        let socket = stream.get_socket_digest();
        let peer = socket.as_ref().and_then(|socket| socket.peer_addr()).and_then(PeerAddr::as_inet);
        if !peer.is_some_and(|peer| self.trusts(peer.ip())) {
            return Err(Closed::Untrusted);
        }
        match timeout(PATIENCE, read(stream)).await.map_err(|_| Closed::Late)?? {
            Origin::Peer => {}
            Origin::Client(client) => {
                let digest = SocketDigest::from_raw_fd(stream.id());
                // A cell that is new takes its first value.
                let _ = digest.peer_addr.set(Some(client.into()));
                stream.set_socket_digest(digest);
            }
        }
        Ok(())
    }

    fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }
}

/// Reads the header and not one byte more: what follows is the client's.
async fn read<S: AsyncRead + Unpin + ?Sized>(stream: &mut S) -> Result<Origin, Closed> {
    let mut header = Vec::new(); // grows to the bound of the parser at the most
    let mut more = 0;
    loop {
        let have = header.len();
        header.resize(have + more, 0);
        stream.read_exact(header.get_mut(have..).unwrap_or_default()).await.map_err(|_| Closed::Ended)?;
        match parse::parse(&header)? {
            Progress::Needs(bytes) => more = bytes,
            Progress::Done(origin) => return Ok(origin),
        }
    }
}

/// On a TLS listener. Pingora closes the connection and logs why.
#[async_trait]
impl PreTlsProcess for ProxyProtocol {
    async fn process(&self, stream: &mut L4Stream) -> pingora::Result<()> {
        self.take(stream).await.map_err(|closed| Error::because(ErrorType::AcceptError, "PROXY protocol", closed))
    }
}

/// An application whose plain connections begin with a header, where that is demanded.
pub struct Announced<A> {
    app: Arc<A>,
    header: Option<ProxyProtocol>,
}

impl<A> Announced<A> {
    /// The application `app`; with `header`, every connection without TLS must begin with one.
    pub fn new(app: A, header: Option<ProxyProtocol>) -> Self {
        Self { app: Arc::new(app), header }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Announced<A> {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        // Under TLS the header came before the handshake.
        if let (Some(header), None) = (&self.header, stream.get_ssl_digest())
            && let Err(closed) = header.take(stream.as_mut()).await
        {
            tracing::warn!(reason = %closed, "closed a connection");
            return None;
        }
        self.app.process_new(stream, shutdown).await
    }

    async fn cleanup(&self) {
        self.app.cleanup().await;
    }
}
