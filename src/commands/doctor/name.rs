//! The upstream's endpoints: which addresses they have from here, and whether these may be used.

use std::net::{IpAddr, SocketAddr};

use futures_util::future::join_all;

use super::finding::{Check, Finding};
use crate::config::UpstreamConfig;
use crate::upstream::{AddressFault, Endpoint, Networks, Resolve, ResolveFault, Resolver};

/// One endpoint and what it comes to.
pub(super) struct Found {
    /// As configured.
    pub(super) endpoint: String,
    /// Those that may be used.
    pub(super) usable: Vec<SocketAddr>,
    pub(super) finding: Finding,
}

/// Looks every endpoint up, all at a time, by the proxy's own resolver.
pub(super) async fn examine(config: &UpstreamConfig) -> Vec<Found> {
    let resolver = match config.name_servers.as_slice() {
        [] => Resolver::system(),
        servers => Resolver::of(servers.to_vec()),
    };
    join_all(config.endpoints.iter().map(|(endpoint, _)| find(endpoint, &config.networks, &resolver))).await
}

async fn find(endpoint: &Endpoint, networks: &Networks, resolver: &Resolver) -> Found {
    let name = endpoint.to_string();
    let addresses = match endpoint.literal() {
        Some(written) => vec![written.ip()],
        None => match resolver.lookup(endpoint.host()).await {
            Ok(answer) => answer.addresses,
            Err(fault) => {
                let finding = Check::Dns.fails(&name, fault.to_string(), mend_lookup(&fault));
                return Found { endpoint: name, usable: Vec::new(), finding };
            }
        },
    };
    let judged: Vec<_> = addresses.into_iter().map(|address| judge(address, networks)).collect();
    let usable = judged.iter().filter(|(_, judgement)| judgement.is_ok());
    let usable = usable.map(|(address, _)| SocketAddr::new(*address, endpoint.port())).collect();
    Found { finding: told(&name, &judged), endpoint: name, usable }
}

/// The address as it will be connected to, and whether it may be.
fn judge(address: IpAddr, networks: &Networks) -> (IpAddr, Result<(), AddressFault>) {
    let address = address.to_canonical();
    (address, networks.judge(address))
}

fn told(name: &str, judged: &[(IpAddr, Result<(), AddressFault>)]) -> Finding {
    let words = |(address, judgement): &(IpAddr, Result<(), AddressFault>)| match judgement {
        Ok(()) => format!("{address} may be used"),
        Err(fault) => format!("{address} {fault}"),
    };
    let detail = judged.iter().map(words).collect::<Vec<_>>().join(", ");
    match judged.iter().find_map(|(_, judgement)| judgement.err()) {
        None => Check::Dns.passes(name, detail),
        Some(fault) => Check::Dns.fails(name, detail, mend_address(fault)),
    }
}

fn mend_lookup(fault: &ResolveFault) -> &'static str {
    match fault {
        ResolveFault::Malformed => "write a host name or an address in upstream.endpoints",
        ResolveFault::NoSuchName | ResolveFault::NoAddress => {
            "check the name in upstream.endpoints; one of a private zone or of a VPC endpoint resolves only with private \
             DNS, or by the name servers of its network (upstream.name_servers)"
        }
        ResolveFault::NoAnswer | ResolveFault::ServerFailed(_) | ResolveFault::NoServer(_) => {
            "see that the name servers answer this host: upstream.name_servers, or /etc/resolv.conf without it"
        }
    }
}

fn mend_address(fault: AddressFault) -> &'static str {
    match fault {
        AddressFault::Public => {
            "let the name have private addresses alone from here: private DNS of the VPC endpoint, split-horizon DNS, or \
             upstream.name_servers that know the private zone"
        }
        AddressFault::Outside => {
            "add its network to upstream.allow_networks if the upstream is there, else mend the DNS"
        }
        AddressFault::LinkLocal => {
            "add its own network to upstream.allow_networks if the upstream is there, else mend the DNS"
        }
        AddressFault::NoHost => "mend the record of the name: no host has this address",
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::lines;
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_written_out_is_judged_as_it_is() {
        for (endpoint, detail, usable) in [
            ("10.0.0.1:443", "10.0.0.1 may be used", 1),
            ("[::ffff:10.0.0.1]:443", "10.0.0.1 may be used", 1),
            ("8.8.8.8:443", "8.8.8.8 is public", 0),
            ("169.254.169.254:80", "169.254.169.254 is link-local", 0),
        ] {
            let networks = Networks::new(true, Vec::new());
            let found = find(&endpoint.parse().unwrap(), &networks, &Resolver::of(Vec::new())).await;
            assert_eq!((found.usable.len(), found.finding.is_fault()), (usable, usable == 0), "{endpoint}");
            let line = lines(&[found.finding]);
            assert!(line.contains(detail), "{line}");
        }
    }

    #[test]
    fn one_address_that_may_not_be_used_is_a_fault() {
        let networks = Networks::new(true, vec!["10.0.0.0/8".parse().unwrap()]);
        let judged = |addresses: &[&str]| -> Vec<_> {
            addresses.iter().map(|address| judge(address.parse().unwrap(), &networks)).collect()
        };
        assert!(!told("api", &judged(&["10.0.0.1", "10.0.0.2"])).is_fault());
        assert!(told("api", &judged(&["10.0.0.1", "192.168.0.1"])).is_fault());
    }
}
