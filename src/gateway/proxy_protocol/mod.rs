//! The PROXY protocol, for balancers that pass TCP on: they say in a header before everything else, TLS included, whose
//! connection it is.
//!
//! The address is put where Pingora keeps the peer's, and everything after believes it to be the connection's.

pub mod parse;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use pingora::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora::protocols::{GetSocketDigest, SocketDigest, UniqueID};
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
pub(super) enum HeaderRefused {
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
    pub(super) async fn take<S>(&self, stream: &mut S) -> Result<(), HeaderRefused>
    where
        S: AsyncRead + GetSocketDigest + UniqueID + Unpin + ?Sized,
    {
        let socket = stream.get_socket_digest();
        let peer = socket.as_ref().and_then(|socket| socket.peer_addr()).and_then(PeerAddr::as_inet);
        if !peer.is_some_and(|peer| self.trusts(peer.ip())) {
            return Err(HeaderRefused::Untrusted);
        }
        match timeout(PATIENCE, read(stream)).await.map_err(|_| HeaderRefused::Late)?? {
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
async fn read<S: AsyncRead + Unpin + ?Sized>(stream: &mut S) -> Result<Origin, HeaderRefused> {
    let mut header = Vec::new(); // grows to the bound of the parser at the most
    let mut more = 0;
    loop {
        let have = header.len();
        header.resize(have + more, 0);
        stream.read_exact(header.get_mut(have..).unwrap_or_default()).await.map_err(|_| HeaderRefused::Ended)?;
        match parse::parse(&header)? {
            Progress::Needs(bytes) => more = bytes,
            Progress::Done(origin) => return Ok(origin),
        }
    }
}
