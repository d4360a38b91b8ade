//! How Pingora connects to an address of the upstream.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::prelude::HttpPeer;
use pingora::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::{ALPN, TcpKeepalive};
use pingora::{Error, ErrorType, Result};
use tokio::net::TcpStream;

use super::Trust;
use crate::config::UpstreamConfig;

/// How long an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the connection to the head of the answer: all that a model thinks before it answers without a stream.
    pub first_byte: Duration,
    /// Between two pieces of the answer; pings count.
    pub silence: Duration,
    /// From the permit to the last byte.
    pub total: Option<Duration>,
}

/// What connections are like, whatever their address and identity.
#[derive(Debug, Clone)]
pub struct PeerTemplate {
    tls: bool,
    pub(super) server_name: String,
    /// Several requests share a connection, where the upstream agrees.
    http2: bool,
    connector: Arc<TcpConnector>,
    /// Bound on the TLS handshake.
    tls_timeout: Duration,
    pub(super) patience: Patience,
    idle_timeout: Duration,
}

/// Well below the 350 s after which network load balancers drop a silent flow.
const KEEPALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(60),
    interval: Duration::from_secs(60),
    count: 5,
    user_timeout: Duration::from_secs(0),
};
/// Requests that share one HTTP/2 connection: half of what servers allow by default.
const STREAMS: usize = 50;
/// A dead HTTP/2 connection is noticed by this, where TCP would take minutes.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Pingora's own bound on reads is only the backstop of the watch over an exchange.
const SLACK: Duration = Duration::from_secs(1);

impl PeerTemplate {
    /// The template of this configuration.
    pub fn new(config: &UpstreamConfig) -> Self {
        Self {
            tls: config.trust.tls.is_some(),
            server_name: config.trust.server_name.clone(),
            http2: config.http2,
            connector: Arc::new(TcpConnector { timeout: config.connect.tcp }),
            tls_timeout: config.connect.tls,
            patience: config.patience,
            idle_timeout: config.idle_timeout,
        }
    }

    /// The peer at `address`, with what TLS is set up with where it is.
    pub fn peer(&self, address: SocketAddr, trust: Option<&Trust>) -> HttpPeer {
        let mut peer = HttpPeer::new(address, self.tls, self.server_name.clone());
        if let Some(trust) = trust {
            peer.client_cert_key = trust.client();
            peer.options.ca = trust.ca();
            peer.group_key = trust.group_key();
        }
        let options = &mut peer.options;
        options.custom_l4 = Some(self.connector.clone());
        options.connection_timeout = Some(self.tls_timeout); // what is left for it is the handshake
        options.total_connection_timeout = Some(self.connector.timeout + self.tls_timeout);
        options.read_timeout = Some(self.patience.first_byte.max(self.patience.silence) + SLACK);
        options.write_timeout = Some(self.patience.silence);
        options.idle_timeout = Some(self.idle_timeout);
        options.tcp_keepalive = Some(KEEPALIVE);
        if self.http2 {
            options.alpn = ALPN::H2H1;
            options.max_h2_streams = STREAMS;
            options.h2_ping_interval = Some(PING_EVERY);
        }
        peer
    }
}

/// Connects with a bound of its own: Pingora has one for TCP and for TLS each, of the same length.
#[derive(Debug)]
struct TcpConnector {
    timeout: Duration,
}

#[async_trait]
impl L4Connect for TcpConnector {
    async fn connect(&self, address: &PingoraAddr) -> Result<Stream> {
        let Some(address) = address.as_inet() else {
            return Error::e_explain(ErrorType::InternalError, "an address that is none of IP");
        };
        match tokio::time::timeout(self.timeout, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => Ok(stream.into()),
            Ok(Err(error)) => Error::e_because(kind_of(&error), "connecting to the upstream", error),
            Err(_) => Error::e_explain(ErrorType::ConnectTimedout, "connecting to the upstream"),
        }
    }
}

fn kind_of(error: &io::Error) -> ErrorType {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ErrorType::ConnectNoRoute,
        // No local port, descriptor or memory is left.
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory => ErrorType::SocketError,
        _ if error.raw_os_error().is_some_and(|code| LOCAL_FAULTS.contains(&code)) => ErrorType::SocketError,
        _ => ErrorType::ConnectError,
    }
}

/// `ENFILE`, `EMFILE` and `ENOBUFS` of Linux (errno(3)), for which the standard library has no kinds.
const LOCAL_FAULTS: [i32; 3] = [23, 24, 105];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_host_lacks_is_told_from_what_the_address_lacks() {
        for (code, kind) in [
            (24, ErrorType::SocketError),  // EMFILE
            (99, ErrorType::SocketError),  // EADDRNOTAVAIL
            (105, ErrorType::SocketError), // ENOBUFS
            (111, ErrorType::ConnectRefused),
            (113, ErrorType::ConnectNoRoute),
            (104, ErrorType::ConnectError), // ECONNRESET
        ] {
            assert_eq!(kind_of(&io::Error::from_raw_os_error(code)), kind, "{code}");
        }
    }
}
