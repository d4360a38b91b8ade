//! `[upstream]`: where allowed calls go, as whom, and over which trust.

use std::fmt;
use std::time::Duration;

use super::reader::Section;
use super::trust::{self, TrustConfig};
use crate::credential::UpstreamKey;
use crate::upstream::{Endpoint, is_private};

/// Where allowed calls go.
pub struct UpstreamConfig {
    /// At least one name or address, each with a port.
    pub endpoints: Vec<Endpoint>,
    /// What connections are made with: TLS, or plain text to loopback only.
    pub trust: TrustConfig,
    /// Whether an endpoint that resolves to a public address is refused.
    pub private_only: bool,
    /// Bound on TCP and TLS set-up together.
    pub connect_timeout: Duration,
    /// Bound on the upstream's silence, before the first byte and between two.
    pub read_timeout: Duration,
    /// At least one; the first is used.
    pub keys: Vec<UpstreamKey>,
}

impl fmt::Debug for UpstreamConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamConfig")
            .field("endpoints", &self.endpoints)
            .field("server_name", &self.trust.server_name)
            .finish_non_exhaustive()
    }
}

pub(super) fn read(section: &Section<'_>) -> Option<UpstreamConfig> {
    section.required("endpoints");
    let endpoints = section.parsed_list::<Endpoint>("endpoints", "hosts with a port such as \"api.internal:443\"");
    if section.has("endpoints") && endpoints.is_empty() {
        section.fault("endpoints", "names nothing that can be reached", "list at least one host with its port");
    }
    let trust = trust::read(section);
    if trust.as_ref().is_some_and(|trust| trust.tls.is_none()) && !endpoints.iter().all(Endpoint::is_loopback) {
        section.fault("tls", "is off for an endpoint beyond this host", "plain text is for loopback addresses only");
    }
    let private_only = section.flag("private_only").unwrap_or(true);
    for address in endpoints.iter().filter_map(Endpoint::literal) {
        if private_only && !is_private(address.ip()) {
            section.fault(
                "endpoints",
                format!("{address} is public"),
                "name a private address, or set private_only = false",
            );
        }
    }
    let keys: Option<Vec<_>> = section.tables("key", super::upstream_key).into_iter().collect();
    if keys.as_ref().is_some_and(Vec::is_empty) {
        section.fault("key", "is missing", "add [[upstream.key]] with a name and a secret");
    }
    Some(UpstreamConfig {
        endpoints,
        trust: trust?,
        private_only,
        connect_timeout: section.duration("connect_timeout").unwrap_or(Duration::from_secs(5)),
        read_timeout: section.duration("read_timeout").unwrap_or(Duration::from_secs(600)),
        keys: keys?,
    })
}
