//! What became of audit records that were to go to a collector.

use prometheus::{IntCounter, IntGauge, Result};

use super::register::Register;

/// Counts of the export; its thread has a clone.
#[derive(Clone)]
pub struct OtlpMetrics {
    /// Records that the collector took.
    pub sent: IntCounter,
    /// Records that there was no room for, and those left at the stop.
    pub dropped: IntCounter,
    /// Records that the collector did not take, or that could not be read.
    pub failed: IntCounter,
    /// Records that wait or are on their way.
    pub queued: IntGauge,
    /// Their bytes.
    pub queued_bytes: IntGauge,
}

impl OtlpMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self> {
        let records = register.counters(
            "portcullis_otlp_records_total",
            "Lines of the audit log that were to go to the collector, by what became of them",
            &["outcome"],
        )?;
        let outcome = |label: &str| records.with_label_values(&[label]);
        Ok(Self {
            sent: outcome("sent"),
            dropped: outcome("dropped"),
            failed: outcome("failed"),
            queued: register
                .gauge("portcullis_otlp_queue_records", "Lines of the audit log that wait for the collector")?,
            queued_bytes: register
                .gauge("portcullis_otlp_queue_bytes", "Bytes of lines that wait for the collector")?,
        })
    }
}
