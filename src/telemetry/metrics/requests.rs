//! Requests that ended, and how long they took.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Result};

use super::grid::Grid;
use super::register::Register;
use crate::claude::{EndpointGroup, Family};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The upstream's answer, an error of it among them, reached the client whole.
    Completed,
    /// It was answered here: no call, such as `HEAD /api/hello`.
    Answered,
    /// It was refused here.
    Refused,
    /// It was allowed, and failed on the way.
    Failed,
    /// The client left before the end of its answer.
    ClientLeft,
}

impl RequestOutcome {
    const ALL: [Self; 5] = [Self::Completed, Self::Answered, Self::Refused, Self::Failed, Self::ClientLeft];

    /// As metrics label it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::ClientLeft => "client_left",
        }
    }
}

/// A request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct EndedRequest {
    /// Once it was known.
    pub endpoint: Option<EndpointGroup>,
    /// Of the model that was asked for, once it was known.
    pub family: Option<Family>,
    /// What the client was told; `None` when it left before.
    pub status: Option<u16>,
    /// What became of it.
    pub outcome: RequestOutcome,
    /// From its head to its end.
    pub total: Duration,
    /// The proxy's own share of that; `None` where nothing was decided.
    pub own: Option<Duration>,
    /// From its head to the head of the upstream's answer.
    pub first_byte: Option<Duration>,
    /// From its head to the first piece of content of a stream.
    pub first_token: Option<Duration>,
}

/// Counts and times of requests.
pub(super) struct RequestMetrics {
    requests: IntCounterVec,
    counted: Grid<IntCounter>,
    duration: HistogramVec,
    durations: Grid<Histogram>,
    first_byte: ByFamily,
    first_token: ByFamily,
    own_allowed: Histogram,
    own_other: Histogram,
    pub(super) streams: IntGauge,
}

