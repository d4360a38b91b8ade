//! Pingora glue: one file per phase of a request. Every phase is a few lines that call one room and decide nothing.

mod admission;
mod answer;
mod body;
mod client_certificate;
mod context;
mod corridor;
mod entrance;
mod failure;
mod listen;
mod listening;
mod metering;
mod observe;
mod overdue;
mod own_time;
mod proxy;
mod proxy_protocol;
mod receipt;
mod record;
mod replay;
mod request;
mod response;
mod retry;
mod revoked;
mod stopping;
mod trace;
mod whoami;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;

pub use context::RequestCtx;
pub use corridor::{Corridor, Passage};
pub use entrance::{Entrance, PARTING};
pub use listen::{BoundSocket, SocketService};
pub use listening::Listening;
pub use proxy_protocol::{ProxyProtocol, parse as proxy_header};
pub use retry::MAX_ATTEMPTS;

use crate::anomaly::Signals;
use crate::audit::AuditLog;
use crate::containment::Containments;
use crate::credential::KeyRing;
use crate::identity::Issuers;
use crate::identity::binding::Binder;
use crate::identity::revocation::{Freshness, Revocations};
use crate::limit::{BodyMemory, Door, InFlight, Limits};
use crate::listener::ListenerTls;
use crate::policy::Policy;
use crate::telemetry::{Metrics, Tracer};
use crate::upstream::Upstream;

/// The gateway in force, which a reload replaces.
pub type Current = Arc<ArcSwap<Gateway>>;

/// The rooms that a request passes through, as one configuration has them. What outlives a configuration, such as counts, is
/// shared with the gateway that comes after.
pub struct Gateway {
    /// Whether connections begin with a PROXY header.
    pub header: Option<ProxyProtocol>,
    /// TLS to clients; `None` is plain text.
    pub tls: Option<Arc<ListenerTls>>,
    /// Who comes in at all.
    pub door: Arc<Door>,
    /// Who calls.
    pub issuers: Arc<Issuers>,
    /// Whose token is good no longer.
    pub revocations: Arc<Revocations>,
    /// How old the revocations of the store may be; `None` where their age is no matter.
    pub revocation_freshness: Option<Freshness>,
    /// Whom bound tokens belong to.
    pub binder: Arc<Binder>,
    /// Whether requests under way end when their caller is revoked.
    pub cut_streams: bool,
    /// What they may do.
    pub policy: Policy,
    /// How much.
    pub limits: Arc<Limits>,
    /// Where it goes.
    pub upstream: Arc<Upstream>,
    /// As whom.
    pub keys: Arc<KeyRing>,
    /// What is written down.
    pub audit: AuditLog,
    /// What is said.
    pub listening: Listening,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is traced; `None`: nothing is.
    pub tracer: Option<Arc<Tracer>>,
    /// What is out of the ordinary.
    pub signals: Option<Arc<Signals>>,
    /// What follows it.
    pub containments: Arc<Containments>,
    /// Requests under way.
    pub in_flight: Arc<InFlight>,
    /// Memory for bodies.
    pub body_memory: Arc<BodyMemory>,
    /// Bounds on what one client may send.
    pub bounds: Bounds,
}

/// Bounds on what one client may send, and whom to believe about its address.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Bytes of one body that is judged.
    pub max_body: usize,
    /// Bytes of one upload that is streamed through.
    pub max_upload: usize,
    /// How long a client may be silent inside its body.
    pub body_timeout: Duration,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}
