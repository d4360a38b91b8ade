//! What becomes of closed segments of the audit log.

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Result};

use super::register::Register;

/// Counted by the shipper as it goes. Cheap to clone.
#[derive(Clone)]
pub struct ShipMetrics {
    /// Closed segments that are not confirmed as shipped.
    pub waiting: IntGauge,
    /// Seconds since the oldest of them was closed.
    pub oldest: Gauge,
    /// Segments that the store confirmed.
    pub shipped: IntCounter,
    /// Bytes of their objects.
    pub bytes: IntCounter,
    /// Failures by kind.
    pub failures: IntCounterVec,
    /// Segments that local retention deleted.
    pub deleted: IntCounter,
}

impl ShipMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self> {
        Ok(Self {
            waiting: register
                .gauge("portcullis_audit_ship_waiting", "Closed audit segments that are not confirmed as shipped")?,
            oldest: register.float_gauge(
                "portcullis_audit_ship_oldest_waiting_seconds",
                "Time since the oldest audit segment that waits was closed; 0 when none waits",
            )?,
            shipped: register
                .counter("portcullis_audit_ship_segments_total", "Audit segments that the store confirmed")?,
            bytes: register
                .counter("portcullis_audit_ship_bytes_total", "Bytes of shipped audit segments, compressed")?,
            failures: register.counters(
                "portcullis_audit_ship_failures_total",
                "Failures to ship an audit segment, by kind",
                &["kind"],
            )?,
            deleted: register
                .counter("portcullis_audit_segments_deleted_total", "Audit segments that local retention deleted")?,
        })
    }
}
