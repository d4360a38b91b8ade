//! The addresses of a name, and how long they hold. What may be used of them is for others to judge.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};

/// What gives the addresses of a name.
pub trait Resolve: Send + Sync {
    /// Looks `host` up. The future ends within a bound of its own.
    fn lookup(&self, host: &str) -> impl Future<Output = Result<Resolved, ResolveFault>> + Send;
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// At least one and at most 64, sorted and without doubles.
    pub addresses: Vec<IpAddr>,
    /// For how long they hold: 1 s to 300 s.
    pub valid_for: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveFault {
    /// The name has a label or a length that DNS does not have.
    #[error("is no name that can be looked up")]
    Malformed,
    /// NXDOMAIN.
    #[error("no such name")]
    NoSuchName,
    /// The name exists, with neither A nor AAAA records.
    #[error("the name has no address")]
    NoAddress,
    /// Neither an answer nor a refusal came within the bound.
    #[error("no answer in time")]
    NoAnswer,
    /// A name server answered with another code than success, such as SERVFAIL or REFUSED.
    #[error("the name server failed: {0}")]
    ServerFailed(String),
    /// No name server is known or can be reached, or what it says is no DNS.
    #[error("no name server can be asked: {0}")]
    NoServer(String),
}

/// Names looked up in DNS, A and AAAA both. A name is what it is, with or without a dot at its end: no search domain is
/// ever added to it, so that nobody who has a name in one of these is taken for the upstream.
///
/// Nothing is kept between two lookups: whoever asks keeps the answer for as long as it holds.
#[derive(Debug, Clone)]
pub struct Resolver {
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    System { resolv_conf: PathBuf, hosts: PathBuf },
    NameServers(Vec<SocketAddr>),
}

/// Bound on a lookup.
const WITHIN: Duration = Duration::from_secs(5);
/// Bound on one try of two; leaves room for both in [`WITHIN`].
const TRY_WITHIN: Duration = Duration::from_secs(2);
/// How many addresses are taken from an answer.
const MOST_ADDRESSES: usize = 64;
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// How long half an answer holds, when the question for the other kind of addresses failed.
const HALF_HOLDS: Duration = Duration::from_secs(5);
/// How long an entry of the hosts file holds, which says nothing of that itself.
const HOSTS_HOLD: Duration = Duration::from_secs(30);

impl Resolver {
    /// A resolver that does as the system's: what the hosts file has is not asked for, and the name servers are those of
    /// resolv.conf. Both files are read at each lookup, so that a change needs no restart.
    pub fn system() -> Self {
        Self { source: Source::System { resolv_conf: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into() } }
    }

    /// A resolver that asks these name servers alone: by UDP, and by TCP what does not fit or does not come.
    pub fn of(name_servers: Vec<SocketAddr>) -> Self {
        Self { source: Source::NameServers(name_servers) }
    }

    /// What the hosts file has of `name`: both kinds of addresses, or whichever it has.
    async fn listed(&self, name: &Name) -> Option<Resolved> {
        let Source::System { hosts: file, .. } = &self.source else { return None };
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(tokio::fs::read(file).await.ok()?.as_slice()).ok()?;
        let addresses = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .flat_map(|lookup| lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>());
        Resolved::new(addresses.collect(), HOSTS_HOLD)
    }

