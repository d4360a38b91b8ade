//! The audit log and what carries it, and spans, away from this host.

use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::audit::ship::Shipper;
use crate::audit::{AuditLog, Hash, Options, SigningKey, Tap};
use crate::config::{AuditConfig, TelemetryConfig};
use crate::telemetry::{LogExport, Metrics, Origin, SpanExport, SpanTap};

/// The audit log, its export to a collector, the shipping of its segments, and the export of spans.
pub(super) struct Evidence {
    pub(super) audit: AuditLog,
    /// Taken at the end.
    carriers: Mutex<Carriers>,
    /// Whether all was recorded, once the log is closed.
    closed: OnceLock<bool>,
}

/// Threads that carry away.
#[derive(Default)]
struct Carriers {
    records: Option<LogExport>,
    spans: Option<SpanExport>,
    shipper: Option<Shipper>,
}

impl Evidence {
    /// Opens the log, with the key that the configuration names or this host has, and takes that key and the store's
    /// identity out of `config`. `configuration` is the digest of the configuration's text. With the tap for spans, where
    /// requests are traced.
    pub(super) fn open(
        config: &mut AuditConfig,
        telemetry: &TelemetryConfig,
        state: &Path,
        configuration: [u8; 32],
        metrics: &Metrics,
    ) -> Result<(Self, Option<SpanTap>), String> {
        let key = config.signing_key.take().map_or_else(|| SigningKey::of_host(state), Ok)?;
        let unsent = |error: String| format!("nothing can be sent to the collector: {error}");
        let (mut records, mut spans) = (None, None);
        if let Some(otlp) = &telemetry.otlp {
            let origin = Origin::of(otlp);
            records = otlp.logs.then(|| LogExport::start(otlp, &origin, metrics.otlp.clone()));
            spans = telemetry.traces.as_ref().map(|_| SpanExport::start(otlp, &origin, metrics.otlp_spans.clone()));
        }
        let (records, tap) = records.transpose().map_err(unsent)?.unzip();
        let (spans, span_tap) = spans.transpose().map_err(unsent)?.unzip();
        let options = Options {
            directory: config.directory.clone(),
            durability: config.durability,
            on_failure: config.on_audit_failure,
            commit_interval: config.commit_interval,
            checkpoint_interval: config.checkpoint_interval,
            segment_size: config.segment_size,
            segment_age: config.segment_age,
            key,
            configuration: Hash(configuration),
            tap: tap.map(|tap| -> Tap { Box::new(move |lines| tap.offer(lines)) }),
        };
        let audit = AuditLog::open(options, metrics.audit.clone())
            .map_err(|error| format!("cannot keep the audit log in {}: {error}", config.directory.display()))?;
        let shipper = Shipper::start(config.ship.take(), config.keep, &config.directory, metrics.ship.clone())
            .map_err(|error| format!("segments cannot be shipped: {error}"))?;
        let carriers = Mutex::new(Carriers { records, spans, shipper });
        Ok((Self { audit, carriers, closed: OnceLock::new() }, span_tap))
    }

    /// Closes the log; whether all that was handed over is in it. What does not get away from here in time is shipped after
    /// the next start. Pingora may end the process's main thread while another closes the log: whoever asks later waits for the
    /// same answer. Not for async code.
    pub(super) fn close(&self) -> bool {
        *self.closed.get_or_init(|| self.close_once())
    }

    fn close_once(&self) -> bool {
        let recorded = self.audit.stop(CLOSE);
        let carriers = &mut *self.carriers.lock().unwrap_or_else(PoisonError::into_inner);
        let Carriers { records, spans, shipper } = std::mem::take(carriers);
        // Both at once: neither waits for the other's time.
        if let Some(records) = &records {
            records.ask_to_stop(EXPORT);
        }
        if let Some(spans) = &spans {
            spans.ask_to_stop(EXPORT);
            spans.wait();
        }
        if let Some(records) = &records {
            records.wait();
        }
        if let Some(shipper) = shipper {
            let in_time = shipper.stop(SHIP);
            tracing::info!(in_time, "shipped what is closed of the audit log");
        }
        recorded
    }
}

/// Longest wait for the disk at the end.
const CLOSE: Duration = Duration::from_secs(5);
/// Longest wait for the collector: what it does not get is in the audit log.
const EXPORT: Duration = Duration::from_secs(2);
/// Longest wait for the store of segments.
const SHIP: Duration = Duration::from_secs(5);
