//! The value that one request is, growing from phase to phase.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderName, HeaderValue, StatusCode};
use pingora::protocols::http::ServerSession;
use smallvec::SmallVec;
use uuid::Uuid;

use super::metering::Metered;
use super::overdue::Progress;
use super::own_time::OwnTime;
use super::receipt::Receipt;
use super::retry::Again;
use crate::audit::{LimitLeft, OnRecord, Ticket};
use crate::claude::{AnswerReader, BodyRule, Family, Match, Model, ModelPage, Peek};
use crate::credential::{KeyClaim, KeyId, UpstreamKey};
use crate::denial::Denial;
use crate::identity::Caller;
use crate::limit::{Held, InFlightGuard};
use crate::policy::Permit;
use crate::privacy::{AnswerWords, Said};
use crate::telemetry::{Attempt, StreamGuard, Trace};
use crate::upstream::{Lease, Report};

/// One request under way.
pub struct RequestCtx {
    /// Ours, in `x-portcullis-request-id` and in the record.
    pub id: String,
    /// When the head arrived, for durations.
    pub(super) arrived: Instant,
    /// When the head arrived, for the record.
    pub(super) time: SystemTime,
    /// The client's address, once known.
    pub(super) address: Option<IpAddr>,
    /// The verified caller, once there is one.
    pub(super) caller: Option<Caller>,
    /// The endpoint, once known.
    pub(super) found: Option<Match>,
    /// What the body asks for, once read.
    pub(super) call: Option<Peek>,
    /// What the body says, once listened to.
    pub(super) said: Said,
    /// How far the request has come.
    pub(super) stage: Stage,
    /// Bytes of a body that was judged, or of an upload so far.
    pub(super) body_length: usize,
    /// The real session while a [`Replay`](super::replay::Replay) stands in for it.
    pub(super) real_session: RealSession,
    pub(super) decided: Option<Duration>,
    /// The proxy's own share of its time.
    pub(super) own_time: OwnTime,
    /// When it ended.
    pub(super) ended: Option<Duration>,
    /// What it is traced as, once others are told of it.
    pub(super) trace: Option<Trace>,
    /// The header by which its client is.
    pub(super) trace_answer: Option<(HeaderName, HeaderValue)>,
    _in_flight: InFlightGuard,
}

/// Where the stand-in leaves the real session when it is dropped.
pub(super) type RealSession = Arc<Mutex<Option<ServerSession>>>;

/// How far a request has come.
#[derive(Default)]
pub(super) enum Stage {
    /// Nothing is decided.
    #[default]
    Arrived,
    /// It was answered here without being a call.
    Answered,
    /// It was refused.
    Refused(Denial),
    /// It may go upstream, or is there.
    Permitted(Box<Exchange>),
}

/// A permitted call and its answer.
pub(super) struct Exchange {
    pub(super) permit: Permit,
    /// The `begin` line on its way to the disk, until it is there.
    pub(super) ticket: Option<Ticket>,
    /// The proof that it is there.
    pub(super) on_record: Option<OnRecord>,
    pub(super) recorded: Option<Duration>,
    /// What was left of the limits when it was permitted.
    pub(super) limits: Vec<LimitLeft>,
    /// What has passed.
    pub(super) receipt: Receipt,
    /// The body's memory, held until the request ends.
    pub(super) _body: Option<Held>,
    /// How far it has come, for whoever watches its time.
    pub(super) progress: Arc<Progress>,
    /// Attempts so far.
    pub(super) attempts: usize,
    /// Those that came to nothing.
    pub(super) abandoned: Vec<Attempt>,
    /// Their addresses.
    pub(super) tried: SmallVec<[SocketAddr; 4]>,
    /// Attempts that came to no connection.
    pub(super) unconnected: usize,
    /// Whether an attempt broke off.
    pub(super) broken: bool,
    /// Why the next attempt is made.
    pub(super) again: Option<Again>,
    /// The use of an address for this attempt.
    pub(super) lease: Option<Lease>,
    /// The key of this attempt.
    pub(super) key: Option<Arc<UpstreamKey>>,
    /// The keys that the upstream has refused for this request.
    pub(super) refused_keys: SmallVec<[KeyId; 2]>,
    /// The address that was connected to last.
    pub(super) upstream: Option<SocketAddr>,
    pub(super) upstream_request_id: Option<String>,
    pub(super) connected: Option<Duration>,
    pub(super) first_byte: Option<Duration>,
    pub(super) first_token: Option<Duration>,
    /// What the upstream answered, whether or not it reached the client.
    pub(super) status: Option<StatusCode>,
    /// Reads the answer beside the relay.
    pub(super) reader: Option<AnswerReader>,
    /// Counts it while it streams.
    pub(super) stream: Option<StreamGuard>,
    /// What it says.
    pub(super) words: Option<AnswerWords>,
    /// An answer that is changed before it goes on, and so is held until it is whole.
    pub(super) rewrite: Option<Rewrite>,
    /// The last chunk of the answer was passed on.
    pub(super) ended: bool,
    /// What is held of the limits.
    pub(super) metered: Option<Metered>,
    /// The limit that ends the answer at the next event.
    pub(super) spent: Option<Denial>,
    /// What went wrong after the permit.
    pub(super) failure: Option<Denial>,
}

