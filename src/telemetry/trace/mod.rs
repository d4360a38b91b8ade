//! Which requests are traced, as part of whose trace, and what is told of them. Spans are made when a request has ended, of
//! the times that its record has anyway: on the way nothing is paid for them, and an error is sampled after the fact.

mod context;
mod ended;

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use opentelemetry::trace::{SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

pub use self::context::TraceParent;
pub use self::ended::{Attempt, AttemptEnd, Ended, Route, attempt_error, request_error};
use super::otlp::SpanTap;
use crate::audit::Record;
use crate::config::{AnswerHeader, TraceSource, TracesConfig};

/// Decides on the tracing of requests.
pub struct Tracer {
    config: TracesConfig,
    /// Sampled is what is not below it, of the 56 bits that all who sample by a trace id look at.
    threshold: u64,
    trusted_proxies: Vec<IpNet>,
    spans: Arc<SpanTap>,
}

/// A request as part of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    id: TraceId,
    /// Of the request itself; those of its attempts follow.
    span: SpanId,
    /// The caller's span.
    parent: Option<SpanId>,
    /// The caller's `tracestate`.
    state: Option<String>,
    is_random: bool,
    is_sampled: bool,
}

/// Bits of a trace id that say whether it is sampled.
const RANDOMNESS: u32 = 56;

impl Tracer {
    /// A tracer whose spans go to `spans`.
    pub fn new(config: TracesConfig, trusted_proxies: Vec<IpNet>, spans: Arc<SpanTap>) -> Self {
        let threshold = threshold(config.ratio);
        Self { config, threshold, trusted_proxies, spans }
    }

    /// Where its spans go.
    pub fn spans(&self) -> Arc<SpanTap> {
        Arc::clone(&self.spans)
    }

    /// Whether the upstream is told of the trace.
    pub fn tells_upstream(&self) -> bool {
        self.config.propagate_upstream
    }

    /// The header that tells clients of the trace, if one does.
    pub fn answer_header(&self) -> Option<HeaderName> {
        match self.config.answer_header {
            AnswerHeader::None => None,
            AnswerHeader::TraceResponse => Some(HeaderName::from_static("traceresponse")),
            AnswerHeader::TraceParent => Some(HeaderName::from_static("traceparent")),
        }
    }

    /// The trace of a request that came from `peer`: its caller's where that one is believed, else a new one. Sampled as the
    /// caller has it, a new one by its id.
    pub fn begin(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Trace {
        let parent = if self.believes(peer) { TraceParent::from_headers(headers) } else { None };
        let ids = RandomIdGenerator::default();
        let span = ids.new_span_id();
        if let Some(parent) = parent {
            return Trace {
                id: parent.trace,
                span,
                parent: Some(parent.span),
                state: context::trace_state(&headers.get_all("tracestate")),
                is_random: parent.flags.to_u8() & context::RANDOM != 0,
                is_sampled: parent.flags.is_sampled(),
            };
        }
        let id = ids.new_trace_id();
        Trace { id, span, parent: None, state: None, is_random: true, is_sampled: self.samples(id) }
    }

    /// The trace of a request that has ended, if anybody may ask for it: it was shown to others when it had `begun`, its
    /// caller began it, or its spans are sent, by now also because it `failed`.
    pub fn conclude(
        &self,
        begun: Option<Trace>,
        failed: bool,
        peer: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Option<Trace> {
        let on_error = failed && self.config.on_error;
        let is_known = begun.is_some();
        if !is_known && !on_error && self.threshold == NEVER && !self.believes(peer) {
            return None; // no id is drawn
        }
        let mut trace = begun.unwrap_or_else(|| self.begin(peer, headers));
        trace.is_sampled |= on_error;
        (is_known || trace.is_sampled || trace.parent.is_some()).then_some(trace)
    }

    /// Has the spans of a request sent, if it is sampled. Never blocks.
    pub fn send(&self, trace: Trace, record: Record, came_to: impl FnOnce(&mut Ended)) {
        if trace.is_sampled {
            let mut ended = Ended::new(trace, record, self.config.subject);
            came_to(&mut ended);
            self.spans.offer(ended);
        }
    }

    fn believes(&self, peer: Option<IpAddr>) -> bool {
        match self.config.accept {
            TraceSource::Never => false,
            TraceSource::Always => true,
            TraceSource::TrustedProxies => peer.is_some_and(|peer| {
                let peer = peer.to_canonical();
                self.trusted_proxies.iter().any(|network| network.contains(&peer))
            }),
        }
    }

    fn samples(&self, id: TraceId) -> bool {
        randomness(id) >= self.threshold
    }
}

/// The threshold that no id reaches.
const NEVER: u64 = 1 << RANDOMNESS;

/// Ids below it are not sampled (OpenTelemetry, "`TraceState`: Probability Sampling", section "Consistent probability
/// sampling"): a trace that is sampled at a ratio is so at every higher one, here and at others.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 56 bits of a share
fn threshold(ratio: f64) -> u64 {
    ((1.0 - ratio.clamp(0.0, 1.0)) * NEVER as f64) as u64
}

/// The last 56 bits.
fn randomness(id: TraceId) -> u64 {
    let low = u128::from_be_bytes(id.to_bytes()) & u128::from(NEVER - 1);
    u64::try_from(low).unwrap_or_default()
}

impl Trace {
    /// The trace's id, 32 hex digits.
    pub fn id(&self) -> TraceId {
        self.id
    }

    /// The span of the request itself.
    pub fn span(&self) -> SpanId {
        self.span
    }

    /// The span of an attempt upstream, counted from 0.
    pub fn attempt(&self, number: usize) -> SpanId {
        let number = u64::try_from(number).unwrap_or_default().wrapping_add(1);
        let id = u64::from_be_bytes(self.span.to_bytes()).wrapping_add(number);
        SpanId::from(id.max(1)) // none is 0
    }

    /// The caller's span; `None` of a trace that begins here.
    pub fn parent(&self) -> Option<SpanId> {
        self.parent
    }

    /// The caller's `tracestate`, checked.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Whether its spans are sent.
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// Its flags.
    pub fn flags(&self) -> TraceFlags {
        TraceFlags::new(if self.is_random { context::RANDOM } else { 0 }).with_sampled(self.is_sampled)
    }

    /// The value of `traceparent` that names `span` of this trace as the parent, or of `traceresponse`.
    pub fn header(&self, span: SpanId) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("00-{}-{span}-{:02x}", self.id, self.flags().to_u8())).ok()
    }
}

#[cfg(test)]
pub(super) mod sample;
#[cfg(test)]
mod tests;
