//! `[listen]`: where clients connect, and how much of them is held in memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::reader::Section;
use crate::identity::binding::Origin;
use crate::listener::{ListenerTls, TlsSources};
use ipnet::IpNet;

/// Where clients connect.
pub struct ListenConfig {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// The certificate that clients see and whose certificates are asked of them, read and checked; `None` is plain text, on
    /// loopback only.
    pub tls: Option<Arc<ListenerTls>>,
    /// Worker threads.
    pub workers: usize,
    /// Whose `X-Forwarded-For` and PROXY header are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether every connection must begin with a PROXY header of a trusted proxy.
    pub proxy_protocol: bool,
    /// What clients see this proxy as, for DPoP proofs; empty: as each request names it.
    pub origins: Vec<Origin>,
    /// Bytes of one request body that is judged.
    pub max_body: usize,
    /// Bytes of all request bodies that are held at one time.
    pub max_bodies: usize,
    /// Bytes of one upload that is streamed through.
    pub max_upload: usize,
    /// How long a client may be silent in the middle of its request body.
    pub body_timeout: Duration,
    /// How long requests under way may go on after a stop was asked for.
    pub drain: Duration,
}

pub(super) fn read(section: &Section<'_>) -> Option<ListenConfig> {
    let address = section.required_address("address");
    let has_tls = section.has("tls");
    let tls = tls(section);
    if let (Some(address), false) = (address, has_tls)
        && !address.ip().is_loopback()
    {
        section.fault(
            "address",
            "has no tls",
            "add tls = { certificate = \"...\", key = \"...\" }; plain text is for loopback only",
        );
    }
    if section.has("client_certificate_optional") && !section.has("client_ca") {
        section.fault("client_certificate_optional", "has no client_ca", "add client_ca, or take it out");
    }
    if section.has("client_ca") && !has_tls {
        section.fault("client_ca", "needs tls", "add tls = { certificate = \"...\", key = \"...\" }");
    }
    let workers =
        section.count("workers").map_or_else(default_workers, |workers| usize::try_from(workers).unwrap_or(usize::MAX));
    if workers > MAX_WORKERS {
        section.fault("workers", format!("is above {MAX_WORKERS}"), "one worker per core is enough");
    }
    let max_body = section.size("max_body").unwrap_or(32 << 20);
    let max_bodies = section.size("max_bodies").unwrap_or(512 << 20);
    if max_bodies < max_body {
        section.fault("max_bodies", "is below max_body", "leave room for at least one body");
    }
    let trusted_proxies = section.parsed_list("trusted_proxies", "networks such as \"10.0.0.0/8\"");
    let proxy_protocol = section.flag("proxy_protocol").unwrap_or(false);
    if proxy_protocol && trusted_proxies.is_empty() {
        section.fault(
            "proxy_protocol",
            "has no trusted_proxies, and no other header is believed",
            "list the balancers in trusted_proxies",
        );
    }
    Some(ListenConfig {
        address: address?,
        tls,
        workers,
        trusted_proxies,
        proxy_protocol,
        origins: section.parsed_list("origins", "origins such as \"https://gateway.example\""),
        max_body,
        max_bodies,
        max_upload: section.size("max_upload").unwrap_or(500 << 20),
        body_timeout: section.duration("body_timeout").unwrap_or(Duration::from_secs(60)),
        drain: section.duration("drain").unwrap_or(Duration::from_secs(30)),
    })
}

const MAX_WORKERS: usize = 1024;

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn tls(section: &Section<'_>) -> Option<Arc<ListenerTls>> {
    let client_ca = section.path("client_ca");
    let client_certificate_optional = section.flag("client_certificate_optional").unwrap_or(false);
    if !section.has("tls") {
        return None;
    }
    section.table("tls", |tls| {
        tls.required("certificate");
        tls.required("key");
        let sources = TlsSources {
            certificate: tls.path("certificate")?,
            key: tls.path("key")?,
            client_ca,
            client_certificate_optional,
        };
        let opened = ListenerTls::open(sources).map_err(|faults| {
            for fault in faults {
                let (key, problem) = fault.key_and_problem();
                let (at, key) = key.strip_prefix("tls.").map_or((section, key), |key| (tls, key));
                at.fault(key, problem, "check the file that it names");
            }
        });
        opened.ok().map(Arc::new)
    })
}
