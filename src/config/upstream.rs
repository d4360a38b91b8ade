//! `[upstream]`: where allowed calls go, as whom, and over which trust.

use std::fmt;
use std::time::Duration;

use rustls_pki_types::ServerName;

use super::pem;
use super::reader::Section;
use crate::credential::{NamedKey, Secret};
use crate::upstream::{Endpoint, is_private};

/// Where allowed calls go.
pub struct UpstreamConfig {
    /// At least one name or address, each with a port.
    pub endpoints: Vec<Endpoint>,
    /// SNI, and the name that the upstream's certificate must bear.
    pub server_name: String,
    /// Certificates (DER) that the upstream's chain must end in; empty means the system's roots.
    pub ca: Vec<Vec<u8>>,
    /// Who we are to the upstream.
    pub client: Option<ClientIdentity>,
    /// Plain text when false: to loopback only.
    pub tls: bool,
    /// Whether an endpoint that resolves to a public address is refused.
    pub private_only: bool,
    /// Bound on TCP and TLS set-up together.
    pub connect_timeout: Duration,
    /// Bound on the upstream's silence, before the first byte and between two.
    pub read_timeout: Duration,
    /// At least one, each with another name.
    pub keys: Vec<NamedKey>,
}

/// A client certificate chain (DER, leaf first) and its private key (DER).
pub struct ClientIdentity {
    /// The chain, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// The key in PKCS#1, PKCS#8 or SEC1.
    pub key: Secret,
}

impl fmt::Debug for UpstreamConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamConfig")
            .field("endpoints", &self.endpoints)
            .field("server_name", &self.server_name)
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
    let tls = section.flag("tls").unwrap_or(true);
    if !tls && !endpoints.iter().all(Endpoint::is_loopback) {
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
    let ca = section.file("ca").and_then(|pem| section.usable("ca", pem::authorities(&pem)));
    let client = client(section);
    let keys = super::key::read(section, grants);
    Some(UpstreamConfig {
        server_name: server_name(section, tls)?,
        endpoints,
        ca: ca.unwrap_or_default().iter().map(|certificate| certificate.to_vec()).collect(),
        client,
        tls,
        private_only,
        connect_timeout: section.duration("connect_timeout").unwrap_or(Duration::from_secs(5)),
        read_timeout: section.duration("read_timeout").unwrap_or(Duration::from_secs(600)),
        keys: keys?,
    })
}

fn server_name(section: &Section<'_>, tls: bool) -> Option<String> {
    if !tls {
        return Some(section.text("server_name").unwrap_or_default());
    }
    let name = section.required_text("server_name")?;
    let valid = ServerName::try_from(name.as_str()).map(|_| ()).map_err(|_| "is not a host name".to_owned());
    section.usable("server_name", valid)?;
    Some(name)
}

fn client(section: &Section<'_>) -> Option<ClientIdentity> {
    let (has_certificate, has_key) = (section.has("client_certificate"), section.has("client_key"));
    if has_certificate != has_key {
        section.fault("", "has only one of client_certificate and client_key", "mutual TLS needs both");
    }
    let chain = section
        .file("client_certificate")
        .and_then(|pem| section.usable("client_certificate", pem::certificates(&pem)))?;
    let key = section.secret("client_key")?;
    let key = section.usable("client_key", pem::private_key(key.expose()))?;
    let certified = pem::certified_key(chain.clone(), key.clone_key());
    section.usable("client_certificate", certified)?;
    Some(ClientIdentity {
        chain: chain.iter().map(|certificate| certificate.to_vec()).collect(),
        key: Secret::new(key.secret_der().to_vec()),
    })
}
