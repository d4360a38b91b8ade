//! The audit log and what carries it, and spans, away from this host.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::house::log_rules;
use crate::audit::ship::Shipper;
use crate::audit::{AuditLog, Hash, Options, SigningKey, Tap};
use crate::config::{AuditConfig, Config, KeepConfig, ShipConfig, TelemetryConfig};
use crate::telemetry::{LogExport, LogTap, Metrics, Origin, SpanExport, SpanTap};

/// The audit log, its export to a collector, the shipping of its segments, and the export of spans.
pub(super) struct Evidence {
    pub(super) audit: AuditLog,
    /// Taken at the end.
    carriers: Mutex<Carriers>,
    /// Whether all was recorded, once the log is closed.
    closed: OnceLock<bool>,
    directory: PathBuf,
    metrics: Arc<Metrics>,
}

/// What a configuration says of the carriers, where it says something else than the one before.
pub(super) struct Asked {
    export: Option<TelemetryConfig>,
    ship: Option<(Option<ShipConfig>, KeepConfig)>,
}

/// Carriers that are to take the place of others.
pub(super) struct Prepared {
    export: Option<Exports>,
    ship: Option<(Option<ShipConfig>, KeepConfig)>,
}

/// What changes where the way to the collector does.
pub(super) struct Taps {
    /// Takes the log's lines.
    pub(super) lines: Option<Tap>,
    /// Takes what spans are made of.
    pub(super) spans: Option<Arc<SpanTap>>,
}

#[derive(Default)]
struct Carriers {
    exports: Exports,
    shipper: Option<Shipper>,
    /// Nothing is started any more.
    is_closed: bool,
}

impl Carriers {
    /// Puts `exports` in the place of those that are there; gives back which are to be stopped.
    fn replace_exports(&mut self, exports: Exports) -> Exports {
        if self.is_closed { exports } else { std::mem::replace(&mut self.exports, exports) }
    }
}

/// Threads that send to the collector.
#[derive(Default)]
struct Exports {
    records: Option<LogExport>,
    spans: Option<SpanExport>,
}

impl Exports {
    /// Starts what the configuration asks for.
    fn start(telemetry: &TelemetryConfig, metrics: &Metrics) -> Result<(Self, Taps), String> {
        let unsent = |error: String| format!("nothing can be sent to the collector: {error}");
        let (mut records, mut spans) = (None, None);
        if let Some(otlp) = &telemetry.otlp {
            let origin = Origin::of(otlp);
            records = otlp.logs.then(|| LogExport::start(otlp, &origin, metrics.otlp.clone()));
            spans = telemetry.traces.as_ref().map(|_| SpanExport::start(otlp, &origin, metrics.otlp_spans.clone()));
        }
        let (records, lines) = records.transpose().map_err(unsent)?.unzip();
        let (spans, tap) = spans.transpose().map_err(unsent)?.unzip();
        Ok((Self { records, spans }, Taps { lines: lines.map(boxed), spans: tap.map(Arc::new) }))
    }

