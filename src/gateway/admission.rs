//! The way in: from the request's head to a permit, or to a refusal.

use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, header};
use pingora_proxy::Session;
use smallvec::smallvec;

use super::Gateway;
use super::body::{self, BodyError};
use super::context::{Exchange, RequestCtx};
use super::replay;
use crate::claude::{self, BodyRule, ModelPage, Peek, Shape};
use crate::denial::Denial;
use crate::identity::{self, Bearer, Caller};
use crate::limit::Held;

/// Why a request does not go on.
pub(super) enum Stop {
    /// It is refused, and the client is to be told.
    Refused(Denial),
    /// The client has left.
    Gone(Box<pingora::Error>),
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Refused(denial)
    }
}

impl Gateway {
    /// Takes a request through every check, each dearer than the one before: address, credential, endpoint, grant, body,
    /// policy. What comes out may go upstream.
    pub(super) async fn admit(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<Exchange, Stop> {
        if !self.audit.is_writable() {
            return Err(Denial::AuditUnavailable.into());
        }
        self.admit_address(session, ctx)?;
        ctx.caller = Some(self.identify(session, ctx)?);
        let request = session.req_header();
        let found = claude::find(&request.method, request.uri.path()).ok_or(Denial::EndpointUnknown)?;
        let (endpoint, model) = (found.endpoint, found.model.clone());
        ctx.found = Some(found);
        self.policy.admit(ctx.caller.as_ref().ok_or(Denial::CredentialMissing)?, endpoint)?;
        refuse_odd_framing(session)?;
        if endpoint.lists_models() {
            let query = session.req_header().uri.query().unwrap_or_default();
            ModelPage::from_query(query).ok_or(Denial::RequestMalformed("its limit, after_id or before_id"))?;
        }
        let (call, held, body) = match endpoint.body {
            BodyRule::Judged(shape) => self.judge_body(session, ctx, shape).await?,
            BodyRule::Streamed => {
                self.admit_upload(session)?;
                (Peek::default(), None, None)
            }
            BodyRule::Absent => {
                if !session.is_body_empty() {
                    return Err(Denial::BodyMalformed("this endpoint takes no body".to_owned()).into());
                }
                (
                    Peek { models: model.map_or_else(Default::default, |model| smallvec![model]), ..Peek::default() },
                    None,
                    None,
                )
            }
        };
        let call = ctx.call.insert(call);
        let caller = ctx.caller.as_ref().ok_or(Denial::CredentialMissing)?;
        let permit = self.policy.authorize(caller, endpoint, call)?;
        if let Some(body) = body {
            replay::install(session, body, &ctx.real_session);
        }
        Ok(Exchange::new(permit, held))
    }

    /// The address rules: before any cryptography.
    pub(super) fn admit_address(&self, session: &Session, ctx: &mut RequestCtx) -> Result<(), Denial> {
        let peer = session.client_addr().and_then(|address| address.as_inet()).ok_or(Denial::AddressForbidden)?;
        let address = identity::client_address(peer.ip(), &session.req_header().headers, &self.bounds.trusted_proxies);
        ctx.address = Some(address);
        if self.policy.addresses().allows(address) { Ok(()) } else { Err(Denial::AddressForbidden) }
    }

    fn identify(&self, session: &Session, ctx: &RequestCtx) -> Result<Caller, Denial> {
        let request = session.req_header();
        let bearer = Bearer::from_headers(&request.headers)?;
        // Logs and histories keep URLs: a token in one is lost, and must not go upstream with it.
        if memchr::memmem::find(request.raw_path(), bearer.expose().as_bytes()).is_some() {
            return Err(Denial::CredentialInUrl);
        }
        let token = self.issuers.verify(bearer, SystemTime::now())?;
        let address = ctx.address.ok_or(Denial::AddressForbidden)?;
        Ok(Caller::new(token, address))
    }

    /// Holds the whole body and reads what policy decides on.
    async fn judge_body(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        shape: Shape,
    ) -> Result<(Peek, Option<Held>, Option<Bytes>), Stop> {
        if session.req_header().headers.contains_key(header::CONTENT_ENCODING) {
            return Err(Denial::BodyEncoded.into());
        }
        let mut held = self.body_memory.hold();
        let body = body::read_whole(session, &mut held, &self.bounds).await.map_err(|error| match error {
            BodyError::Refused(denial) => Stop::Refused(denial),
            BodyError::Gone(error) => Stop::Gone(error),
        })?;
        ctx.request_bytes = body.len() as u64;
        let call = match shape {
            // Such as `cancel`, which takes a body or none.
            Shape::Resource if body.is_empty() => Peek::default(),
            Shape::Message | Shape::Batch | Shape::Resource => {
                claude::peek(&body, shape).map_err(Denial::BodyMalformed)?
            }
        };
        Ok((call, Some(held), Some(body)))
    }

    /// An upload is not read here: it names no model. Its length is bounded as it passes by.
    fn admit_upload(&self, session: &Session) -> Result<(), Denial> {
        let headers = &session.req_header().headers;
        if headers.contains_key(header::CONTENT_ENCODING) {
            return Err(Denial::BodyEncoded);
        }
        let media_type = headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
        if !media_type.get(..MULTIPART.len()).is_some_and(|start| start.eq_ignore_ascii_case(MULTIPART)) {
            return Err(Denial::BodyMalformed("the body must be multipart/form-data".to_owned()));
        }
        if body::announced_length(session).is_some_and(|length| length > self.bounds.max_upload) {
            return Err(Denial::BodyTooLarge { limit: self.bounds.max_upload });
        }
        Ok(())
    }

    /// Whether this is Claude Code's warm-up call, which is answered here.
    pub(super) fn is_hello(session: &Session) -> bool {
        let request = session.req_header();
        request.method == Method::HEAD && request.uri.path() == "/api/hello"
    }
}

const MULTIPART: &[u8] = b"multipart/form-data";

/// A change of protocol would carry bytes past every rule.
fn refuse_odd_framing(session: &Session) -> Result<(), Denial> {
    if session.is_upgrade_req() || session.req_header().headers.contains_key(header::UPGRADE) {
        return Err(Denial::RequestMalformed("a change of protocol is not allowed"));
    }
    Ok(())
}
