//! The upstream's part of the metrics.

use std::time::{Instant, SystemTime};

use super::{Admin, count, gauge};
use crate::upstream::Cause;

impl Admin {
    pub(super) fn show_upstream(&self) {
        let state = &self.metrics.upstream;
        state.certificate_expiry.reset();
        let upstream = &self.readiness.upstream;
        let pool = upstream.pool();
        state.addresses.set(gauge(pool.serving_count()));
        // Addresses come and go.
        state.address_up.reset();
        state.address_in_flight.reset();
        for address in pool.states(Instant::now()) {
            let name = address.address.to_string();
            state.address_up.with_label_values(&[&name]).set(i64::from(address.serving));
            state.address_in_flight.with_label_values(&[&name]).set(gauge(address.in_flight));
        }
        for cause in Cause::ALL {
            state.ejections.with_label_values(&[cause.label()]).set(count(pool.ejections_total(cause)));
        }
        let discovery = upstream.discovery();
        for endpoint in discovery.endpoints() {
            state.refused_addresses.with_label_values(&[&endpoint.name]).set(gauge(endpoint.refused));
        }
        state.refused.set(count(discovery.refused_total()));
        state.lookup_failures.set(count(discovery.failures_total()));
        state.retries_refused.set(count(upstream.budget().exhausted_total()));
        let Some(trust) = upstream.trust() else { return };
        for end in trust.expiries() {
            state.certificate_expiry.with_label_values(&[end.certificate]).set(seconds(end.not_after));
        }
        state.certificate_reloads.set(count(trust.reloads_total()));
        state.certificates_faulty.set(i64::from(trust.is_faulty()));
    }

    pub(super) fn show_listener(&self) {
        let Some(tls) = &self.tls else { return };
        let (state, upstream) = (&self.metrics.state, &self.metrics.upstream);
        for end in tls.expiries() {
            upstream.certificate_expiry.with_label_values(&[end.certificate]).set(seconds(end.not_after));
        }
        state.listener_reloads.set(count(tls.reloads_total()));
        state.listener_faulty.set(i64::from(tls.is_faulty()));
    }

    pub(super) fn show_keys(&self) {
        let state = &self.metrics.upstream;
        // Keys come and go.
        for keys in
            [&state.key_state, &state.key_requests, &state.key_refusals, &state.key_rotations, &state.key_faulty]
        {
            keys.reset();
        }
        state.key_expiry.reset();
        for key in self.readiness.keys.states(SystemTime::now()) {
            let labels = &[key.name];
            state.key_state.with_label_values(&[key.name, key.usage.label()]).set(1);
            state.key_requests.with_label_values(labels).set(count(key.requests));
            state.key_refusals.with_label_values(labels).set(count(key.refusals));
            state.key_rotations.with_label_values(labels).set(count(key.rotations));
            state.key_faulty.with_label_values(labels).set(i64::from(key.faulty));
            if let Some(end) = key.not_after {
                state.key_expiry.with_label_values(labels).set(seconds(end));
            }
        }
    }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
