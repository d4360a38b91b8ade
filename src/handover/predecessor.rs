//! The new process's side.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::wire::{Kind, receive, receive_sockets, send};

/// The process that is to be succeeded, at the other end of the standard input.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
    sockets: Vec<TcpListener>,
}

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Predecessor {
    /// Takes its sockets from the standard input. Blocks.
    ///
    /// # Errors
    /// When the standard input is not what [`Successor`](super::Successor) makes of it.
    pub fn on_standard_input() -> io::Result<Self> {
        Self::on(UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?))
    }

    pub(super) fn on(mut stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let sockets = receive_sockets(&mut stream)?;
        Ok(Self { stream, sockets })
    }

    /// The socket that listens on this address, once. An address that is new in the configuration has none.
    pub fn take_socket(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let listens = |socket: &TcpListener| socket.local_addr().is_ok_and(|local| local == address);
        let at = self.sockets.iter().position(listens)?;
        Some(self.sockets.swap_remove(at))
    }

    /// How many sockets came.
    #[cfg(test)]
    pub(super) fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Says that everything is at hand, and returns the counts of limits that it sends. Blocks.
    ///
    /// # Errors
    /// When it has changed its mind, or is gone.
    pub fn prepared(&mut self) -> io::Result<Vec<u8>> {
        send(&mut self.stream, Kind::Prepared, &[])?;
        receive(&mut self.stream, Kind::Counts)
    }

    /// Says that connections are accepted. It serves no new ones from then on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn serving(mut self) -> io::Result<()> {
        send(&mut self.stream, Kind::Serving, &[])
    }
}