/// Seconds; answers of a model take from tenths of a second to ten minutes.
pub(super) const ANSWER_BUCKETS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// Seconds; the proxy's own share takes from tens of microseconds to what a slow disk or store takes.
const OWN_BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_2, 0.000_35, 0.000_5, 0.000_75, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0,
];
/// Statuses that are told apart: those of the API, of this proxy, and of what stands between it and the API. Any other one
/// counts by its class, so that an upstream cannot make labels.
const STATUSES: [(u16, &str); 27] = [
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (204, "204"),
    (206, "206"),
    (301, "301"),
    (302, "302"),
    (304, "304"),
    (307, "307"),
    (308, "308"),
    (400, "400"),
    (401, "401"),
    (402, "402"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (413, "413"),
    (422, "422"),
    (424, "424"),
    (429, "429"),
    (500, "500"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (529, "529"),
];
/// Of other statuses, and of none; `none` is the last.
const CLASSES: [&str; 7] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other", NONE];
/// The label of what is not known or does not apply.
const NONE: &str = "none";

impl RequestMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self> {
        let own = register.histograms(
            "portcullis_own_time_seconds",
            "The proxy's own share of a request's time: all but waiting for the client and for the upstream",
            &["decision"],
            OWN_BUCKETS,
        )?;
        Ok(Self {
            requests: register.counters(
                "portcullis_requests_total",
                "Requests that ended, by endpoint, model family, status and outcome",
                &["endpoint", "model_family", "status", "outcome"],
            )?,
            counted: Grid::new(ENDPOINTS * FAMILIES * (STATUSES.len() + CLASSES.len()) * RequestOutcome::ALL.len()),
            duration: register.histograms(
                "portcullis_request_duration_seconds",
                "Time from a request's head to its end",
                &["endpoint"],
                ANSWER_BUCKETS,
            )?,
            durations: Grid::new(ENDPOINTS),
            first_byte: ByFamily::new(register.histograms(
                "portcullis_first_byte_seconds",
                "Time from a request's head to the head of the upstream's answer",
                &["model_family"],
                ANSWER_BUCKETS,
            )?),
            first_token: ByFamily::new(register.histograms(
                "portcullis_first_token_seconds",
                "Time from a request's head to the first content of a streamed answer",
                &["model_family"],
                ANSWER_BUCKETS,
            )?),
            own_allowed: own.with_label_values(&["allowed"]),
            own_other: own.with_label_values(&["refused"]),
            streams: register.gauge("portcullis_streams_in_flight", "Streamed answers under way")?,
        })
    }

    /// Counts a request that has ended.
    pub(super) fn ended(&self, request: &EndedRequest) {
        let (status_at, status) = status(request.status);
        let endpoint = request.endpoint.map_or(NONE, EndpointGroup::name);
        let family = request.family.map_or(NONE, Family::label);
        let (endpoint_at, family_at) = (endpoint_index(request.endpoint), family_index(request.family));
        let statuses = STATUSES.len() + CLASSES.len();
        let row = (endpoint_at * FAMILIES + family_at) * statuses + status_at;
        let index = row * RequestOutcome::ALL.len() + request.outcome as usize;
        let count = || self.requests.with_label_values(&[endpoint, family, status, request.outcome.label()]);
        self.counted.at(index, count).inspect(|count| count.inc());
        let duration = self.durations.at(endpoint_at, || self.duration.with_label_values(&[endpoint]));
        duration.inspect(|duration| duration.observe(request.total.as_secs_f64()));
        if let Some(own) = request.own {
            let refused = request.outcome == RequestOutcome::Refused;
            let histogram = if refused { &self.own_other } else { &self.own_allowed };
            histogram.observe(own.as_secs_f64());
        }
        self.first_byte.observe(request.family, request.first_byte);
        self.first_token.observe(request.family, request.first_token);
    }
}

/// A histogram by model family.
struct ByFamily {
    family: HistogramVec,
    children: Grid<Histogram>,
}

impl ByFamily {
    fn new(family: HistogramVec) -> Self {
        Self { family, children: Grid::new(FAMILIES) }
    }

    fn observe(&self, family: Option<Family>, after: Option<Duration>) {
        let Some(after) = after else { return };
        let label = family.map_or(NONE, Family::label);
        let child = self.children.at(family_index(family), || self.family.with_label_values(&[label]));
        child.inspect(|child| child.observe(after.as_secs_f64()));
    }
}

/// Endpoints and none.
const ENDPOINTS: usize = EndpointGroup::ALL.len() + 1;
/// Families and none.
const FAMILIES: usize = Family::ALL.len() + 1;

fn endpoint_index(endpoint: Option<EndpointGroup>) -> usize {
    endpoint.map_or(ENDPOINTS - 1, |endpoint| endpoint as usize)
}

fn family_index(family: Option<Family>) -> usize {
    family.map_or(FAMILIES - 1, |family| family as usize)
}

/// Where a status is counted, and as what.
fn status(status: Option<u16>) -> (usize, &'static str) {
    let Some(status) = status else { return (STATUSES.len() + CLASSES.len() - 1, NONE) };
    if let Some((index, (_, label))) = STATUSES.iter().enumerate().find(|(_, (known, _))| *known == status) {
        return (index, label);
    }
    let class = match status / 100 {
        class @ 1..=5 => usize::from(class) - 1,
        _ => 5,
    };
    (STATUSES.len() + class, CLASSES.get(class).copied().unwrap_or(NONE))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::Metrics;
    use super::*;

    const REQUEST: EndedRequest = EndedRequest {
        endpoint: Some(EndpointGroup::Messages),
        family: Some(Family::Opus),
        status: Some(200),
        outcome: RequestOutcome::Completed,
        total: Duration::from_secs(1),
        own: Some(Duration::from_micros(150)),
        first_byte: Some(Duration::from_millis(700)),
        first_token: None,
    };

    #[test]
    fn every_combination_has_a_place_of_its_own() {
        let metrics = Metrics::new().unwrap();
        let endpoints: Vec<_> = EndpointGroup::ALL.into_iter().map(Some).chain([None]).collect();
        let families: Vec<_> = Family::ALL.into_iter().map(Some).chain([None]).collect();
        let mut places = HashSet::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            assert_eq!(endpoint_index(*endpoint), index);
        }
        for (index, family) in families.iter().enumerate() {
            assert_eq!(family_index(*family), index);
        }
        for (index, outcome) in RequestOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
        let statuses = STATUSES.map(|(status, _)| Some(status)).into_iter();
        for code in statuses.chain([Some(103), Some(226), Some(300), Some(418), Some(599), Some(999), None]) {
            assert!(places.insert(status(code)), "{code:?}");
        }
        assert!(places.iter().all(|(index, _)| *index < STATUSES.len() + CLASSES.len()));
        for &endpoint in &endpoints {
            for &family in &families {
                for outcome in RequestOutcome::ALL {
                    metrics.request_ended(&EndedRequest { endpoint, family, outcome, ..REQUEST });
                }
            }
        }
        let text = String::from_utf8(metrics.text()).unwrap();
        let ones = text.lines().filter(|line| line.starts_with("portcullis_requests_total{") && line.ends_with(" 1"));
        assert_eq!(ones.count(), endpoints.len() * families.len() * RequestOutcome::ALL.len());
    }

    #[test]
    fn an_upstream_cannot_make_labels() {
        let metrics = Metrics::new().unwrap();
        for status in 100..1000 {
            metrics.request_ended(&EndedRequest { status: Some(status), ..REQUEST });
        }
        let text = String::from_utf8(metrics.text()).unwrap();
        let series = text.lines().filter(|line| line.starts_with("portcullis_requests_total{"));
        assert_eq!(series.count(), STATUSES.len() + CLASSES.len() - 1);
        assert!(text.contains(r#"status="5xx",outcome"#) || text.contains(r#"status="5xx"} "#), "{text}");
    }

    #[test]
    fn the_own_share_of_refusals_does_not_hide_that_of_calls() {
        let metrics = Metrics::new().unwrap();
        metrics.request_ended(&REQUEST);
        metrics.request_ended(&EndedRequest { outcome: RequestOutcome::Refused, ..REQUEST });
        metrics.request_ended(&EndedRequest { own: None, outcome: RequestOutcome::Answered, ..REQUEST });
        let text = String::from_utf8(metrics.text()).unwrap();
        for line in [
            r#"portcullis_own_time_seconds_bucket{decision="allowed",le="0.0001"} 0"#,
            r#"portcullis_own_time_seconds_bucket{decision="allowed",le="0.0002"} 1"#,
            r#"portcullis_own_time_seconds_count{decision="refused"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
