//! A running proxy hands its listening sockets and its counts to a new process, which may be another version of it.
//!
//! The old process starts the new one with one end of a pair of Unix sockets as its standard input, and sends the listening
//! sockets over it: nothing lies in the file system that another process could reach or plant. The new process gets
//! ready while the old one serves, takes the counts, and says when it accepts connections; only then does the old one stop
//! to accept. Connections that come meanwhile wait in the kernel's queue, which belongs to the socket and not to a process.
//! Whatever goes wrong before that word, the new process is killed and the old one goes on as before.
//!
//! On the wire each message is a kind (one byte), a length (four bytes, big-endian) and so many bytes. The sockets go
//! first, as ancillary data of the first message.

mod predecessor;
mod successor;
mod wire;

pub use predecessor::Predecessor;
pub use successor::{HandedOver, Successor};

#[cfg(test)]
mod tests;