    /// A client for one lookup. It is made anew each time: it costs little beside asking, follows resolv.conf, and keeps
    /// no answer and no connection that belongs to a runtime which is gone.
    async fn client(&self) -> Result<TokioResolver, ResolveFault> {
        let name_servers = match &self.source {
            Source::NameServers(addresses) => addresses.iter().copied().map(name_server).collect(),
            Source::System { resolv_conf: file, .. } => {
                let unusable =
                    |error: &dyn std::fmt::Display| ResolveFault::NoServer(format!("{}: {error}", file.display()));
                let text = tokio::fs::read(file).await.map_err(|error| unusable(&error))?;
                let (config, _) = parse_resolv_conf(text).map_err(|error| unusable(&error))?;
                config.name_servers
            }
        };
        let config = ResolverConfig::from_name_servers(name_servers);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = TRY_WITHIN;
        options.attempts = 1; // after the first
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never; // the builder would read it in this thread
        options.preserve_intermediates = true; // an alias has a TTL too
        options.try_tcp_on_error = true;
        builder.build().map_err(|error| ResolveFault::NoServer(error.to_string()))
    }
}

impl Resolve for Resolver {
    async fn lookup(&self, host: &str) -> Result<Resolved, ResolveFault> {
        let mut name = Name::from_ascii(host).map_err(|_| ResolveFault::Malformed)?;
        name.set_fqdn(true);
        if let Some(listed) = self.listed(&name).await {
            return Ok(listed);
        }
        let client = self.client().await?;
        let (v4, v6) = join(ask(&client, &name, RecordType::A), ask(&client, &name, RecordType::AAAA)).await;
        merge(v4, v6)
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

async fn ask(client: &TokioResolver, name: &Name, kind: RecordType) -> Result<Resolved, ResolveFault> {
    let answer = tokio::time::timeout(WITHIN, client.lookup(name.clone(), kind)).await;
    let lookup = answer.map_err(|_| ResolveFault::NoAnswer)?.map_err(|error| ResolveFault::of(&error))?;
    let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
    let addresses = lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
    Resolved::new(addresses, Duration::from_secs(ttl.into())).ok_or(ResolveFault::NoAddress)
}

/// The answers for both kinds of addresses as one. Half an answer is one too, for some name servers know no AAAA.
fn merge(v4: Result<Resolved, ResolveFault>, v6: Result<Resolved, ResolveFault>) -> Result<Resolved, ResolveFault> {
    match (v4, v6) {
        (Ok(mut v4), Ok(v6)) => {
            v4.addresses.extend(v6.addresses);
            Resolved::new(v4.addresses, v4.valid_for.min(v6.valid_for)).ok_or(ResolveFault::NoAddress)
        }
        (Ok(half), Err(ResolveFault::NoAddress | ResolveFault::NoSuchName))
        | (Err(ResolveFault::NoAddress | ResolveFault::NoSuchName), Ok(half)) => Ok(half),
        (Ok(half), Err(_)) | (Err(_), Ok(half)) => Ok(Resolved { valid_for: half.valid_for.min(HALF_HOLDS), ..half }),
        (Err(ResolveFault::NoAddress), Err(fault)) | (Err(fault), Err(_)) => Err(fault),
    }
}

impl Resolved {
    /// An answer of these addresses, within the bounds; `None` when there is no address.
    fn new(mut addresses: Vec<IpAddr>, valid_for: Duration) -> Option<Self> {
        addresses.sort_unstable(); // so that of too many the same ones are taken each time
        addresses.dedup();
        addresses.truncate(MOST_ADDRESSES);
        (!addresses.is_empty()).then(|| Self { addresses, valid_for: valid_for.clamp(SHORTEST, LONGEST) })
    }
}

impl ResolveFault {
    fn of(error: &NetError) -> Self {
        match error {
            NetError::Timeout => Self::NoAnswer,
            NetError::Dns(DnsError::ResponseCode(code)) => Self::ServerFailed(code.to_string()),
            _ if error.is_nx_domain() => Self::NoSuchName,
            _ if error.is_no_records_found() => Self::NoAddress,
            other => Self::NoServer(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(addresses: &[&str], seconds: u64) -> Result<Resolved, ResolveFault> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Resolved::new(addresses, Duration::from_secs(seconds)).ok_or(ResolveFault::NoAddress)
    }

    fn system(folder: &tempfile::TempDir, hosts: &str) -> Resolver {
        let (hosts_file, resolv_conf) = (folder.path().join("hosts"), folder.path().join("resolv.conf"));
        std::fs::write(&hosts_file, hosts).unwrap();
        Resolver { source: Source::System { resolv_conf, hosts: hosts_file } }
    }

    #[test]
    fn answers_hold_as_long_as_the_shorter_one_within_bounds() {
        assert_eq!(merge(answer(&["10.0.0.1"], 60), answer(&["fd00::1"], 30)), answer(&["10.0.0.1", "fd00::1"], 30));
        assert_eq!(answer(&["10.0.0.1"], 0).unwrap().valid_for, SHORTEST);
        assert_eq!(answer(&["10.0.0.1"], 86400).unwrap().valid_for, LONGEST);
    }

    #[test]
    fn half_an_answer_holds_for_a_while_when_the_other_half_failed() {
        for absent in [ResolveFault::NoAddress, ResolveFault::NoSuchName] {
            assert_eq!(merge(answer(&["10.0.0.1"], 60), Err(absent.clone())), answer(&["10.0.0.1"], 60));
            assert_eq!(merge(Err(absent), answer(&["fd00::1"], 60)), answer(&["fd00::1"], 60));
        }
        let failed = ResolveFault::ServerFailed("Server Failure".to_owned());
        assert_eq!(merge(answer(&["10.0.0.1"], 60), Err(failed.clone())), answer(&["10.0.0.1"], 5));
        assert_eq!(merge(Err(failed.clone()), answer(&["fd00::1"], 2)), answer(&["fd00::1"], 2));
        assert_eq!(merge(Err(ResolveFault::NoAddress), Err(failed.clone())), Err(failed.clone()));
        assert_eq!(merge(Err(failed.clone()), Err(ResolveFault::NoAddress)), Err(failed));
    }

    #[tokio::test]
    async fn the_hosts_file_comes_first_and_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let resolver = system(&folder, "10.0.0.1 api.internal\nfd00::1 api.internal # both\n10.0.0.9 other\n");
        assert_eq!(resolver.lookup("API.internal").await, answer(&["10.0.0.1", "fd00::1"], 30));
        assert_eq!(resolver.lookup("other.").await, answer(&["10.0.0.9"], 30));
        std::fs::write(folder.path().join("hosts"), "10.0.0.2 api.internal\n").unwrap();
        assert_eq!(resolver.lookup("api.internal").await, answer(&["10.0.0.2"], 30));
    }

    #[tokio::test]
    async fn without_name_servers_the_fault_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let resolver = system(&folder, "");
        let fault = resolver.lookup("api.internal").await.unwrap_err().to_string();
        assert!(fault.contains("resolv.conf: ") && fault.contains("No such file"), "{fault}");
        std::fs::write(folder.path().join("resolv.conf"), "search example.com\n").unwrap();
        let fault = resolver.lookup("api.internal").await.unwrap_err().to_string();
        assert!(fault.contains("no nameservers found"), "{fault}");
    }

    #[tokio::test]
    async fn localhost_and_malformed_names_ask_nobody() {
        let resolver = Resolver::of(Vec::new());
        assert_eq!(
            resolver.lookup("localhost").await.unwrap().addresses,
            answer(&["127.0.0.1", "::1"], 1).unwrap().addresses
        );
        let long = "a".repeat(64);
        for malformed in ["a..b", &long] {
            assert_eq!(resolver.lookup(malformed).await, Err(ResolveFault::Malformed), "{malformed}");
        }
    }
}
