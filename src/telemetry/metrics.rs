//! Metrics in Prometheus's conventions. Every label has a closed or bounded set of values.

use std::time::Duration;

use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

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
    /// Requests under way.
    pub in_flight: IntGauge,
    /// Bytes of request bodies held now.
    pub body_bytes: IntGauge,
    /// Audit records handed to the writer.
    pub audit_records: IntCounter,
    /// 1 while the audit log can be written.
    pub audit_writable: IntGauge,
    /// Addresses of the upstream that can be used.
    pub upstream_addresses: IntGauge,
    /// Revocations in force.
    pub revocations: IntGauge,
    /// 1 while the file of revocations is missing or wrong, and an older list is in force.
    pub revocation_faulty: IntGauge,
    /// Seconds since the list in force was known to be what the file says.
    pub revocation_age: Gauge,
    /// Keys of an issuer that can verify.
    pub jwks_keys: IntGaugeVec,
    /// Seconds since an issuer's keys were fetched.
    pub jwks_age: GaugeVec,
    /// Fetches of an issuer's keys that failed.
    pub jwks_fetch_failures: IntGaugeVec,
    /// Counts of limits in memory.
    pub limit_counts: IntGauge,
    /// 1 while the shared store answers.
    pub store_up: IntGauge,
    /// Calls to the store that failed.
    pub store_failures: IntGauge,
    /// Calls that were decided without the store.
    pub store_local_decisions: IntGauge,
    /// Corrections that wait for the store.
    pub store_waiting: IntGauge,
    /// Corrections that there was no room for.
    pub store_lost: IntGauge,
    /// DPoP proofs that were forgotten while they could still be replayed.
    pub proofs_forgotten: IntGauge,
    upstream_retries: IntCounter,
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
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let float_gauge = |name: &str, help: &str| {
            let gauge = Gauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        let duration = HistogramVec::new(
            HistogramOpts::new("portcullis_request_duration_seconds", "Time from a request's head to its end")
                .buckets(ANSWER_BUCKETS.to_vec()),
            &["endpoint"],
        )?;
        registry.register(Box::new(duration.clone()))?;
        let build = IntGauge::with_opts(
            Opts::new("portcullis_build_info", "The running version").const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1);
        registry.register(Box::new(build))?;
        Ok(Self {
            requests: counters(
                "portcullis_requests_total",
                "Requests by endpoint, model family and status",
                &["endpoint", "model_family", "status"],
            )?,
            denied: counters("portcullis_denied_total", "Requests refused or failed here, by reason", &["reason"])?,
            tokens: counters("portcullis_tokens_total", "Tokens by kind and model family", &["kind", "model_family"])?,
            cost: {
                let help = "Cost of answers in US dollars at the prices in force, by model family";
                let counters = CounterVec::new(Opts::new("portcullis_cost_usd_total", help), &["model_family"])?;
                registry.register(Box::new(counters.clone()))?;
                counters
            },
            duration,
            first_byte: histogram(
                "portcullis_first_byte_seconds",
                "Time from a request's head to the head of the upstream's answer",
                ANSWER_BUCKETS,
            )?,
            decision: histogram(
                "portcullis_decision_seconds",
                "Time from a request's head to the decision on it, its body included",
                DECISION_BUCKETS,
            )?,
            in_flight: gauge("portcullis_requests_in_flight", "Requests under way")?,
            body_bytes: gauge("portcullis_request_body_held_bytes", "Bytes of request bodies held")?,
            audit_records: counter("portcullis_audit_records_total", "Audit records handed to the writer")?,
            audit_writable: gauge("portcullis_audit_writable", "1 while the audit log can be written")?,
            upstream_addresses: gauge("portcullis_upstream_addresses", "Upstream addresses that can be used")?,
            revocations: gauge("portcullis_revocations", "Revocations in force")?,
            revocation_faulty: gauge(
                "portcullis_revocation_faulty",
                "1 while the file of revocations is missing or wrong, and an older list is in force",
            )?,
            revocation_age: float_gauge(
                "portcullis_revocation_age_seconds",
                "Time since the list in force was known to be what the file says",
            )?,
            jwks_keys: gauges("portcullis_jwks_keys", "Keys of an issuer that can verify", &["issuer"])?,
            jwks_age: {
                let help = "Time since an issuer's keys were fetched";
                let gauges = GaugeVec::new(Opts::new("portcullis_jwks_age_seconds", help), &["issuer"])?;
                registry.register(Box::new(gauges.clone()))?;
                gauges
            },
            jwks_fetch_failures: gauges(
                "portcullis_jwks_fetch_failures_total",
                "Fetches of an issuer's keys that failed",
                &["issuer"],
            )?,
            limit_counts: gauge("portcullis_limit_counts", "Counts of limits that are kept in memory")?,
            store_up: gauge("portcullis_store_up", "1 while the shared store answers; 0 also where there is none")?,
            store_failures: gauge("portcullis_store_failures_total", "Calls to the shared store that failed")?,
            store_local_decisions: gauge(
                "portcullis_store_local_decisions_total",
                "Calls whose limits were decided without the shared store",
            )?,
            store_waiting: gauge("portcullis_store_waiting", "Corrections that wait for the shared store")?,
            store_lost: gauge(
                "portcullis_store_lost_total",
                "Corrections that there was no room for while the shared store was away",
            )?,
            proofs_forgotten: gauge(
                "portcullis_dpop_proofs_forgotten_total",
                "DPoP proofs that were forgotten while they could still be replayed",
            )?,
            upstream_retries: counter(
                "portcullis_upstream_retries_total",
                "Attempts after the first to reach the upstream",
            )?,
            unknown_names: UnknownNames::new(counters(
                "portcullis_unknown_names_total",
                "Beta values and body fields that this version does not know, in calls that were allowed",
                &["kind", "name"],
            )?),
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

    /// Notes how long a decision took.
    pub fn decided(&self, after: Duration) {
        self.decision.observe(after.as_secs_f64());
    }

    /// Notes when the upstream's answer began.
    pub fn first_byte(&self, after: Duration) {
        self.first_byte.observe(after.as_secs_f64());
    }

    /// Counts another attempt to reach the upstream.
    pub fn upstream_retry(&self) {
        self.upstream_retries.inc();
    }

    /// All metrics in Prometheus's text format.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
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
