//! What becomes of closed segments of the audit log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Result};

use super::register::Register;

/// Counted by the shipper as it goes. Cheap to clone.
#[derive(Clone)]
pub struct ShipMetrics {
    /// Closed segments that are not confirmed as shipped.
    pub waiting: IntGauge,
    oldest: Oldest,
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
            oldest: Oldest {
                closed: Arc::default(),
                age: register.float_gauge(
                    "portcullis_audit_ship_oldest_waiting_seconds",
                    "Time since the oldest audit segment that waits was closed; 0 when none waits",
                )?,
            },
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

    /// Says when the oldest segment that waits was closed; `None` when none waits.
    pub fn set_oldest(&self, closed: Option<SystemTime>) {
        *self.oldest.closed.lock().unwrap_or_else(PoisonError::into_inner) = closed;
    }

    /// Brings the age to `now`: it grows also while nothing is tried.
    pub(super) fn show(&self, now: SystemTime) {
        let closed = *self.oldest.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let age = closed.and_then(|closed| now.duration_since(closed).ok()).unwrap_or_default();
        self.oldest.age.set(age.as_secs_f64());
    }
}

/// The oldest segment that waits.
#[derive(Clone)]
struct Oldest {
    /// When it was closed.
    closed: Arc<Mutex<Option<SystemTime>>>,
    /// Seconds since then, when they were last asked for.
    age: Gauge,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Metrics;
    use super::*;

    #[test]
    fn the_age_of_what_waits_is_that_of_now() {
        let metrics = Metrics::new().unwrap().ship;
        let closed = SystemTime::UNIX_EPOCH;
        metrics.set_oldest(Some(closed));
        for (after, expected) in [(5, 5.0), (65, 65.0)] {
            metrics.show(closed + Duration::from_secs(after));
            assert!((metrics.oldest.age.get() - expected).abs() < 1e-9);
        }
        metrics.set_oldest(None);
        metrics.show(closed + Duration::from_secs(70));
        assert!(metrics.oldest.age.get() < 1e-9);
    }
}
