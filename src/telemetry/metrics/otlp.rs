//! What became of audit records and spans that were to go to a collector.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Result};

use super::register::Register;

/// Counts of an export, of records or of spans; its thread has a clone.
#[derive(Clone)]
pub struct OtlpMetrics {
    /// What the collector took.
    pub sent: IntCounter,
    /// What there was no room for, and what was left at the stop.
    pub dropped: IntCounter,
    /// What the collector did not take, or what could not be read.
    pub failed: IntCounter,
    /// How many wait or are on their way.
    pub queued: IntGauge,
    /// Their bytes.
    pub queued_bytes: IntGauge,
}

impl OtlpMetrics {
    pub(super) fn of_records(register: &Register<'_>) -> Result<Self> {
        let records = register.counters(
            "portcullis_otlp_records_total",
            "Lines of the audit log that were to go to the collector, by what became of them",
            &["outcome"],
        )?;
        let queued =
            register.gauge("portcullis_otlp_queue_records", "Lines of the audit log that wait for the collector")?;
        let bytes = register.gauge("portcullis_otlp_queue_bytes", "Bytes of lines that wait for the collector")?;
        Ok(Self::new(&records, queued, bytes))
    }

    pub(super) fn of_spans(register: &Register<'_>) -> Result<Self> {
        let spans = register.counters(
            "portcullis_otlp_spans_total",
            "Spans that were to go to the collector, by what became of them",
            &["outcome"],
        )?;
        let queued = register.gauge("portcullis_otlp_queue_spans", "Spans that wait for the collector")?;
        let bytes = register.gauge(
            "portcullis_otlp_queue_span_bytes",
            "Bytes of what spans are made of that waits for the collector",
        )?;
        Ok(Self::new(&spans, queued, bytes))
    }

    fn new(counts: &IntCounterVec, queued: IntGauge, queued_bytes: IntGauge) -> Self {
        let outcome = |label: &str| counts.with_label_values(&[label]);
        Self { sent: outcome("sent"), dropped: outcome("dropped"), failed: outcome("failed"), queued, queued_bytes }
    }
}
