//! Where allowed calls go: endpoints, the addresses that they resolve to with their health, and mutual TLS to them.

mod address;
mod budget;
mod check;
mod discovery;
mod endpoint;
mod headers;
mod health;
mod peer;
mod pool;
mod resolver;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use pingora::prelude::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};

pub use address::{AddressFault, Networks};
pub use budget::RetryBudget;
pub use check::keep_checking;
pub use discovery::{Discovery, EndpointState, Found};
pub use endpoint::Endpoint;
pub use headers::OwnHeaders;
pub use health::{Cause, HealthRules, Report};
pub use peer::{ConnectTimeouts, Patience, PeerIdentity, PeerTemplate};
pub use pool::{AddressState, Lease, Placed, Pool};
pub use resolver::{Resolve, ResolveFault, Resolved, Resolver};

use crate::config::UpstreamConfig;
use crate::denial::Denial;

/// The upstream: its addresses, kept current and healthy beside the requests, and how to connect to them.
pub struct Upstream {
    discovery: Discovery,
    pool: Pool,
    budget: RetryBudget,
    template: PeerTemplate,
    identity: PeerIdentity,
    headers: OwnHeaders,
}

impl Upstream {
    /// An upstream of this configuration; it has no address before [`Upstream::upkeep`], but those that are written out.
    pub fn new(config: &UpstreamConfig) -> Self {
        let client = config
            .client
            .as_ref()
            .map(|client| Arc::new(CertKey::new(client.chain.clone(), client.key.expose().to_vec())));
        let roots: Vec<_> =
            config.ca.iter().map(|certificate| WrappedX509::new(certificate.clone(), parse_x509)).collect();
        let resolver = match config.name_servers.as_slice() {
            [] => Resolver::system(),
            servers => Resolver::of(servers.to_vec()),
        };
        let discovery = Discovery::new(config.endpoints.clone(), config.networks.clone(), resolver);
        let pool = Pool::new(config.health.rules, config.health.check.is_some());
        pool.replace(&discovery.current().usable);
        Self {
            discovery,
            pool,
            budget: RetryBudget::new(config.retry.share, config.retry.per_second),
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
        }
    }

    /// Keeps addresses and their health current, for as long as the future is polled.
    pub async fn upkeep(&self) {
        self.discovery.run(|found| self.pool.replace(&found.usable)).await;
    }

    /// Whether there is an address to connect to.
    pub fn is_ready(&self) -> bool {
        !self.pool.is_empty()
    }

    /// The addresses, with their health.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The endpoints, with their addresses.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// What may be sent again.
    pub fn budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// The peer for an attempt of a request that has tried these addresses, and the use of its address.
    ///
    /// # Errors
    /// [`Denial::UpstreamAddress`] when no endpoint has an address that may be used.
    pub fn choose(&self, tried: &[SocketAddr]) -> Result<(HttpPeer, Lease), Denial> {
        let lease = self
            .pool
            .choose(tried, Instant::now())
            .ok_or_else(|| Denial::UpstreamAddress(self.discovery.current().faults.join(", ")))?;
        Ok((self.template.peer(lease.address(), &self.identity), lease))
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
    pub fn host(&self, address: SocketAddr) -> String {
        let name = &self.template.server_name;
        if name.is_empty() { address.to_string() } else { name.clone() }
    }
}
