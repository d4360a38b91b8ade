//! A byte stream that can be told to send garbage.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const GARBAGE: &[u8] = b"\x00\xffthis is no HTTP\r\n";

/// The switch of one connection. Once set, whatever is written arrives as garbage of the same length.
#[derive(Debug, Clone, Default)]
pub struct GarbageSwitch(Arc<AtomicBool>);

impl GarbageSwitch {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `S`, subject to a [`GarbageSwitch`].
#[derive(Debug)]
pub struct Wire<S> {
    inner: S,
    garbage: GarbageSwitch,
}

impl<S> Wire<S> {
    pub fn new(inner: S, garbage: GarbageSwitch) -> Self {
        Self { inner, garbage }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        if self.garbage.0.load(Ordering::Relaxed) {
            let garbage: Vec<u8> = GARBAGE.iter().copied().cycle().take(buffer.len()).collect();
            return Pin::new(&mut self.inner).poll_write(context, &garbage);
        }
        Pin::new(&mut self.inner).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
