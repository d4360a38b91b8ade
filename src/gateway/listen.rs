//! Listening sockets.
//!
//! Sockets are bound before Pingora starts: a port that is taken is an error with a name instead of a panic, port 0 is
//! known at once, and whoever connects from then on waits in the kernel's queue instead of being turned away.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;

use async_trait::async_trait;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use tokio::sync::oneshot;

/// A socket that listens, to be adopted by a Pingora service with the same address.
pub struct BoundSocket {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundSocket {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The system's, such as an address that is in use.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::adopt(TcpListener::bind(address)?)
    }

    /// A socket that listens already.
    ///
    /// # Errors
    /// The system's.
    pub fn adopt(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?; // Pingora adopts it as it is
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The same socket once more, to be handed to another process.
    ///
    /// # Errors
    /// The system's.
    pub fn share(&self) -> io::Result<TcpListener> {
        self.listener.try_clone()
    }

    /// The address, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Hands bound sockets to Pingora. Services that listen on them must depend on this one.
pub struct SocketService {
    sockets: Vec<BoundSocket>,
    /// Until when nothing is accepted.
    opened: Option<oneshot::Receiver<()>>,
}

impl SocketService {
    /// A service for these sockets. Nothing is accepted before the word that `opened` brings, if there is one.
    pub fn new(sockets: Vec<BoundSocket>, opened: Option<oneshot::Receiver<()>>) -> Self {
        Self { sockets, opened }
    }
}

#[async_trait]
impl ServiceWithDependents for SocketService {
    async fn start_service(&mut self, fds: Option<ListenFds>, _: ShutdownWatch, _: usize, ready: ServiceReadyNotifier) {
        if let Some(opened) = self.opened.take()
            && opened.await.is_err()
        {
            return std::future::pending().await; // the process is about to end
        }
        if let Some(fds) = fds {
            for socket in self.sockets.drain(..) {
                fds.lock().add(socket.address.to_string(), socket.listener.into_raw_fd());
            }
        }
        ready.notify_ready();
    }

    fn name(&self) -> &'static str {
        "listening sockets"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}
