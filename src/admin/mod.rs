//! What ops ask the running proxy: metrics and health, on an address of their own.

mod upstream;

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::{Method, Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use crate::anomaly::Signals;
use crate::audit::AuditLog;
use crate::containment::Containments;
use crate::credential::KeyRing;
use crate::identity::Issuers;
use crate::identity::binding::Binder;
use crate::identity::revocation::{FileStatus, Freshness, Revocations, Source, StoreStatus};
use crate::limit::{BodyMemory, InFlight, Limits};
use crate::listener::ListenerTls;
use crate::telemetry::Metrics;
use crate::upstream::Upstream;

/// Whether the proxy can serve, asked of the rooms themselves.
#[derive(Clone)]
pub struct Readiness {
    /// Keys of every issuer.
    pub issuers: Arc<Issuers>,
    /// An address of the upstream.
    pub upstream: Arc<Upstream>,
    /// A key for it.
    pub keys: Arc<KeyRing>,
    /// The audit log.
    pub audit: AuditLog,
    /// How old revocations of the store may be, where it matters.
    pub revocations: Option<Freshness>,
}

impl Readiness {
    /// What is missing; empty when ready.
    pub fn missing(&self) -> Vec<&'static str> {
        let checks = [
            (self.issuers.are_ready(), "the keys of an issuer"),
            (self.upstream.is_ready(), "an upstream address"),
            (self.keys.is_ready(), "an upstream key"),
            (self.audit.is_writable(), "a writable audit log"),
            (!self.revocations.as_ref().is_some_and(Freshness::is_lost), "the revocations of the store"),
        ];
        checks.into_iter().filter(|(ready, _)| !ready).map(|(_, what)| what).collect()
    }
}

/// The admin address's pages, `/metrics`, `/healthz` and `/readyz`, over the rooms of one configuration.
pub struct Admin {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether to send traffic.
    pub readiness: Readiness,
    /// Requests under way.
    pub in_flight: Arc<InFlight>,
    /// Memory for bodies.
    pub body_memory: Arc<BodyMemory>,
    /// Revocations in force.
    pub revocations: Arc<Revocations>,
    /// How following their file goes, if there is one.
    pub revocation_file: Option<Arc<FileStatus>>,
    /// How following their set in the store goes, if there is one.
    pub revocation_set: Option<Arc<StoreStatus>>,
    /// Counts of limits.
    pub limits: Arc<Limits>,
    /// Proofs of possession.
    pub binder: Arc<Binder>,
    /// TLS to clients.
    pub tls: Option<Arc<ListenerTls>>,
    /// What is out of the ordinary.
    pub signals: Option<Arc<Signals>>,
    /// What follows it.
    pub containments: Arc<Containments>,
}

impl Admin {
    fn page(&self, method: &Method, path: &str) -> (StatusCode, &'static str, Vec<u8>) {
        const TEXT: &str = "text/plain; charset=utf-8";
        if !matches!(*method, Method::GET | Method::HEAD) {
            return (StatusCode::METHOD_NOT_ALLOWED, TEXT, b"only GET\n".to_vec());
        }
        match path {
            "/metrics" => (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics_text()),
            "/healthz" => (StatusCode::OK, TEXT, b"ok\n".to_vec()),
            "/readyz" => match self.readiness.missing() {
                missing if missing.is_empty() => (StatusCode::OK, TEXT, b"ready\n".to_vec()),
                missing => {
                    (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("missing: {}\n", missing.join(", ")).into_bytes())
                }
            },
            _ => (StatusCode::NOT_FOUND, TEXT, b"/metrics /healthz /readyz\n".to_vec()),
        }
    }

    fn metrics_text(&self) -> Vec<u8> {
        let state = &self.metrics.state;
        state.in_flight.set(gauge(self.in_flight.count()));
        state.body_bytes.set(gauge(self.body_memory.held()));
        self.metrics.audit.queued.set(gauge(self.readiness.audit.queued()));
        state.audit_writable.set(i64::from(self.readiness.audit.is_writable()));
        self.show_identity();
        self.show_limits();
        self.show_upstream();
        self.show_listener();
        self.show_keys();
        if let Some(signals) = &self.signals {
            self.metrics.anomaly.show(&signals.snapshot());
        }
        self.metrics.anomaly.show_containments(&self.containments.held(), self.containments.turned_away());
        self.metrics.text()
    }
}

impl Admin {
    fn show_identity(&self) {
        let state = &self.metrics.state;
        let revocations = self.revocations.entries(Source::File) + self.revocations.entries(Source::Store);
        state.revocations.set(gauge(revocations));
        let ages = [
            self.revocation_file.as_ref().map(|file| file.age()),
            self.revocation_set.as_ref().and_then(|set| set.age()),
        ];
        if let Some(oldest) = ages.into_iter().flatten().max() {
            state.revocation_age.set(oldest.as_secs_f64());
        }
        let faulty = self.revocation_file.as_ref().is_some_and(|file| file.is_faulty())
            || self.revocation_set.as_ref().is_some_and(|set| set.unknown_members() > 0);
        state.revocation_faulty.set(i64::from(faulty));
        // Issuers come and go.
        for sets in [&state.jwks_keys, &state.jwks_fetch_failures] {
            sets.reset();
        }
        state.jwks_age.reset();
        for set in self.readiness.issuers.key_sets(SystemTime::now()) {
            let labels = &[set.issuer];
            state.jwks_keys.with_label_values(labels).set(gauge(set.keys));
            state.jwks_fetch_failures.with_label_values(labels).set(count(set.fetch_failures));
            if let Some(age) = set.age {
                state.jwks_age.with_label_values(labels).set(age.as_secs_f64());
            }
        }
        state.proofs_forgotten.set(count(self.binder.forgotten()));
    }

    fn show_limits(&self) {
        let state = &self.metrics.state;
        state.limit_counts.set(gauge(self.limits.counts()));
        state.store_up.reset(); // there may be none
        let Some(store) = self.limits.store_state() else { return };
        state.store_up.with_label_values::<&str>(&[]).set(i64::from(store.up));
        state.store_failures.set(count(store.failures));
        state.store_local_decisions.set(count(store.local_decisions));
        state.store_waiting.set(gauge(store.waiting));
        state.store_lost.set(count(store.lost));
    }
}

fn gauge(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The pages of the configuration in force.
pub struct Pages(pub Arc<ArcSwap<Admin>>);

#[async_trait]
impl ServeHttp for Pages {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let (status, content_type, body) = self.0.load().page(&request.method, request.uri.path());
        let length = body.len();
        let body = if request.method == Method::HEAD { Vec::new() } else { body };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
        headers.insert(header::CONTENT_LENGTH, length.into());
        response
    }
}