    /// Sends what waits, `within` at most. Blocks.
    fn stop(&self, within: Duration) {
        // Both at once: neither waits for the other's time.
        if let Some(records) = &self.records {
            records.ask_to_stop(within);
        }
        if let Some(spans) = &self.spans {
            spans.ask_to_stop(within);
            spans.wait();
        }
        if let Some(records) = &self.records {
            records.wait();
        }
    }
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
        metrics: &Arc<Metrics>,
    ) -> Result<(Self, Option<Arc<SpanTap>>), String> {
        let key = config.signing_key.take().map_or_else(|| SigningKey::of_host(state), Ok)?;
        let (exports, Taps { lines, spans }) = Exports::start(telemetry, metrics)?;
        let options = Options {
            directory: config.directory.clone(),
            rules: log_rules(config),
            key,
            configuration: Hash(configuration),
            tap: lines,
        };
        let audit = AuditLog::open(options, metrics.audit.clone())
            .map_err(|error| format!("cannot keep the audit log in {}: {error}", config.directory.display()))?;
        let shipper = Shipper::start(config.ship.take(), config.keep, &config.directory, metrics.ship.clone())
            .map_err(|error| format!("segments cannot be shipped: {error}"))?;
        let evidence = Self {
            audit,
            carriers: Mutex::new(Carriers { exports, shipper, is_closed: false }),
            closed: OnceLock::new(),
            directory: config.directory.clone(),
            metrics: Arc::clone(metrics),
        };
        Ok((evidence, spans))
    }

    /// Takes what `config` says of the carriers out of it, as far as these sections of it have changed.
    pub(super) fn carriers_of(config: &mut Config, changed: &[String]) -> Asked {
        let has_changed = |section: &str| changed.iter().any(|name| name == section);
        let TelemetryConfig { ref traces, top_subjects, top_teams, .. } = config.telemetry;
        let rest = TelemetryConfig { otlp: None, traces: traces.clone(), top_subjects, top_teams };
        let telemetry = std::mem::replace(&mut config.telemetry, rest);
        Asked {
            export: has_changed("telemetry").then_some(telemetry),
            ship: has_changed("audit").then(|| (config.audit.ship.take(), config.audit.keep)),
        }
    }

    /// Starts what is asked for beside what is there. With what takes lines and spans from then on, if that changes. Not for
    /// async code.
    ///
    /// # Errors
    /// Says what cannot be started.
    pub(super) fn prepare(&self, asked: Asked) -> Result<(Prepared, Option<Taps>), String> {
        let Asked { export, ship } = asked;
        let export = export.map(|telemetry| Exports::start(&telemetry, &self.metrics)).transpose()?;
        let (export, taps) = export.unzip();
        Ok((Prepared { export, ship }, taps))
    }

    /// Puts the carriers in the place of those that are there, which get away what they have. Not for async code.
    pub(super) fn take_over(&self, Prepared { export, ship }: Prepared) {
        if let Some(export) = export {
            let former = self.carriers().replace_exports(export);
            former.stop(EXPORT);
        }
        let Some((ship, keep)) = ship else { return };
        // One after the other: two would ship the same segments.
        let former = self.carriers().shipper.take();
        if let Some(former) = former {
            former.stop(SHIP);
        }
        let mut carriers = self.carriers();
        if carriers.is_closed {
            return; // the process ends meanwhile
        }
        match Shipper::start(ship, keep, &self.directory, self.metrics.ship.clone()) {
            Ok(shipper) => carriers.shipper = shipper,
            Err(error) => tracing::error!(%error, "segments cannot be shipped until the next reload or restart"),
        }
    }

    fn carriers(&self) -> MutexGuard<'_, Carriers> {
        self.carriers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the log; whether all that was handed over is in it. What does not get away from here in time is shipped after
    /// the next start. Pingora may end the process's main thread while another closes the log: whoever asks later waits for the
    /// same answer. Not for async code.
    pub(super) fn close(&self) -> bool {
        *self.closed.get_or_init(|| self.close_once())
    }

    fn close_once(&self) -> bool {
        let recorded = self.audit.stop(CLOSE);
        let last = Carriers { is_closed: true, ..Carriers::default() };
        let Carriers { exports, shipper, .. } = std::mem::replace(&mut *self.carriers(), last);
        exports.stop(EXPORT);
        if let Some(shipper) = shipper {
            let in_time = shipper.stop(SHIP);
            tracing::info!(in_time, "shipped what is closed of the audit log");
        }
        recorded
    }
}

impl Prepared {
    /// Ends what was started. Not for async code.
    pub(super) fn give_up(self) {
        if let Some(export) = self.export {
            export.stop(Duration::ZERO);
        }
    }
}

fn boxed(tap: LogTap) -> Tap {
    Box::new(move |lines| tap.offer(lines))
}

/// Longest that closing takes.
pub(super) const LONGEST: Duration = CLOSE.saturating_add(EXPORT).saturating_add(SHIP);
/// Longest wait for the disk at the end.
const CLOSE: Duration = Duration::from_secs(5);
/// Longest wait for the collector: what it does not get is in the audit log.
const EXPORT: Duration = Duration::from_secs(2);
/// Longest wait for the store of segments.
const SHIP: Duration = Duration::from_secs(5);
