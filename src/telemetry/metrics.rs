//! Metrics in Prometheus's conventions. Every label has a closed or bounded set of values.

mod anomaly;
mod audit;
mod grid;
mod otlp;
mod process;
mod register;
mod reload;
mod requests;
mod ship;
mod state;
#[cfg(test)]
mod tests;
mod top;
mod upstream;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use prometheus::{Counter, Encoder, Histogram, IntCounter, IntCounterVec, IntGauge, TextEncoder};

pub use self::anomaly::AnomalyMetrics;
pub use self::audit::AuditMetrics;
pub use self::otlp::OtlpMetrics;
use self::process::ProcessMetrics;
use self::register::{Catalogue, Register};
pub use self::reload::{ReloadMetrics, ReloadOutcome};
use self::requests::RequestMetrics;
pub use self::requests::{EndedRequest, RequestOutcome};
pub use self::ship::ShipMetrics;
pub use self::state::State;
use self::top::Top;
pub use self::upstream::UpstreamState;
use super::unknown_names::UnknownNames;
use crate::claude::{Family, Usage};
use crate::denial::Denial;

/// All metrics, in a registry of their own.
pub struct Metrics {
    catalogue: Catalogue,
    requests: RequestMetrics,
    denied: HashMap<&'static str, IntCounter>,
    /// By kind and family, in the order of [`TOKEN_KINDS`] and [`Family::ALL`].
    tokens: [[IntCounter; Family::ALL.len()]; TOKEN_KINDS.len()],
    cost: [Counter; Family::ALL.len()],
    subjects: Top,
    teams: Top,
    decision: Histogram,
    connections: [IntCounter; 2],
    connect: Histogram,
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
    process: ProcessMetrics,
    findings: IntCounterVec,
    upstream_retries: IntCounterVec,
    unknown_names: UnknownNames,
}

/// Kinds of tokens, as metrics label them.
const TOKEN_KINDS: [&str; 4] = ["input", "output", "cache_write", "cache_read"];
/// Teams of one caller that are counted.
const MAX_TEAMS: usize = 16;
/// Seconds; a decision takes from microseconds to the time that a slow client needs for its body.
const DECISION_BUCKETS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Seconds; within a zone a handshake takes a few milliseconds.
const CONNECT_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Metrics {
    /// Makes and registers all metrics.
    ///
    /// # Errors
    /// Only when two have one name, which a test would show.
    pub fn new() -> prometheus::Result<Self> {
        let catalogue = Catalogue::default();
        let register = Register(&catalogue);
        register.fact("portcullis_build_info", "The running version", "version", env!("CARGO_PKG_VERSION"))?;
        let denied =
            register.counters("portcullis_denied_total", "Requests refused or failed here, by reason", &["reason"])?;
        let tokens = register.counters(
            "portcullis_tokens_total",
            "Tokens by kind and model family",
            &["kind", "model_family"],
        )?;
        let cost = register.float_counters(
            "portcullis_cost_usd_total",
            "Cost of answers in US dollars at the prices in force, by model family",
            &["model_family"],
        )?;
        let connections = register.counters(
            "portcullis_upstream_connections_total",
            "Connections that attempts were given: opened for them, or reused from the pool",
            &["kind"],
        )?;
        Ok(Self {
            requests: RequestMetrics::new(&register)?,
            // All from the start: the first refusal of its kind is a rise like any other.
            denied: Denial::REASONS.map(|reason| (reason, denied.with_label_values(&[reason]))).into(),
            tokens: TOKEN_KINDS.map(|kind| Family::ALL.map(|family| tokens.with_label_values(&[kind, family.label()]))),
            cost: Family::ALL.map(|family| cost.with_label_values(&[family.label()])),
            subjects: register.add(Top::new("subject")?)?,
            teams: register.add(Top::new("team")?)?,
            decision: register.histogram(
                "portcullis_decision_seconds",
                "Time from a request's head to the decision on it, its body included",
                DECISION_BUCKETS,
            )?,
            connections: ["opened", "reused"].map(|kind| connections.with_label_values(&[kind])),
            connect: register.histogram(
                "portcullis_upstream_connect_seconds",
                "Time that opening a connection to the upstream took, its TLS handshake included",
                CONNECT_BUCKETS,
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
            process: ProcessMetrics::new(&register)?,
            catalogue,
        })
    }

    /// Shows so many subjects and teams by name from now on.
    pub fn show_most(&self, subjects: usize, teams: usize) {
        self.subjects.show_most(subjects);
        self.teams.show_most(teams);
    }

    /// Counts a request that has ended.
    pub fn request_ended(&self, request: &EndedRequest) {
        self.requests.ended(request);
    }

    /// Counts a request of a verified caller, and what it cost where that is known. It counts for each of the first teams.
    pub fn caller(&self, issuer: &str, subject: &str, teams: &[String], cost_usd: f64) {
        self.subjects.count(issuer, subject, cost_usd);
        for team in teams.iter().take(MAX_TEAMS) {
            self.teams.count(issuer, team, cost_usd);
        }
    }

    /// Counts a refusal or failure.
    pub fn denied(&self, denial: &Denial) {
        self.denied.get(denial.reason()).inspect(|count| count.inc());
    }

    /// Counts what an answer used, and what that costs where the price is known.
    pub fn used(&self, family: Family, usage: &Usage, cost_usd: Option<f64>) {
        let of_family = family as usize;
        if let (Some(cost), Some(counter)) = (cost_usd, self.cost.get(of_family)) {
            counter.inc_by(cost);
        }
        let used =
            [usage.input_tokens, usage.output_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens];
        for (tokens, counters) in used.into_iter().zip(&self.tokens) {
            if let (Some(tokens), Some(counter)) = (tokens, counters.get(of_family)) {
                counter.inc_by(tokens);
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

    /// Counts a connection that an attempt was given after it `waited` for it.
    pub fn connected(&self, reused: bool, waited: Duration) {
        let [opened, taken] = &self.connections;
        if reused {
            return taken.inc();
        }
        opened.inc();
        self.connect.observe(waited.as_secs_f64());
    }

    /// Counts a streamed answer until the guard is dropped.
    pub fn stream(&self) -> StreamGuard {
        self.requests.streams.inc();
        StreamGuard(self.requests.streams.clone())
    }

    /// Counts another attempt to reach the upstream.
    pub fn upstream_retry(&self, cause: &'static str) {
        self.upstream_retries.with_label_values(&[cause]).inc();
    }

    /// All metrics in Prometheus's text format.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        self.ship.show(SystemTime::now());
        self.process.show();
        if let Err(error) = TextEncoder::new().encode(&self.catalogue.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}

/// A streamed answer under way.
pub struct StreamGuard(IntGauge);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
