//! Where allowed calls go: endpoints, the addresses that they resolve to, and mutual TLS to them.

mod address;
mod budget;
mod check;
mod endpoint;
mod headers;
mod health;
mod peer;
mod pool;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::prelude::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};

pub use address::is_private;
pub use budget::RetryBudget;
pub use check::keep_checking;
pub use endpoint::Endpoint;
pub use headers::OwnHeaders;
pub use health::{Cause, HealthRules, Report};
pub use peer::{ConnectTimeouts, Patience, PeerIdentity, PeerTemplate};
pub use pool::{AddressState, Lease, Placed, Pool};

use crate::config::UpstreamConfig;
use crate::denial::Denial;

/// The upstream: its addresses, renewed beside the requests, and how to connect to them.
pub struct Upstream {
    endpoints: Vec<Endpoint>,
    private_only: bool,
    addresses: ArcSwap<Addresses>,
    turn: AtomicUsize,
    template: PeerTemplate,
    identity: PeerIdentity,
    headers: OwnHeaders,
}

/// What the last resolution gave.
struct Addresses {
    usable: Vec<SocketAddr>,
    /// Why there is none, when there is none.
    fault: String,
}

/// How long an answer of the resolver is used.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
impl Upstream {
    /// An upstream of this configuration; it has no address before [`Upstream::resolve`], but those that are written out.
    pub fn new(config: &UpstreamConfig) -> Self {
        let client = config
            .client
            .as_ref()
            .map(|client| Arc::new(CertKey::new(client.chain.clone(), client.key.expose().to_vec())));
        let roots: Vec<_> =
            config.ca.iter().map(|certificate| WrappedX509::new(certificate.clone(), parse_x509)).collect();
        let literal = config.endpoints.iter().filter_map(Endpoint::literal).collect();
        let upstream = Self {
            endpoints: config.endpoints.clone(),
            private_only: config.private_only,
            addresses: ArcSwap::from_pointee(Addresses { usable: Vec::new(), fault: "not resolved yet".to_owned() }),
            turn: AtomicUsize::new(0),
            template: PeerTemplate {
                tls: config.tls,
                server_name: config.server_name.clone(),
                http2: config.http2,
                connect: config.connect,
                patience: config.patience,
                idle_timeout: config.idle_timeout,
            },
            identity: PeerIdentity { client, roots: (!roots.is_empty()).then(|| roots.into()), generation: 0 },
            headers: config.headers.clone(),
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
        Ok(self.template.peer(*address, &self.identity))
    }

    /// How long an answer may take.
    pub fn patience(&self) -> Patience {
        self.template.patience
    }

    /// What every call carries besides.
    pub fn headers(&self) -> &OwnHeaders {
        &self.headers
    }

    /// The `Host` that requests carry.
    pub fn host(&self, address: &str) -> String {
        let name = &self.template.server_name;
        if name.is_empty() { address.to_owned() } else { name.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(private_only: bool) -> Upstream {
        Upstream::new(&UpstreamConfig {
            endpoints: vec!["api.internal:443".parse().unwrap()],
            server_name: "api.anthropic.com".to_owned(),
            ca: Vec::new(),
            client: None,
            tls: true,
            private_only,
            http2: false,
            connect: ConnectTimeouts { tcp: Duration::from_secs(1), tls: Duration::from_secs(1) },
            patience: Patience { first_byte: Duration::from_secs(1), silence: Duration::from_secs(1), total: None },
            idle_timeout: Duration::from_secs(1),
            idle_connections: 128,
            headers: OwnHeaders::default(),
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
