//! The corridor: where Pingora's phases meet the configuration in force.
//!
//! Each request takes the [`Gateway`] that is in force when it begins and keeps it to its end, so that it is judged by one
//! configuration as a whole, whatever is put in force meanwhile.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::prelude::HttpPeer;
use pingora::protocols::Digest;
use pingora::{Error, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use super::context::RequestCtx;
use super::{Current, Gateway};

/// Leads every request through the gateway that it began with.
pub struct Corridor(Arc<ArcSwap<Gateway>>);

/// A request on its way, and the gateway that it goes through.
pub struct Passage {
    gateway: Arc<Gateway>,
    request: RequestCtx,
}

impl Corridor {
    /// A corridor to whichever gateway is in force.
    pub fn new(current: &Current) -> Self {
        Self(Arc::clone(current))
    }
}

#[async_trait]
impl ProxyHttp for Corridor {
    type CTX = Passage;

    fn new_ctx(&self) -> Passage {
        let gateway = self.0.load_full();
        Passage { request: gateway.new_ctx(), gateway }
    }

    /// Pingora's own modules would compress answers, which would hold back a stream.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, at: &mut Passage) -> Result<bool> {
        at.gateway.request_filter(session, &mut at.request).await
    }

    async fn upstream_peer(&self, _: &mut Session, at: &mut Passage) -> Result<Box<HttpPeer>> {
        at.gateway.upstream_peer(&mut at.request).await
    }

    fn fail_to_connect(&self, _: &mut Session, peer: &HttpPeer, at: &mut Passage, error: Box<Error>) -> Box<Error> {
        at.gateway.fail_to_connect(peer, &mut at.request, error)
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        at: &mut Passage,
    ) -> Result<()> {
        at.gateway.connected_to_upstream(reused, digest, &mut at.request).await
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        at: &mut Passage,
    ) -> Result<()> {
        at.gateway.upstream_request_filter(session, request, &mut at.request)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        at: &mut Passage,
    ) -> Result<()> {
        at.gateway.request_body_filter(body.as_ref(), &mut at.request)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        at: &mut Passage,
    ) -> Result<()> {
        at.gateway.response_filter(session, response, &mut at.request)
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        at: &mut Passage,
    ) -> Result<Option<Duration>> {
        at.gateway.response_body_filter(body, end, &mut at.request)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        at: &mut Passage,
        client_reused: bool,
    ) -> Box<Error> {
        at.gateway.error_while_proxy(session, error, &mut at.request, client_reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, at: &mut Passage) -> FailToProxy {
        at.gateway.fail_to_proxy(session, error, &mut at.request).await
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, at: &mut Passage) {
        at.gateway.logging(session, &mut at.request).await;
    }

    /// Pingora would log the request line, query and all.
    fn request_summary(&self, _: &Session, at: &Passage) -> String {
        format!("request {}", at.request.id)
    }

    /// `fail_to_proxy` has logged it, in our words.
    fn suppress_error_log(&self, _: &Session, _: &Passage, _: &Error) -> bool {
        true
    }
}
