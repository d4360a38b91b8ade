//! Where allowed calls go: endpoints, the addresses that they resolve to with their health, and mutual TLS to them.

mod address;
mod budget;
mod check;
mod direct;
mod discovery;
mod endpoint;
mod headers;
mod health;
mod peer;
mod pin;
mod pool;
mod resolver;
#[cfg(test)]
mod testing;
mod trust;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join3;
use http::{Method, Request, Response};
use pingora::prelude::HttpPeer;

pub use address::{AddressFault, Networks};
pub use budget::RetryBudget;
pub use check::keep_checking;
pub use direct::{ConnectTimeouts, Direct, DirectFault, Handshake, TlsFault, TlsHandshake, is_about_certificate};
pub use discovery::{Discovery, EndpointState, Found};
pub use endpoint::Endpoint;
pub use headers::OwnHeaders;
pub use health::{Cause, HealthRules, Report};
pub use peer::{Patience, PeerTemplate};
pub use pin::{NoPin, Pin, PinFault, PinGate};
pub use pool::{AddressState, Lease, Placed, Pool};
pub use resolver::{Resolve, ResolveFault, Resolved, Resolver};
pub use trust::{Trust, TrustFault, TrustSources, TrustStore};

use self::direct::LAST_WORD;
use crate::config::{Check, HealthConfig, UpstreamConfig};
use crate::denial::Denial;

/// The upstream: its addresses, kept current and healthy beside the requests, and how to connect to them.
pub struct Upstream {
    discovery: Discovery,
    pool: Pool,
    health: HealthConfig,
    budget: RetryBudget,
    trust: Option<Arc<TrustStore>>,
    template: PeerTemplate,
    direct: Arc<Direct>,
    pins: PinGate,
    headers: OwnHeaders,
}

/// Bound on a request of our own, a token exchange being the longest.
const OWN_REQUEST: Duration = Duration::from_secs(30);
/// Addresses that a request of our own is tried at.
const OWN_ATTEMPTS: usize = 3;

impl Upstream {
    /// An upstream of this configuration; it has no address before [`Upstream::upkeep`], but those that are written out.
    pub fn new(config: &UpstreamConfig) -> Self {
        let resolver = match config.name_servers.as_slice() {
            [] => Resolver::system(),
            servers => Resolver::of(servers.to_vec()),
        };
        let discovery = Discovery::new(config.endpoints.clone(), config.networks.clone(), resolver);
        let pool = Pool::new(config.health.rules, config.health.check.is_some());
        pool.replace(&discovery.current().usable);
        let trust = config.trust.tls.clone();
        let direct = Arc::new(Direct::new(trust.clone(), &config.trust.server_name, config.connect));
        Self {
            discovery,
            pool,
            health: config.health.clone(),
            budget: RetryBudget::new(config.retry.share, config.retry.per_second),
            template: PeerTemplate::new(config),
            trust,
            pins: PinGate::new(Arc::clone(&direct)),
            direct,
            headers: config.headers.clone(),
        }
    }

    /// Keeps addresses, their health and certificates current, for as long as the future is polled.
    pub async fn upkeep(&self) {
        let found = self.discovery.run(|found| self.pool.replace(&found.usable));
        let trust = async {
            if let Some(trust) = &self.trust {
                Arc::clone(trust).follow().await;
            }
        };
        join3(found, trust, self.keep_checking()).await;
    }

    async fn keep_checking(&self) {
        let Some(check) = &self.health.check else { return };
        let bound = match check {
            // It ends with a wait for what need not come.
            Check::Connection => self.health.timeout + LAST_WORD,
            Check::Request(_) => self.health.timeout,
        };
        keep_checking(&self.pool, self.health.interval, |address| async move {
            let checked = tokio::time::timeout(bound, self.check(check, address));
            checked.await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
        })
        .await;
    }

    async fn check(&self, check: &Check, address: SocketAddr) -> Result<(), String> {
        match check {
            Check::Connection => self.direct.handshake(address).await.map(drop).map_err(|fault| fault.to_string()),
            Check::Request(path) => {
                let request = Request::builder().method(Method::GET).uri(path).body(Bytes::new());
                let request = request.map_err(|error| error.to_string())?;
                let answer = self.direct.send(address, request, self.health.timeout).await;
                match answer.map_err(|fault| fault.to_string())?.status() {
                    status if health::is_server_error(status.as_u16()) => Err(format!("status {}", status.as_u16())),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Sends a request of our own by the way of all calls, at another address where one cannot be connected to.
    ///
    /// # Errors
    /// Says what went wrong, without anything of request or answer.
    pub async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let mut tried = Vec::new();
        loop {
            let lease = self.pool.choose(&tried, Instant::now()).ok_or_else(|| self.no_address().to_string())?;
            let answer = self.direct.send(lease.address(), request.clone(), OWN_REQUEST).await;
            let fault = match answer {
                Ok(response) => {
                    lease.report(Report::Answered(response.status().as_u16()), Instant::now());
                    return Ok(response);
                }
                Err(fault) => fault,
            };
            tried.push(lease.address());
            let unconnected = fault.is_of_connecting();
            lease.report(if unconnected { Report::ConnectFailed } else { Report::Broken }, Instant::now());
            if !unconnected || tried.len() >= OWN_ATTEMPTS.min(self.pool.len()) {
                return Err(fault.to_string());
            }
        }
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

    /// What TLS is set up with; `None` is plain text.
    pub fn trust(&self) -> Option<&TrustStore> {
        self.trust.as_deref()
    }

    /// Requests of our own.
    pub fn direct(&self) -> &Direct {
        &self.direct
    }

    /// The peer for an attempt of a request that has tried these addresses, and the use of its address.
    ///
    /// # Errors
    /// [`Denial::UpstreamAddress`] when no endpoint has an address that may be used.
    pub fn choose(&self, tried: &[SocketAddr]) -> Result<(HttpPeer, Lease), Denial> {
        let lease = self.pool.choose(tried, Instant::now()).ok_or_else(|| self.no_address())?;
        let trust = self.trust.as_ref().map(|trust| trust.current());
        Ok((self.template.peer(lease.address(), trust.as_deref()), lease))
    }

    fn no_address(&self) -> Denial {
        Denial::UpstreamAddress(self.discovery.current().faults.join(", "))
    }

    /// Whether the certificate with this digest, which a connection to `address` has shown, is pinned. Without pins every
    /// certificate is that has passed.
    ///
    /// # Errors
    /// [`Denial::UpstreamUnreachable`]: nothing has been sent.
    pub async fn admits(&self, address: SocketAddr, digest: &[u8]) -> Result<(), Denial> {
        self.pins.admits(address, digest).await.map_err(|fault| Denial::UpstreamUnreachable(fault.to_string()))
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
