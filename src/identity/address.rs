//! The address that a request really comes from.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

/// The client's address: the connection's own, unless that is a trusted proxy's, in which case `X-Forwarded-For` is
/// walked from the right over further trusted proxies to the first address that is none. What an untrusted peer wrote is
/// never believed, and an entry that is no address ends the walk at the last address that was believed.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let trusted = |address: &IpAddr| trusted_proxies.iter().any(|network| network.contains(address));
    if !trusted(&peer) {
        return peer;
    }
    let mut client = peer;
    // Several header lines are one list (RFC 9110 section 5.3), the last line being the nearest.
    for value in headers.get_all("x-forwarded-for").iter().rev() {
        for entry in value.as_bytes().rsplit(|&byte| byte == b',') {
            let Some(address) = std::str::from_utf8(entry).ok().and_then(|text| text.trim().parse::<IpAddr>().ok())
            else {
                return client;
            };
            client = address.to_canonical();
            if !trusted(&client) {
                return client;
            }
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &["203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1", "203.0.113.9 ,10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1", &["203.0.113.9, junk"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9, junk, 10.0.0.3"], "10.0.0.3"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
        ] {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            let client = client_address(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
    }
}
