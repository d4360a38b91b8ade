//! Where allowed calls go: endpoints, the addresses that they resolve to, and mutual TLS to them.

mod address;
mod direct;
mod endpoint;
mod pin;
#[cfg(test)]
mod testing;
mod trust;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::prelude::HttpPeer;
use pingora::protocols::TcpKeepalive;

pub use address::is_private;
pub use direct::{ConnectTimeouts, Direct, DirectFault, Handshake, TlsFault, TlsHandshake};
pub use endpoint::Endpoint;
pub use pin::{NoPin, Pin, PinFault, PinGate};
pub use trust::{Trust, TrustFault, TrustSources, TrustStore};

use crate::config::UpstreamConfig;
use crate::denial::Denial;

/// The upstream: its addresses, renewed beside the requests, and how to connect to them.
pub struct Upstream {
    endpoints: Vec<Endpoint>,
    private_only: bool,
    addresses: ArcSwap<Addresses>,
    turn: AtomicUsize,
    server_name: String,
    template: PeerTemplate,
}

/// What the last resolution gave.
struct Addresses {
    usable: Vec<SocketAddr>,
    /// Why there is none, when there is none.
    fault: String,
}

struct PeerTemplate {
    /// `None` is plain text.
    trust: Option<Arc<TrustStore>>,
    connect_timeout: Duration,
    read_timeout: Duration,
}

/// How long an answer of the resolver is used.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// Network load balancers forget idle flows after 350 s: stay well below, for idle connections and for silent ones.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const KEEPALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(60),
    interval: Duration::from_secs(60),
    count: 5,
    user_timeout: Duration::from_secs(0),
};

impl Upstream {
    /// An upstream of this configuration; it has no address before [`Upstream::resolve`], but those that are written out.
    pub fn new(config: &UpstreamConfig) -> Self {
        let literal = config.endpoints.iter().filter_map(Endpoint::literal).collect();
        let upstream = Self {
            endpoints: config.endpoints.clone(),
            private_only: config.private_only,
            addresses: ArcSwap::from_pointee(Addresses { usable: Vec::new(), fault: "not resolved yet".to_owned() }),
            turn: AtomicUsize::new(0),
            server_name: config.trust.server_name.clone(),
            template: PeerTemplate {
                trust: config.trust.tls.clone(),
                connect_timeout: config.connect_timeout,
                read_timeout: config.read_timeout,
            },
        };
        upstream.take_over(literal, Vec::new());
        upstream
    }

    /// Resolves every endpoint once. What does not resolve is logged, and other endpoints serve.
    pub async fn resolve(&self) {
        let mut found = Vec::new();
        let mut faults = Vec::new();
        for endpoint in &self.endpoints {
            match endpoint.resolve().await {
                Ok(addresses) => found.extend(addresses),
                Err(error) => faults.push(format!("{endpoint}: {error}")),
            }
        }
        self.take_over(found, faults);
    }

    /// Resolves again and again, for as long as the future is polled.
    pub async fn keep_resolving(&self) {
        if self.endpoints.iter().all(|endpoint| endpoint.literal().is_some()) {
            return std::future::pending().await;
        }
        loop {
            self.resolve().await;
            tokio::time::sleep(RESOLVE_EVERY).await;
        }
    }

