//! The way to each address of the upstream: TCP, TLS, and whether it accepts our certificate. One handshake shows all.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;

use super::finding::{Check, Finding, until};
use super::name::Found;
use crate::config::UpstreamConfig;
use crate::upstream::{ConnectTimeouts, Direct, DirectFault, Handshake, TlsFault, TlsHandshake};

/// The longest wait for TCP and for TLS, whatever the proxy's own patience is.
const CONNECT: Duration = Duration::from_secs(3);

/// One way, tried.
pub(super) struct Way {
    /// The address, or the endpoint that has none.
    subject: String,
    end: End,
}

/// How far it went.
enum End {
    NoAddress,
    Shaken(SocketAddr, Handshake),
    Fault(DirectFault),
}

/// Who makes the requests: as the proxy's, with bounds of doctor's.
pub(super) fn direct(config: &UpstreamConfig) -> Direct {
    let ConnectTimeouts { tcp, tls } = config.connect;
    let timeouts = ConnectTimeouts { tcp: tcp.min(CONNECT), tls: tls.min(CONNECT) };
    Direct::new(config.trust.tls.clone(), &config.trust.server_name, timeouts)
}

/// Tries every address once, all at a time; an endpoint without one stands for itself.
pub(super) async fn examine(direct: &Direct, found: &[Found]) -> Vec<Way> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.iter().flat_map(|found| &found.usable) {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    let tried = addresses.into_iter().map(|address| async move {
        let end = direct.handshake(address).await.map_or_else(End::Fault, |shaken| End::Shaken(address, shaken));
        Way { subject: address.to_string(), end }
    });
    let lost = found.iter().filter(|found| found.usable.is_empty());
    let lost = lost.map(|found| Way { subject: found.endpoint.clone(), end: End::NoAddress });
    join_all(tried).await.into_iter().chain(lost).collect()
}

impl Way {
    /// The address, if all went well.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match &self.end {
            End::Shaken(address, _) => Some(*address),
            End::NoAddress | End::Fault(_) => None,
        }
    }

    /// The check that fails; `None` if all went well.
    pub(super) fn fails_at(&self) -> Option<Check> {
        match &self.end {
            End::NoAddress => Some(Check::Dns),
            End::Shaken(..) => None,
            End::Fault(DirectFault::Tcp(_) | DirectFault::TcpTimeout) => Some(Check::Tcp),
            End::Fault(DirectFault::Tls(TlsFault::ClientCertificateRefused(_))) => Some(Check::ClientCertificate),
            End::Fault(_) => Some(Check::Tls),
        }
    }

    /// Its line of a check: of that which fails, of one before it, or of one behind it.
    fn finding(&self, check: Check, good: impl FnOnce(Option<&TlsHandshake>) -> String) -> Finding {
        match (&self.end, self.fails_at()) {
            (End::Fault(fault), Some(fails)) if fails == check => {
                check.fails(&self.subject, fault.to_string(), mend(fault))
            }
            (_, Some(fails)) if fails < check => {
                check.skips(&self.subject, format!("not tried: {} fails", fails.label()))
            }
            (End::Shaken(_, shaken), _) => check.passes(&self.subject, good(shaken.tls.as_ref())),
            _ => check.passes(&self.subject, good(None)),
        }
    }
}

/// The lines of all ways: TCP first, then, unless the upstream is spoken to in plain text, TLS and our certificate.
pub(super) fn findings(config: &UpstreamConfig, ways: &[Way], now: SystemTime) -> Vec<Finding> {
    let of = |check, good: &dyn Fn(Option<&TlsHandshake>) -> String| -> Vec<Finding> {
        ways.iter().map(|way| way.finding(check, good)).collect()
    };
    let mut findings = of(Check::Tcp, &|_| "connects".to_owned());
    let Some(trust) = &config.trust.tls else { return findings };
    let name = &config.trust.server_name;
    findings.extend(of(Check::Tls, &|shaken| match shaken {
        Some(TlsHandshake { version, leaf_issuer, leaf_not_after, leaf_pin: _ }) => format!(
            "{}, a certificate for {name} by {leaf_issuer}, {}",
            version.replace('_', "."),
            until(*leaf_not_after, now)
        ),
        None => format!("a certificate for {name} that is believed"),
    }));
    let own_end = trust.expiries().into_iter().find(|expiry| expiry.certificate == "upstream_client");
    findings.extend(of(Check::ClientCertificate, &|_| match own_end {
        Some(end) => format!("accepted, {}", until(end.not_after, now)),
        None => "none is configured, and none is asked for".to_owned(),
    }));
    findings
}

fn mend(fault: &DirectFault) -> String {
    match fault {
        DirectFault::Tcp(_) | DirectFault::TcpTimeout => {
            "see that routes, security groups and firewalls let this host through, and that the endpoint's port is right"
                .to_owned()
        }
        DirectFault::Tls(fault) => mend_tls(fault),
        _ => "see that the endpoint's port speaks TLS".to_owned(),
    }
}

fn mend_tls(fault: &TlsFault) -> String {
    match fault {
        TlsFault::Name { presented } if presented.is_empty() => {
            "set upstream.server_name to the name that the certificate bears".to_owned()
        }
        TlsFault::Name { presented } => {
            format!("set upstream.server_name to a name that the certificate bears: {}", presented.join(", "))
        }
        TlsFault::Time(_) => {
            "have the upstream's certificate renewed; if it is good, set this host's clock by NTP".to_owned()
        }
        TlsFault::UnknownIssuer => {
            "name the CA that has signed the upstream's certificate as upstream.ca; if that is named, somebody else answers"
                .to_owned()
        }
        TlsFault::ClientCertificateRefused(_) => {
            "set upstream.client_certificate and client_key to a pair that a CA of the upstream's has signed, in time and \
             for client authentication"
                .to_owned()
        }
        TlsFault::NotPinned(pin) => {
            format!("add \"{pin}\" to upstream.pins once its owner says that this is the key; else somebody else answers")
        }
        TlsFault::Other(_) => {
            "see that the endpoint's port speaks TLS 1.2 or 1.3; the upstream's log says what it disliked".to_owned()
        }
    }
}
