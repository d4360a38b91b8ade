//! A host with a port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A place to connect to, by name or by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: Box<str>,
    port: u16,
}

impl Endpoint {
    /// The name or the address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; not 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, when the host is written as one.
    pub fn literal(&self) -> Option<SocketAddr> {
        let address: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(address, self.port))
    }

    /// Whether the host is this one, whatever a resolver says.
    pub fn is_loopback(&self) -> bool {
        self.literal().is_some_and(|address| address.ip().is_loopback())
    }
}

impl FromStr for Endpoint {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (host, port) = text.rsplit_once(':').ok_or(())?;
        let host = host.strip_prefix('[').map_or(Some(host), |host| host.strip_suffix(']')).ok_or(())?;
        let port: u16 = port.parse().map_err(|_| ())?;
        let named = !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if port == 0 || !named && host.parse::<IpAddr>().is_err() {
            return Err(());
        }
        Ok(Self { host: host.into(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_need_a_port_and_nothing_else() {
        for good in [
            "api.internal:443",
            "127.0.0.1:8080",
            "[::1]:443",
            "vpce-0123-abcd.vpce-svc-0123.us-east-1.vpce.amazonaws.com:443",
        ] {
            assert_eq!(good.parse::<Endpoint>().map(|endpoint| endpoint.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "api.internal",
            "api.internal:0",
            "api.internal:70000",
            ":443",
            "https://api.internal:443",
            "a b:1",
            "[::1:443",
            "::1]:443",
        ] {
            assert_eq!(bad.parse::<Endpoint>(), Err(()), "{bad}");
        }
    }
}
