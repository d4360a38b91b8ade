//! What the writer of the audit log counts.

use prometheus::{Histogram, IntCounter, IntGauge, Result};

use super::register::{Catalogue, Register};

/// Counts of the audit log. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct AuditMetrics {
    /// Lines that are in the log.
    pub committed: IntCounter,
    /// Groups that were written.
    pub groups: IntCounter,
    /// How long each sync took.
    pub sync: Histogram,
    /// Attempts to write a group that failed.
    pub write_failures: IntCounter,
    /// Requests that were refused because they could not be recorded.
    pub refused: IntCounter,
    /// Records that could not be kept.
    pub lost: IntCounter,
    /// Records that no checkpoint covers yet.
    pub unsigned: IntGauge,
    /// When the last checkpoint was written, in seconds since 1970.
    pub last_checkpoint: IntGauge,
    /// 1 when the log was found damaged at the start.
    pub damaged: IntGauge,
    /// Records that wait for the writer; set when it is asked for.
    pub queued: IntGauge,
}

impl AuditMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self> {
        Ok(Self {
            committed: register.counter("portcullis_audit_lines_total", "Lines that were written to the audit log")?,
            groups: register.counter("portcullis_audit_groups_total", "Groups of lines that were written together")?,
            sync: register.histogram(
                "portcullis_audit_sync_seconds",
                "Time that a sync of the audit log to its disk took",
                &[0.000_1, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0],
            )?,
            write_failures: register
                .counter("portcullis_audit_write_failures_total", "Attempts to write to the audit log that failed")?,
            refused: register.counter(
                "portcullis_audit_unrecorded_refusals_total",
                "Requests that were refused because they could not be recorded",
            )?,
            lost: register.counter("portcullis_audit_lost_records_total", "Audit records that could not be kept")?,
            unsigned: register.gauge("portcullis_audit_unsigned_records", "Audit records that no checkpoint covers")?,
            last_checkpoint: register
                .gauge("portcullis_audit_last_checkpoint_timestamp_seconds", "When the last checkpoint was written")?,
            damaged: register.gauge("portcullis_audit_damaged", "1 when the log was found damaged at the start")?,
            queued: register.gauge("portcullis_audit_queued_records", "Audit records that wait for the writer")?,
        })
    }

    /// Counts that are shown nowhere.
    ///
    /// # Errors
    /// As [`Metrics::new`](super::Metrics::new).
    pub fn unregistered() -> Result<Self> {
        Self::new(&Register(&Catalogue::default()))
    }
}
