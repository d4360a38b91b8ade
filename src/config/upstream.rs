//! `[upstream]`: where allowed calls go, as whom, and over which trust.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::fingerprint::Fingerprint;
use super::health::{self, HealthConfig, RetryConfig};
use super::reader::Section;
use super::trust::{self, TrustConfig};
use crate::credential::NamedKey;
use crate::upstream::{ConnectTimeouts, Endpoint, Networks, OwnHeaders, Patience};

/// Where allowed calls go.
pub struct UpstreamConfig {
    /// What the section says, but for the keys. Files that it names are followed by themselves.
    pub fingerprint: Fingerprint,
    /// At least one name or address, each with a port and whether it is to be used first.
    pub endpoints: Vec<(Endpoint, bool)>,
    /// Who is asked for addresses; empty: whom the system asks.
    pub name_servers: Vec<SocketAddr>,
    /// When an address is thought ill of, and how that is found out.
    pub health: HealthConfig,
    /// How much is sent again.
    pub retry: RetryConfig,
    /// What connections are made with: TLS, or plain text to loopback only.
    pub trust: TrustConfig,
    /// Which addresses an endpoint may have or resolve to.
    pub networks: Networks,
    /// HTTP/2 where the upstream agrees.
    pub http2: bool,
    /// Bounds on setting a connection up.
    pub connect: ConnectTimeouts,
    /// Bounds on answers.
    pub patience: Patience,
    /// How long an idle connection is kept; below what network load balancers do.
    pub idle_timeout: Duration,
    /// How many idle connections are kept for each worker.
    pub idle_connections: usize,
    /// What every call carries besides.
    pub headers: OwnHeaders,
    /// At least one, each with another name.
    pub keys: Vec<NamedKey>,
}

impl fmt::Debug for UpstreamConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamConfig")
            .field("endpoints", &self.endpoints)
            .field("server_name", &self.trust.server_name)
            .finish_non_exhaustive()
    }
}

/// Reads the table; `grants` are the names that keys may list.
pub(super) fn read(section: &Section<'_>, grants: &[&str]) -> Option<UpstreamConfig> {
    section.required("endpoints");
    let endpoints = section.parsed_list::<Endpoint>("endpoints", "hosts with a port such as \"api.internal:443\"");
    if section.has("endpoints") && endpoints.is_empty() {
        section.fault("endpoints", "names nothing that can be reached", "list at least one host with its port");
    }
    let trust = trust::read(section);
    if trust.as_ref().is_some_and(|trust| trust.tls.is_none()) && !endpoints.iter().all(Endpoint::is_loopback) {
        section.fault("tls", "is off for an endpoint beyond this host", "plain text is for loopback addresses only");
    }
    let networks = Networks::new(
        section.flag("private_only").unwrap_or(true),
        section.parsed_list::<IpNet>("allow_networks", "networks such as \"10.0.0.0/8\""),
    );
    for address in endpoints.iter().filter_map(Endpoint::literal) {
        if let Err(fault) = networks.judge(address.ip()) {
            section.fault(
                "endpoints",
                format!("{address} {fault}"),
                "name an address that private_only and allow_networks admit",
            );
        }
    }
    let keys = super::key::read(section, grants);
    Some(UpstreamConfig {
        fingerprint: section.fingerprint_of_text(&["key"]),
        trust: trust?,
        endpoints: placed(section, endpoints),
        name_servers: section.parsed_list("name_servers", "addresses with a port such as \"10.0.0.2:53\""),
        health: health::read(section),
        retry: health::read_retry(section),
        networks,
        http2: section.flag("http2").unwrap_or(false),
        connect: ConnectTimeouts {
            tcp: section.nonzero_duration("connect_timeout").unwrap_or(Duration::from_secs(2)),
            tls: section.nonzero_duration("tls_timeout").unwrap_or(Duration::from_secs(3)),
        },
        patience: Patience {
            first_byte: section.nonzero_duration("first_byte_timeout").unwrap_or(Duration::from_secs(600)),
            silence: section.nonzero_duration("silence_timeout").unwrap_or(Duration::from_secs(300)),
            total: section.nonzero_duration("total_timeout"),
        },
        idle_timeout: idle_timeout(section),
        headers: headers(section),
        idle_connections: section.count("idle_connections").and_then(|count| count.try_into().ok()).unwrap_or(128),
        keys: keys?,
    })
}

/// The endpoints with whether `prefer` lists them.
fn placed(section: &Section<'_>, endpoints: Vec<Endpoint>) -> Vec<(Endpoint, bool)> {
    let preferred = section.parsed_list::<Endpoint>("prefer", "some of the endpoints, as they are written there");
    for stranger in preferred.iter().filter(|endpoint| !endpoints.contains(endpoint)) {
        section.fault("prefer", format!("names {stranger}, which is no endpoint"), "list it in endpoints too");
    }
    let place = |endpoint| {
        let first = preferred.contains(&endpoint);
        (endpoint, first)
    };
    endpoints.into_iter().map(place).collect()
}

fn headers(section: &Section<'_>) -> OwnHeaders {
    let mut headers = OwnHeaders::default();
    let mut add = |name: &str, value: &DeValue<'_>| value.as_str().and_then(|value| headers.add(name, value));
    section.members("headers", "a value for a header that calls may carry; credentials belong to keys", &mut add);
    headers
}

/// Network load balancers forget a flow that is idle for 350 s, and tell nobody.
fn idle_timeout(section: &Section<'_>) -> Duration {
    let timeout = section.duration("idle_timeout").unwrap_or(Duration::from_secs(300));
    if timeout > Duration::from_secs(340) {
        section.fault(
            "idle_timeout",
            "is too long",
            "stay below the 350 s after which network load balancers drop an idle flow",
        );
    }
    timeout
}
