//! Hands a body that was read whole to Pingora's proxy once more, and watches over the exchange.
//!
//! Pingora sends on a body that `request_filter` has read only while it fits a retry buffer of 64 KiB. A session of
//! Pingora's `Custom` kind may bring its own buffer: [`Replay`] wraps the real session, passes every call on, and says
//! that the body is done and the buffer holds all of it. Retries and connection reuse go on as they do without it. Of an
//! upload nothing is read ahead: its body passes through.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session as CustomSession;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::context::RealSession;
use super::overdue::OverdueWatch;
use super::revoked::{REVOKED, RevocationWatch};
use super::stopping::stopping;
use crate::limit::CutWatch;

/// A session whose body has been read, or passes through.
struct Replay {
    real: ServerSession,
    /// What was read; `None`: nothing was.
    body: Option<Bytes>,
    watches: Watches,
    /// Where `real` goes when this is dropped.
    home: RealSession,
}

/// What ends an exchange besides its peers.
pub(super) struct Watches {
    /// The upstream takes too long; `None` for uploads, whose client sets the pace.
    pub(super) overdue: Option<OverdueWatch>,
    /// The caller is revoked.
    pub(super) revoked: Option<RevocationWatch>,
    /// The process ends.
    pub(super) cut: CutWatch,
}

impl Watches {
    /// Returns the error to end the exchange with when it must end. May be dropped and called again.
    async fn end(&mut self) -> ErrorType {
        let Self { overdue, revoked, cut } = self;
        let overdue = async {
            match overdue {
                Some(watch) => watch.overdue().await,
                None => std::future::pending().await,
            }
        };
        let revoked = async {
            match revoked {
                Some(watch) => watch.revoked().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cut.cut() => stopping(false),
            () = revoked => REVOKED,
            overdue = overdue => overdue,
        }
    }
}

/// Puts a stand-in before the session's real one, with `body` if one was read.
pub(super) fn install(session: &mut Session, body: Option<Bytes>, watches: Watches, home: &RealSession) {
    let real = std::mem::replace(session.downstream_session.as_mut(), placeholder());
    *session.downstream_session = ServerSession::Custom(Box::new(Replay { real, body, watches, home: home.clone() }));
}

/// Puts the real session back, so that its connection can be used again. Does nothing when no stand-in is there.
pub(super) fn remove(session: &mut Session, home: &RealSession) {
    if !session.is_custom() {
        return;
    }
    drop(std::mem::replace(session.downstream_session.as_mut(), placeholder()));
    let real = home.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(real) = real {
        *session.downstream_session = real;
    }
}

/// Holds the place during a swap; nothing is called on it.
fn placeholder() -> ServerSession {
    ServerSession::Custom(Box::new(()))
}

impl Drop for Replay {
    fn drop(&mut self) {
        let real = std::mem::replace(&mut self.real, placeholder());
        *self.home.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(real);
    }
}

#[async_trait]
impl CustomSession for Replay {
    fn is_body_done(&mut self) -> bool {
        self.body.is_some() || self.real.is_body_done()
    }

    fn is_body_empty(&mut self) -> bool {
        match &self.body {
            Some(body) => body.is_empty(),
            None => self.real.is_body_empty(),
        }
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.body.is_none() && self.real.retry_buffer_truncated()
    }

    /// None for an empty body, which Pingora would write after the end of the request, and warn that it cannot.
    fn get_retry_buffer(&self) -> Option<Bytes> {
        match &self.body {
            Some(body) => (!body.is_empty()).then(|| body.clone()),
            None => self.real.get_retry_buffer(),
        }
    }

    fn enable_retry_buffering(&mut self) {
        if self.body.is_none() {
            self.real.enable_retry_buffering();
        }
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        match self.body {
            Some(_) => Ok(None),
            None => self.real.read_request_body().await,
        }
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        // Where the body was read, the real session waits for the client to leave.
        let next = self.real.read_body_or_idle(self.body.is_some() || no_body_expected);
        tokio::select! {
            next = next => next,
            end = self.watches.end() => Err(Error::new(end)),
        }
    }

    fn req_header(&self) -> &RequestHeader {
        self.real.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.real.req_header_mut()
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.real.drain_request_body().await
    }

    async fn write_response_header(&mut self, response: Box<ResponseHeader>, _end: bool) -> Result<()> {
        self.real.write_response_header(response).await
    }

    async fn write_response_header_ref(&mut self, response: &ResponseHeader, _end: bool) -> Result<()> {
        self.real.write_response_header_ref(response).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.real.write_response_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.real.write_response_trailers(trailers).await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let Watches { overdue, cut, .. } = &mut self.watches;
        // A client may take nothing for as long as it is left the time.
        let ended = tokio::select! {
            biased;
            ended = self.real.response_duplex_vec(tasks) => ended,
            () = cut.cut() => Err(Error::new(stopping(true))),
        };
        if let Some(overdue) = overdue {
            overdue.passed_on();
        }
        ended
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.real.set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.real.get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.real.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.real.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.real.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.real.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.real.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.real.response_written()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        self.real.shutdown().await;
    }

    async fn finish(&mut self) -> Result<()> {
        self.real.finish_body().await
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn body_bytes_sent(&self) -> usize {
        self.real.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.real.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.real.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.real.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.real.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.real.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.real.to_h1_raw()
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _: Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Err(no_messages())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Err(no_messages())
    }
}

/// HTTP has no custom messages, and none was taken that could be given back.
#[allow(clippy::unnecessary_box_returns)] // as Pingora takes it
fn no_messages() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "an HTTP session has no custom messages")
}