/// How an answer is changed.
#[derive(Debug)]
pub(super) enum Change {
    /// URLs of batch results lose their origin.
    ResultsUrls,
    /// Models that the caller may not use are left out, and this page of the others is shown.
    Models(ModelPage),
}

/// An answer that is held to be changed.
pub(super) struct Rewrite {
    pub(super) change: Change,
    pub(super) whole: Vec<u8>,
}

impl Exchange {
    pub(super) fn new(permit: Permit, metered: Metered, receipt: Receipt, body: Option<Held>) -> Self {
        Self {
            permit,
            ticket: None,
            on_record: None,
            recorded: None,
            limits: Vec::new(),
            receipt,
            metered: Some(metered),
            spent: None,
            _body: body,
            progress: Progress::new(),
            attempts: 0,
            abandoned: Vec::new(),
            tried: SmallVec::new(),
            unconnected: 0,
            broken: false,
            again: None,
            lease: None,
            key: None,
            refused_keys: SmallVec::new(),
            upstream: None,
            upstream_request_id: None,
            connected: None,
            first_byte: None,
            first_token: None,
            status: None,
            reader: None,
            stream: None,
            words: None,
            rewrite: None,
            ended: false,
            failure: None,
        }
    }

    /// What a key is wanted for.
    pub(super) fn claim<'a>(&'a self, teams: &'a [String], family: Family) -> KeyClaim<'a> {
        KeyClaim { teams, permit: &self.permit, family }
    }

    /// Tells what this attempt has seen of its address.
    pub(super) fn report(&self, report: Report) {
        if let Some(lease) = &self.lease {
            lease.report(report, Instant::now());
        }
    }

    /// Makes another attempt of it `after` the request arrived, elsewhere where there is an elsewhere.
    pub(super) fn begin_again(&mut self, again: Again, after: Duration) {
        self.abandon(after, again);
        self.broken |= again == Again::Broken;
        self.unconnected += usize::from(again == Again::Connect);
        self.again = Some(again);
        self.receipt.restart();
        // An address that refused a key is none to avoid.
        self.tried.extend(self.lease.take().map(|lease| lease.address()).filter(|_| again != Again::Key));
    }
}

impl RequestCtx {
    pub(super) fn new(in_flight: InFlightGuard) -> Self {
        let arrived = Instant::now();
        Self {
            id: format!("pcl_{}", Uuid::now_v7().simple()),
            arrived,
            time: SystemTime::now(),
            address: None,
            caller: None,
            found: None,
            call: None,
            said: Said::default(),
            stage: Stage::default(),
            body_length: 0,
            real_session: RealSession::default(),
            decided: None,
            own_time: OwnTime::at_work_since(arrived),
            ended: None,
            trace: None,
            trace_answer: None,
            _in_flight: in_flight,
        }
    }

    /// The line of the model that is asked for first.
    pub(super) fn family(&self) -> Family {
        let model = self.call.as_ref().and_then(|call| call.models().next());
        model.map_or(Family::Other, Model::family)
    }

    /// Whether its body passes by without being read.
    pub(super) fn is_upload(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.endpoint.body == BodyRule::Streamed)
    }

    /// The exchange with the upstream, once the call is permitted.
    pub(super) fn exchange(&mut self) -> Option<&mut Exchange> {
        match &mut self.stage {
            Stage::Permitted(exchange) => Some(exchange),
            Stage::Arrived | Stage::Answered | Stage::Refused(_) => None,
        }
    }
}
