//! An address at which connecting takes for ever.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use super::runtime;

/// A listener whose queue is full: who connects waits in vain.
pub struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<std::net::TcpStream>,
}

impl BlackHole {
    /// One on a free port of 127.0.0.1.
    pub fn start() -> Self {
        let _entered = runtime().enter();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let queued: Vec<_> = std::iter::from_fn(connect).take(MAX_QUEUED).collect();
        assert!(queued.len() < MAX_QUEUED, "this kernel takes connections beyond the queue's length");
        Self { address, _listener: listener, _queued: queued }
    }

    /// Where nobody is let in.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Far more than a queue of one takes.
const MAX_QUEUED: usize = 32;
