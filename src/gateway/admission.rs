//! The way in: from the request's head to a permit, or to a refusal.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::uri::Authority;
use http::{Method, header};
use pingora_proxy::Session;

use super::Gateway;
use super::body;
use super::client_certificate::client_certificate;
use super::context::{Exchange, RequestCtx};
use super::overdue::OverdueWatch;
use super::own_time::OwnTime;
use super::receipt::Receipt;
use super::replay::{self, Watches};
use super::revoked::{RevocationWatch, revoked_by};
use crate::claude::{self, BodyRule, Endpoint, ErrorType, Match, ModelPage, Peek, Shape};
use crate::denial::Denial;
use crate::identity::binding::{Presence, Presented};
use crate::identity::revocation::Freshness;
use crate::identity::{self, Bearer, Caller};
use crate::limit::Held;
use crate::policy::Permit;
use crate::privacy::Said;

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
    /// policy, limits, content. What comes out may go upstream.
    pub(super) async fn admit(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<Exchange, Stop> {
        if self.in_flight.is_cut() {
            return Err(Denial::Stopping.into());
        }
        if !self.audit.admits() {
            return Err(Denial::AuditUnavailable.into());
        }
        let address = self.admit_address(session, ctx)?;
        let caller = &*ctx.caller.insert(self.identify(session, address)?);
        let request = session.req_header();
        let found = claude::find(&request.method, request.uri.path()).ok_or(Denial::EndpointUnknown)?;
        let found = &*ctx.found.insert(found);
        self.policy.admit(caller, found.endpoint)?;
        refuse_unjudgeable(session, found.endpoint)?;
        let Judged { call, body } = self.unless_stopping(self.judge(session, found, &mut ctx.own_time)).await??;
        let call = &*ctx.call.insert(call);
        let permit = self.authorize(session, caller, found.endpoint, call)?;
        self.admit_contained(caller, call)?;
        let headers = &session.req_header().headers;
        let metered = self.reserve(headers, caller, found, call, body.as_ref().map(|body| &body.bytes)).await?;
        // Listening is the dearest: who has no room is not listened to. A refusal gives back what is reserved.
        if let (Some(body), BodyRule::Judged(shape)) = (&body, found.endpoint.body) {
            ctx.said = self.listen(&body.bytes, shape).await?;
            if let Some(kind) = ctx.said.blocked_by {
                return Err(Denial::ContentForbidden { kind }.into());
            }
        }
        let (body, receipt, held) = match body {
            Some(Body { bytes, digest, held }) => (Some(bytes.clone()), Receipt::of_judged(bytes, digest), Some(held)),
            // Nothing to replay, but an answer may be a stream.
            None => ((found.endpoint.body == BodyRule::Absent).then(Bytes::new), Receipt::default(), None),
        };
        let exchange = Exchange::new(permit, metered, receipt, held);
        let patience = self.upstream.patience();
        let watches = Watches {
            overdue: body.is_some().then(|| OverdueWatch::new(Arc::clone(&exchange.progress), patience)),
            revoked: self.cut_streams.then(|| RevocationWatch::new(&self.revocations, caller)),
            cut: self.in_flight.watch(),
        };
        ctx.body_length = body.as_ref().map_or(0, Bytes::len);
        replay::install(session, body, watches, &ctx.real_session);
        Ok(exchange)
    }

    /// The door and the address rules: before any cryptography.
    pub(super) fn admit_address(&self, session: &Session, ctx: &mut RequestCtx) -> Result<IpAddr, Denial> {
        let peer = session
            .client_addr()
            .and_then(|address| address.as_inet())
            .ok_or_else(|| Denial::AddressForbidden { rule: "the connection has no address".to_owned() })?;
        let address = identity::client_address(peer.ip(), &session.req_header().headers, &self.bounds.trusted_proxies);
        ctx.address = Some(address);
        self.door.enter(address)?;
        let decision = self.policy.addresses().decide(address);
        if decision.allowed {
            return Ok(address);
        }
        Err(Denial::AddressForbidden { rule: decision.rule.to_string() })
    }

    /// The verified caller.
    pub(super) fn identify(&self, session: &Session, address: IpAddr) -> Result<Caller, Denial> {
        let request = session.req_header();
        let bearer = Bearer::from_headers(&request.headers)?;
        // Logs and histories keep URLs: a token in one is lost, and must not go upstream with it.
        if memchr::memmem::find(request.raw_path(), bearer.expose().as_bytes()).is_some() {
            return Err(Denial::CredentialInUrl);
        }
        let verified = self.issuers.verify(bearer, SystemTime::now()).inspect_err(|denial| {
            // What cannot be verified for want of keys says nothing against its sender.
            if denial.error_type() == ErrorType::Authentication {
                self.door.token_refused(address);
            }
        });
        let caller = Caller::new(verified?, address);
        if self.revocation_freshness.as_ref().is_some_and(Freshness::is_lost) {
            return Err(Denial::RevocationUnavailable("the set in the store was not read for too long".to_owned()));
        }
        if let Some(by) = revoked_by(&self.revocations, &caller) {
            return Err(Denial::TokenRevoked { by });
        }
        self.check_binding(session, &caller, bearer)?;
        Ok(caller)
    }

    /// Whether the token comes from whom it was issued to.
    fn check_binding(&self, session: &Session, caller: &Caller, bearer: Bearer<'_>) -> Result<(), Denial> {
        let request = session.req_header();
        let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let presented = Presented {
            certificate: client_certificate(session),
            proof: Presence::of_proof(&request.headers),
            scheme: bearer.scheme(),
            token: bearer.expose(),
            method: request.method.as_str(),
            uri_scheme: if session.digest().is_some_and(|digest| digest.ssl_digest.is_some()) {
                "https"
            } else {
                "http"
            },
            authority: request.uri.authority().map(Authority::as_str).or(host).unwrap_or_default(),
            path: request.uri.path(),
        };
        self.binder.check(caller.confirmation(), caller.required_binding(), &presented, SystemTime::now())
    }

    /// Reads what the request asks for, from its body where it has one.
    async fn judge(&self, session: &mut Session, found: &Match, own_time: &mut OwnTime) -> Result<Judged, Stop> {
        match found.endpoint.body {
            BodyRule::Judged(shape) => self.judge_body(session, shape, own_time).await,
            BodyRule::Streamed => {
                self.admit_upload(session)?;
                session.set_read_timeout(Some(self.bounds.body_timeout));
                Ok(Judged { call: Peek::default(), body: None })
            }
            BodyRule::Absent if session.is_body_empty() => {
                Ok(Judged { call: Peek::of_path(found.model.clone()), body: None })
            }
            BodyRule::Absent => Err(Denial::BodyMalformed("this endpoint takes no body".to_owned()).into()),
        }
    }

    /// Policy's decision. What an allowed call has that this version does not know is counted: the first sign of a new
    /// feature of the API.
    fn authorize(
        &self,
        session: &Session,
        caller: &Caller,
        endpoint: &Endpoint,
        call: &Peek,
    ) -> Result<Permit, Denial> {
        let lines = session.req_header().headers.get_all("anthropic-beta").iter().map(http::HeaderValue::as_bytes);
        let betas = claude::betas(lines).ok_or(Denial::RequestMalformed("its anthropic-beta"))?;
        let permit = self.policy.authorize(caller, endpoint, call, &betas, SystemTime::now())?;
        for field in call.unknown_fields() {
            self.metrics.unknown_name("field", field);
        }
        for beta in betas.iter().filter(|beta| !claude::known_beta(beta)) {
            self.metrics.unknown_name("beta", beta);
        }
        Ok(permit)
    }

    /// Holds the whole body and reads what policy decides on.
    async fn judge_body(&self, session: &mut Session, shape: Shape, own_time: &mut OwnTime) -> Result<Judged, Stop> {
        let mut held = self.body_memory.hold();
        let (bytes, digest) = body::read_whole(session, &mut held, &self.bounds, own_time).await?;
        let call = match shape {
            // Such as `cancel`, which takes a body or none.
            Shape::Resource if bytes.is_empty() => Peek::default(),
            Shape::Message | Shape::Batch | Shape::Resource => {
                claude::peek(&bytes, shape).map_err(Denial::BodyMalformed)?
            }
        };
        Ok(Judged { call, body: Some(Body { bytes, digest, held }) })
    }

    /// What a body says.
    async fn listen(&self, body: &Bytes, shape: Shape) -> Result<Said, Denial> {
        let said = self.unless_stopping(self.listening.request(body, shape)).await??;
        for (kind, &count) in &said.findings {
            self.metrics.found(kind.name(), count);
        }
        Ok(said)
    }

    /// An upload is not read here: it names no model. Its length is bounded as it passes by.
    fn admit_upload(&self, session: &Session) -> Result<(), Denial> {
        let headers = &session.req_header().headers;
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

/// What a request asks for, and the body that says so.
struct Judged {
    call: Peek,
    body: Option<Body>,
}

/// A body that was read whole.
struct Body {
    bytes: Bytes,
    /// Its SHA-256.
    digest: [u8; 32],
    /// The memory that it takes.
    held: Held,
}

/// Refuses what cannot be judged, whatever policy says: a change of protocol would carry bytes past every rule, a content
/// encoding hides them, and pages of a list that is cut here must be asked for as the API knows them.
fn refuse_unjudgeable(session: &Session, endpoint: &Endpoint) -> Result<(), Denial> {
    let request = session.req_header();
    if session.is_upgrade_req() || request.headers.contains_key(header::UPGRADE) {
        return Err(Denial::RequestMalformed("a change of protocol is not allowed"));
    }
    if request.headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Denial::BodyEncoded);
    }
    if endpoint.lists_models() && ModelPage::from_query(request.uri.query().unwrap_or_default()).is_none() {
        return Err(Denial::RequestMalformed("its limit, after_id or before_id"));
    }
    Ok(())
}
