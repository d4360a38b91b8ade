//! What the upstream's addresses, names, keys and certificates are like when the metrics are asked for.

use prometheus::{GaugeVec, IntGauge, IntGaugeVec, Result};

use super::register::Register;

/// Set by whoever shows the metrics, just before.
pub struct UpstreamState {
    /// Addresses that serve.
    pub addresses: IntGauge,
    /// 1 for an address that serves, 0 for one that is ejected.
    pub address_up: IntGaugeVec,
    /// Requests under way to an address.
    pub address_in_flight: IntGaugeVec,
    /// Ejections by cause.
    pub ejections: IntGaugeVec,
    /// Addresses that an endpoint resolves to and that may not be used.
    pub refused_addresses: IntGaugeVec,
    /// Addresses in answers of name servers that were refused.
    pub refused: IntGauge,
    /// Lookups that failed.
    pub lookup_failures: IntGauge,
    /// Retries that the budget had no room for.
    pub retries_refused: IntGauge,
    /// 1 for what a key is.
    pub key_state: IntGaugeVec,
    /// Requests that a key was chosen for.
    pub key_requests: IntGaugeVec,
    /// Answers 401 and 403 to them.
    pub key_refusals: IntGaugeVec,
    /// How often a key's material changed.
    pub key_rotations: IntGaugeVec,
    /// 1 while a key's source is missing or wrong, and an older one is in force.
    pub key_faulty: IntGaugeVec,
    /// When a key is used no longer, in seconds since 1970.
    pub key_expiry: GaugeVec,
    /// When a certificate ends, in seconds since 1970.
    pub certificate_expiry: GaugeVec,
    /// Changes of certificates that were taken over.
    pub certificate_reloads: IntGauge,
    /// 1 while the files of certificates are wrong, and older ones are in force.
    pub certificates_faulty: IntGauge,
}

impl UpstreamState {
    pub(super) fn new(register: &Register<'_>) -> Result<Self> {
        Ok(Self {
            addresses: register.gauge("portcullis_upstream_addresses", "Upstream addresses that serve")?,
            address_up: register.gauges(
                "portcullis_upstream_address_up",
                "1 for an upstream address that serves, 0 for one that is ejected",
                &["address"],
            )?,
            address_in_flight: register.gauges(
                "portcullis_upstream_address_requests_in_flight",
                "Requests under way to an upstream address",
                &["address"],
            )?,
            ejections: register.totals(
                "portcullis_upstream_ejections_total",
                "Ejections of upstream addresses, by cause",
                &["cause"],
            )?,
            refused_addresses: register.gauges(
                "portcullis_upstream_endpoint_refused_addresses",
                "Addresses that an endpoint has now and that may not be used",
                &["endpoint"],
            )?,
            refused: register.total(
                "portcullis_upstream_refused_addresses_total",
                "Addresses that were refused in answers of name servers",
            )?,
            lookup_failures: register
                .total("portcullis_upstream_lookup_failures_total", "Lookups of upstream names that failed")?,
            retries_refused: register
                .total("portcullis_upstream_retries_refused_total", "Retries that there was no budget for")?,
            key_state: register.gauges(
                "portcullis_upstream_key_state",
                "1 for the state that an upstream key is in",
                &["key", "state"],
            )?,
            key_requests: register.totals(
                "portcullis_upstream_key_requests_total",
                "Attempts that an upstream key was chosen for",
                &["key"],
            )?,
            key_refusals: register.totals(
                "portcullis_upstream_key_refusals_total",
                "Answers 401 and 403 of the upstream to a key",
                &["key"],
            )?,
            key_rotations: register.totals(
                "portcullis_upstream_key_rotations_total",
                "Changes of an upstream key's material",
                &["key"],
            )?,
            key_faulty: register.gauges(
                "portcullis_upstream_key_faulty",
                "1 while an upstream key's source is missing or wrong, and an older key is in force",
                &["key"],
            )?,
            key_expiry: register.float_gauges(
                "portcullis_upstream_key_expiry_timestamp_seconds",
                "When an upstream key is used no longer",
                &["key"],
            )?,
            certificate_expiry: register.float_gauges(
                "portcullis_certificate_expiry_timestamp_seconds",
                "When a certificate ends",
                &["certificate"],
            )?,
            certificate_reloads: register.total(
                "portcullis_upstream_certificate_reloads_total",
                "Changes of the upstream's CA and of our client certificate that were taken over",
            )?,
            certificates_faulty: register.gauge(
                "portcullis_upstream_certificates_faulty",
                "1 while the files of certificates are wrong, and older ones are in force",
            )?,
        })
    }
}
