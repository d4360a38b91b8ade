//! What the rooms say of their state when the metrics are asked for.

use prometheus::{Gauge, GaugeVec, IntGauge, IntGaugeVec, Result};

use super::register::Register;

/// Set by whoever shows the metrics, just before.
pub struct State {
    /// Requests under way.
    pub in_flight: IntGauge,
    /// Bytes of request bodies held now.
    pub body_bytes: IntGauge,
    /// 1 while the audit log can be written.
    pub audit_writable: IntGauge,
    /// Revocations in force.
    pub revocations: IntGauge,
    /// 1 while revocations are missing or wrong, and an older list is in force.
    pub revocation_faulty: IntGauge,
    /// Seconds since the list in force was known to be what its sources say.
    pub revocation_age: Gauge,
    /// Keys of an issuer that can verify.
    pub jwks_keys: IntGaugeVec,
    /// Seconds since an issuer's keys were fetched.
    pub jwks_age: GaugeVec,
    /// Fetches of an issuer's keys that failed.
    pub jwks_fetch_failures: IntGaugeVec,
    /// Proofs that were forgotten while they could still be replayed.
    pub proofs_forgotten: IntGauge,
    /// Counts of limits in memory.
    pub limit_counts: IntGauge,
    /// 1 while the shared store answers; shown only where there is one.
    pub store_up: IntGaugeVec,
    /// Calls to the store that failed.
    pub store_failures: IntGauge,
    /// Calls whose limits were decided without the store.
    pub store_local_decisions: IntGauge,
    /// Corrections that wait for the store.
    pub store_waiting: IntGauge,
    /// Corrections that there was no room for.
    pub store_lost: IntGauge,
    /// Sets of certificates that the listener took over.
    pub listener_reloads: IntGauge,
    /// 1 while the listener's certificate files do not fit, and an older set is in force.
    pub listener_faulty: IntGauge,
}

impl State {
    pub(super) fn new(register: &Register<'_>) -> Result<Self> {
        let gauge = |name: &str, help: &str| register.gauge(name, help);
        let total = |name: &str, help: &str| register.total(name, help);
        Ok(Self {
            in_flight: gauge("portcullis_requests_in_flight", "Requests under way")?,
            body_bytes: gauge("portcullis_request_body_held_bytes", "Bytes of request bodies held")?,
            audit_writable: gauge("portcullis_audit_writable", "1 while the audit log can be written")?,
            revocations: gauge("portcullis_revocations", "Revocations in force")?,
            revocation_faulty: gauge(
                "portcullis_revocation_faulty",
                "1 while revocations are missing or wrong, and an older list is in force",
            )?,
            revocation_age: register.float_gauge(
                "portcullis_revocation_age_seconds",
                "Time since the list in force was known to be what its sources say",
            )?,
            jwks_keys: register.gauges("portcullis_jwks_keys", "Keys of an issuer that can verify", &["issuer"])?,
            jwks_age: register.float_gauges(
                "portcullis_jwks_age_seconds",
                "Time since an issuer's keys were fetched",
                &["issuer"],
            )?,
            jwks_fetch_failures: register.totals(
                "portcullis_jwks_fetch_failures_total",
                "Fetches of an issuer's keys that failed",
                &["issuer"],
            )?,
            proofs_forgotten: total(
                "portcullis_dpop_proofs_forgotten_total",
                "DPoP proofs that were forgotten while they could still be replayed",
            )?,
            limit_counts: gauge("portcullis_limit_counts", "Counts of limits that are kept in memory")?,
            store_up: register.gauges("portcullis_store_up", "1 while the shared store answers", &[])?,
            store_failures: total("portcullis_store_failures_total", "Calls to the shared store that failed")?,
            store_local_decisions: total(
                "portcullis_store_local_decisions_total",
                "Calls whose limits were decided without the shared store",
            )?,
            store_waiting: gauge("portcullis_store_waiting", "Corrections that wait for the shared store")?,
            listener_reloads: total(
                "portcullis_listener_certificate_reloads_total",
                "Sets of certificates that the listener took over from its files",
            )?,
            listener_faulty: gauge(
                "portcullis_listener_certificates_faulty",
                "1 while the listener's certificate files do not fit, and an older set is in force",
            )?,
            store_lost: total(
                "portcullis_store_lost_total",
                "Corrections that there was no room for while the shared store was away",
            )?,
        })
    }
}
