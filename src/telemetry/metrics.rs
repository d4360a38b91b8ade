//! Metrics in Prometheus's conventions. Every label has a closed or bounded set of values.

mod anomaly;
mod audit;
mod otlp;
mod register;
mod reload;
mod ship;
mod state;
mod upstream;

use std::time::{Duration, SystemTime};

use prometheus::{CounterVec, Encoder, Histogram, HistogramVec, IntCounter, IntCounterVec, Registry, TextEncoder};

pub use self::anomaly::AnomalyMetrics;
pub use self::audit::AuditMetrics;
pub use self::otlp::OtlpMetrics;
use self::register::Register;
pub use self::reload::{ReloadMetrics, ReloadOutcome};
pub use self::ship::ShipMetrics;
pub use self::state::State;
pub use self::upstream::UpstreamState;
use super::unknown_names::UnknownNames;
use crate::claude::{Family, Usage};
use crate::denial::Denial;

/// All metrics, in a registry of their own.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    denied: IntCounterVec,
    tokens: IntCounterVec,
    cost: CounterVec,
    duration: HistogramVec,
    first_byte: Histogram,
    decision: Histogram,
    /// Audit records handed to the writer.
    pub audit_records: IntCounter,
    /// What the audit log's writer counts.
    pub audit: AuditMetrics,
    /// What becomes of closed segments.
    pub ship: ShipMetrics,
    /// The export of audit records.
    pub otlp: OtlpMetrics,
    /// What becomes of reloads.
    pub reload: ReloadMetrics,
    /// The export of spans.
    pub otlp_spans: OtlpMetrics,
    /// What is set when it is asked for.
    pub state: State,
    /// The same of the upstream.
    pub upstream: UpstreamState,
    /// What is out of the ordinary.
    pub anomaly: AnomalyMetrics,
    findings: IntCounterVec,
    upstream_retries: IntCounterVec,
    unknown_names: UnknownNames,
}

/// Seconds; answers of a model take from tenths of a second to ten minutes.
const ANSWER_BUCKETS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// Seconds; a decision takes from microseconds to the time that a slow client needs for its body.
const DECISION_BUCKETS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

impl Metrics {
    /// Makes and registers all metrics.
    ///
    /// # Errors
    /// Only when two have one name, which a test would show.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let register = Register(&registry);
        register.fact("portcullis_build_info", "The running version", "version", env!("CARGO_PKG_VERSION"))?;
        Ok(Self {
            requests: register.counters(
                "portcullis_requests_total",
                "Requests by endpoint, model family and status",
                &["endpoint", "model_family", "status"],
            )?,
            denied: register.counters(
                "portcullis_denied_total",
                "Requests refused or failed here, by reason",
                &["reason"],
            )?,
            tokens: register.counters(
                "portcullis_tokens_total",
                "Tokens by kind and model family",
                &["kind", "model_family"],
            )?,
            cost: register.float_counters(
                "portcullis_cost_usd_total",
                "Cost of answers in US dollars at the prices in force, by model family",
                &["model_family"],
            )?,
            duration: register.histograms(
                "portcullis_request_duration_seconds",
                "Time from a request's head to its end",
                &["endpoint"],
                ANSWER_BUCKETS,
            )?,
            first_byte: register.histogram(
                "portcullis_first_byte_seconds",
                "Time from a request's head to the head of the upstream's answer",
                ANSWER_BUCKETS,
            )?,
            decision: register.histogram(
                "portcullis_decision_seconds",
                "Time from a request's head to the decision on it, its body included",
                DECISION_BUCKETS,
            )?,
            audit_records: register.counter("portcullis_audit_records_total", "Audit records handed to the writer")?,
            findings: register.counters(
                "portcullis_privacy_findings_total",
                "Personal data and secrets found in requests, by kind",
                &["kind"],
            )?,
            upstream_retries: register.counters(
                "portcullis_upstream_retries_total",
                "Attempts after the first, by why they were made",
                &["cause"],
            )?,
            unknown_names: UnknownNames::new(register.counters(
                "portcullis_unknown_names_total",
                "Beta values and body fields that this version does not know, in calls that were allowed",
                &["kind", "name"],
            )?),
            audit: AuditMetrics::new(&register)?,
            ship: ShipMetrics::new(&register)?,
            otlp: OtlpMetrics::of_records(&register)?,
            otlp_spans: OtlpMetrics::of_spans(&register)?,
            reload: ReloadMetrics::new(&register)?,
            state: State::new(&register)?,
            upstream: UpstreamState::new(&register)?,
            anomaly: AnomalyMetrics::new(&register)?,
            registry,
        })
    }

    /// Counts a request that has ended. `status` is `None` when the client left before one.
    pub fn request_ended(&self, endpoint: Option<&str>, family: Option<Family>, status: Option<u16>, total: Duration) {
        let endpoint = endpoint.unwrap_or("none");
        let status = status.map_or("none".to_owned(), |status| status.to_string());
        self.requests.with_label_values(&[endpoint, family.map_or("none", Family::label), &status]).inc();
        self.duration.with_label_values(&[endpoint]).observe(total.as_secs_f64());
    }

    /// Counts a refusal or failure.
    pub fn denied(&self, denial: &Denial) {
        self.denied.with_label_values(&[denial.reason()]).inc();
    }

    /// Counts what an answer used, and what that costs where the price is known.
    pub fn used(&self, family: Family, usage: &Usage, cost_usd: Option<f64>) {
        if let Some(cost) = cost_usd {
            self.cost.with_label_values(&[family.label()]).inc_by(cost);
        }
        for (kind, tokens) in [
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cache_write", usage.cache_creation_input_tokens),
            ("cache_read", usage.cache_read_input_tokens),
        ] {
            if let Some(tokens) = tokens {
                self.tokens.with_label_values(&[kind, family.label()]).inc_by(tokens);
            }
        }
    }

    /// Counts a beta value (`beta`) or a body field (`field`) that this version does not know.
    pub fn unknown_name(&self, kind: &'static str, name: &str) {
        self.unknown_names.count(kind, name);
    }

    /// Counts what was found in a request: a kind of the detectors or of the configuration.
    pub fn found(&self, kind: &str, count: u64) {
        self.findings.with_label_values(&[kind]).inc_by(count);
    }

    /// Notes how long a decision took.
    pub fn decided(&self, after: Duration) {
        self.decision.observe(after.as_secs_f64());
    }

    /// Notes when the upstream's answer began.
    pub fn first_byte(&self, after: Duration) {
        self.first_byte.observe(after.as_secs_f64());
    }

    /// Counts another attempt to reach the upstream.
    pub fn upstream_retry(&self, cause: &'static str) {
        self.upstream_retries.with_label_values(&[cause]).inc();
    }

    /// All metrics in Prometheus's text format.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        self.ship.show(SystemTime::now());
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers_and_shows() {
        let metrics = Metrics::new().unwrap();
        metrics.denied(&Denial::CredentialMissing);
        metrics.used(Family::Opus, &Usage { input_tokens: Some(7), ..Usage::default() }, Some(0.25));
        metrics.request_ended(Some("messages"), Some(Family::Opus), Some(200), Duration::from_secs(1));
        let text = String::from_utf8(metrics.text()).unwrap();
        for line in [
            "portcullis_denied_total{reason=\"credential_missing\"} 1",
            "portcullis_tokens_total{kind=\"input\",model_family=\"opus\"} 7",
            "portcullis_cost_usd_total{model_family=\"opus\"} 0.25",
            "portcullis_requests_total{endpoint=\"messages\",model_family=\"opus\",status=\"200\"} 1",
            "portcullis_requests_in_flight 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
