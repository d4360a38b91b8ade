//! The messages between the two processes.

use std::io::{self, Error, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// To the new process: here are the sockets; bytes: none.
    Sockets = 1,
    /// From the new process: all is at hand but the counts; bytes: none.
    Prepared = 2,
    /// To the new process: the counts of limits; take over.
    Counts = 3,
    /// From the new process: connections are accepted; bytes: none.
    Serving = 4,
}

/// Sockets that are handed over at most: one for clients, one for ops, and room for more.
pub(super) const MAX_SOCKETS: usize = 8;
/// Bytes of a message at most: the counts of every limit that can be kept.
const MAX_BYTES: u32 = 1 << 30;

/// Sends a message.
pub(super) fn send(stream: &mut UnixStream, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|&length| length <= MAX_BYTES);
    let length = length.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "too long for a message"))?;
    stream.write_all(&[kind as u8])?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(bytes)
}

/// Waits for a message of this kind, as long as the stream's timeout lets it.
pub(super) fn receive(stream: &mut UnixStream, expected: Kind) -> io::Result<Vec<u8>> {
    let (mut kind, mut length) = ([0], [0; 4]);
    stream.read_exact(&mut kind)?;
    if kind != [expected as u8] {
        return Err(Error::new(ErrorKind::InvalidData, format!("message {kind:?} came instead of {expected:?}")));
    }
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_BYTES {
        return Err(Error::new(ErrorKind::InvalidData, "a message is too long"));
    }
    // It grows with what comes, and not with what was announced.
    let mut bytes = Vec::new();
    stream.take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != u64::from(length) {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Sends the listening sockets.
pub(super) fn send_sockets(stream: &mut UnixStream, sockets: &[TcpListener]) -> io::Result<()> {
    let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(Error::new(ErrorKind::InvalidInput, "too many sockets"));
    }
    let sent = sendmsg(&*stream, &[IoSlice::new(&[Kind::Sockets as u8])], &mut ancillary, SendFlags::empty())?;
    if sent != 1 {
        return Err(ErrorKind::WriteZero.into());
    }
    stream.write_all(&0_u32.to_be_bytes())
}

/// Receives them. They are closed when this process becomes another program.
pub(super) fn receive_sockets(stream: &mut UnixStream) -> io::Result<Vec<TcpListener>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut kind = [0];
    let received = recvmsg(&*stream, &mut [IoSliceMut::new(&mut kind)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes != 1 || kind != [Kind::Sockets as u8] {
        return Err(Error::new(ErrorKind::InvalidData, "no sockets came"));
    }
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let sockets: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
            _ => None,
        })
        .flatten()
        .collect();
    sockets.into_iter().map(listening).collect()
}

/// A descriptor that is a listening TCP socket.
fn listening(socket: OwnedFd) -> io::Result<TcpListener> {
    if !rustix::net::sockopt::socket_acceptconn(&socket)? {
        return Err(Error::new(ErrorKind::InvalidData, "a socket does not listen"));
    }
    Ok(TcpListener::from(socket))
}
