//! The upstream's part of the metrics.

use super::{Admin, count, gauge};
use crate::upstream::Cause;

impl Admin {
    pub(super) fn show_upstream(&self) {
        let state = &self.metrics.upstream;
        let upstream = &self.readiness.upstream;
        let pool = upstream.pool();
        state.addresses.set(gauge(pool.serving_count()));
        // Addresses come and go.
        state.address_up.reset();
        state.address_in_flight.reset();
        for address in pool.states(std::time::Instant::now()) {
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
    }
}
