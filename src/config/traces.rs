//! `[telemetry.traces]`: which requests are traced, as part of whose trace, and who is told of it.

use std::str::FromStr;

use super::reader::Section;

/// Which requests are traced.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // each is a key
pub struct TracesConfig {
    /// Share of new traces that is sampled, from 0 to 1.
    pub ratio: f64,
    /// Whether a request that failed is sampled all the same.
    pub on_error: bool,
    /// Whose `traceparent` is believed.
    pub accept: TraceSource,
    /// Whether the upstream is told of the trace.
    pub propagate_upstream: bool,
    /// The header that tells clients of it.
    pub answer_header: AnswerHeader,
    /// Whether spans say who called.
    pub subject: bool,
}

/// Whose `traceparent` is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TraceSource {
    /// Nobody's: every trace begins here.
    #[default]
    Never,
    /// That of requests from `listen.trusted_proxies`.
    TrustedProxies,
    /// Everybody's.
    Always,
}

/// The header that tells clients of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AnswerHeader {
    /// None.
    #[default]
    None,
    /// `traceresponse`, as a draft of W3C Trace Context has it.
    TraceResponse,
    /// `traceparent`, as some clients look for it.
    TraceParent,
}

/// `None` of what is wrong; else the traces, if there are to be any.
#[allow(clippy::option_option)] // none at all, or one that is wrong
pub(super) fn read(section: &Section<'_>, has_collector: bool) -> Option<Option<TracesConfig>> {
    let enabled = section.flag("enabled").unwrap_or(false);
    let ratio = section.share("ratio").unwrap_or(DEFAULT_RATIO);
    let on_error = section.flag("on_error").unwrap_or(true);
    let accept = section.parsed("accept", "\"never\", \"trusted_proxies\" or \"always\"").unwrap_or_default();
    let propagate_upstream = section.flag("propagate_upstream").unwrap_or(false);
    let answer_header =
        section.parsed("answer_header", "\"none\", \"traceresponse\" or \"traceparent\"").unwrap_or_default();
    let subject = section.flag("subject").unwrap_or(false);
    if !enabled {
        return Some(None);
    }
    if !has_collector {
        section.fault(
            "enabled",
            "has no collector",
            "add otlp = \"https://collector:4318\" to [telemetry], or take it out",
        );
        return None;
    }
    if ratio == 0.0 && !on_error && accept == TraceSource::Never {
        section.fault("ratio", "samples nothing", "raise it, or say on_error = true, or enabled = false");
    }
    Some(Some(TracesConfig { ratio, on_error, accept, propagate_upstream, answer_header, subject }))
}

/// One in a hundred.
const DEFAULT_RATIO: f64 = 0.01;

impl FromStr for TraceSource {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "never" => Ok(Self::Never),
            "trusted_proxies" => Ok(Self::TrustedProxies),
            "always" => Ok(Self::Always),
            _ => Err(()),
        }
    }
}

impl FromStr for AnswerHeader {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "none" => Ok(Self::None),
            "traceresponse" => Ok(Self::TraceResponse),
            "traceparent" => Ok(Self::TraceParent),
            _ => Err(()),
        }
    }
}