    /// Takes over what was resolved, without the addresses that may not be used. When nothing was resolved at all, the
    /// last addresses are better than none; an answer with only public ones is no such failure.
    fn take_over(&self, found: Vec<SocketAddr>, mut faults: Vec<String>) {
        let resolved = !found.is_empty();
        let (mut usable, public): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|address| !self.private_only || is_private(address.ip()));
        faults.extend(public.iter().map(|address| format!("{address} is public")));
        usable.sort_unstable();
        usable.dedup();
        if !faults.is_empty() {
            tracing::warn!(faults = faults.join(", "), usable = usable.len(), "some upstream endpoints cannot be used");
        }
        if resolved || !self.is_ready() {
            self.addresses.store(Arc::new(Addresses { usable, fault: faults.join(", ") }));
        }
    }

    /// Whether there is an address to connect to.
    pub fn is_ready(&self) -> bool {
        !self.addresses.load().usable.is_empty()
    }

    /// How many addresses there are to try.
    pub fn addresses(&self) -> usize {
        self.addresses.load().usable.len()
    }

    /// The next peer in turn.
    ///
    /// # Errors
    /// [`Denial::UpstreamAddress`] when no endpoint has an address that may be used.
    pub fn next_peer(&self) -> Result<HttpPeer, Denial> {
        let addresses = self.addresses.load();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let address = turn.checked_rem(addresses.usable.len()).and_then(|turn| addresses.usable.get(turn));
        let Some(address) = address else {
            return Err(Denial::UpstreamAddress(addresses.fault.clone()));
        };
        Ok(self.template.peer(*address, &self.server_name))
    }

    /// The `Host` that requests carry.
    pub fn host(&self, address: &str) -> String {
        if self.server_name.is_empty() { address.to_owned() } else { self.server_name.clone() }
    }
}

impl PeerTemplate {
    fn peer(&self, address: SocketAddr, server_name: &str) -> HttpPeer {
        let mut peer = HttpPeer::new(address, self.trust.is_some(), server_name.to_owned());
        if let Some(trust) = self.trust.as_ref().map(|store| store.current()) {
            peer.client_cert_key = trust.client();
            peer.options.ca = trust.ca();
            peer.group_key = trust.generation();
        }
        peer.options.connection_timeout = Some(self.connect_timeout);
        peer.options.total_connection_timeout = Some(self.connect_timeout);
        peer.options.read_timeout = Some(self.read_timeout);
        peer.options.write_timeout = Some(self.read_timeout);
        peer.options.idle_timeout = Some(IDLE_TIMEOUT);
        peer.options.tcp_keepalive = Some(KEEPALIVE);
        peer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrustConfig;

    fn upstream(private_only: bool) -> Upstream {
        Upstream::new(&UpstreamConfig {
            endpoints: vec!["api.internal:443".parse().unwrap()],
            trust: TrustConfig { server_name: "api.anthropic.com".to_owned(), tls: None },
            private_only,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(600),
            keys: Vec::new(),
        })
    }

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn a_name_that_turns_public_is_not_tried() {
        let upstream = upstream(true);
        upstream.take_over(addresses(&["10.0.0.1:443", "10.0.0.2:443"]), Vec::new());
        assert_eq!(upstream.addresses(), 2);
        upstream.take_over(addresses(&["192.0.2.1:443"]), Vec::new());
        let Err(Denial::UpstreamAddress(fault)) = upstream.next_peer() else { panic!("a peer") };
        assert_eq!(fault, "192.0.2.1:443 is public");
        upstream.take_over(addresses(&["192.0.2.1:443", "10.0.0.3:443"]), Vec::new());
        assert_eq!(upstream.next_peer().unwrap()._address.to_string(), "10.0.0.3:443");
    }

    #[test]
    fn a_resolver_that_fails_leaves_the_last_addresses() {
        let upstream = upstream(false);
        assert!(upstream.next_peer().is_err());
        upstream.take_over(addresses(&["192.0.2.1:443"]), Vec::new());
        upstream.take_over(Vec::new(), vec!["api.internal:443: no answer".to_owned()]);
        assert_eq!(upstream.next_peer().unwrap()._address.to_string(), "192.0.2.1:443");
    }

    #[test]
    fn peers_take_turns() {
        let upstream = upstream(true);
        upstream.take_over(addresses(&["10.0.0.2:443", "10.0.0.1:443", "10.0.0.2:443"]), Vec::new());
        let turns: Vec<_> = (0..4).map(|_| upstream.next_peer().unwrap()._address.to_string()).collect();
        assert_eq!(turns[..2], turns[2..]);
        assert_ne!(turns[0], turns[1]);
    }
}
