//! The audit log and what carries it away from this host.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::house::log_rules;
use crate::audit::ship::Shipper;
use crate::audit::{AuditLog, Hash, Options, SigningKey, Tap};
use crate::config::{AuditConfig, Config, KeepConfig, ShipConfig, TelemetryConfig};
use crate::telemetry::{LogExport, LogTap, Metrics};

/// The audit log, its export to a collector and the shipping of its segments.
pub(super) struct Evidence {
    pub(super) audit: AuditLog,
    /// Taken at the end.
    carriers: Mutex<(Option<LogExport>, Option<Shipper>)>,
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
    #[allow(clippy::option_option)] // the same as before, or one or none
    export: Option<Option<LogExport>>,
    ship: Option<(Option<ShipConfig>, KeepConfig)>,
}

impl Evidence {
    /// Opens the log, with the key that the configuration names or this host has, and takes that key and the store's
    /// identity out of `config`. `configuration` is the digest of the configuration's text.
    pub(super) fn open(
        config: &mut AuditConfig,
        telemetry: &TelemetryConfig,
        state: &Path,
        configuration: [u8; 32],
        metrics: &Arc<Metrics>,
    ) -> Result<Self, String> {
        let key = config.signing_key.take().map_or_else(|| SigningKey::of_host(state), Ok)?;
        let export = LogExport::start(telemetry, metrics.otlp.clone())
            .map_err(|error| format!("records cannot be sent to the collector: {error}"))?;
        let (export, tap) = export.unzip();
        let options = Options {
            directory: config.directory.clone(),
            rules: log_rules(config),
            key,
            configuration: Hash(configuration),
            tap: tap.map(boxed),
        };
        let audit = AuditLog::open(options, metrics.audit.clone())
            .map_err(|error| format!("cannot keep the audit log in {}: {error}", config.directory.display()))?;
        let shipper = Shipper::start(config.ship.take(), config.keep, &config.directory, metrics.ship.clone())
            .map_err(|error| format!("segments cannot be shipped: {error}"))?;
        Ok(Self {
            audit,
            carriers: Mutex::new((export, shipper)),
            closed: OnceLock::new(),
            directory: config.directory.clone(),
            metrics: Arc::clone(metrics),
        })
    }

    /// Takes what `config` says of the carriers out of it, as far as these sections of it have changed.
    pub(super) fn carriers_of(config: &mut Config, changed: &[String]) -> Asked {
        let has_changed = |section: &str| changed.iter().any(|name| name == section);
        let telemetry = std::mem::replace(&mut config.telemetry, TelemetryConfig { otlp: None });
        Asked {
            export: has_changed("telemetry").then_some(telemetry),
            ship: has_changed("audit").then(|| (config.audit.ship.take(), config.audit.keep)),
        }
    }

    /// Starts what is asked for beside what is there. With what takes the log's lines from then on, if that changes. Not for
    /// async code.
    ///
    /// # Errors
    /// Says what cannot be started.
    #[allow(clippy::option_option)] // the same as before, or one or none
    pub(super) fn prepare(&self, asked: Asked) -> Result<(Prepared, Option<Option<Tap>>), String> {
        let Asked { export, ship } = asked;
        let export = export.map(|telemetry| LogExport::start(&telemetry, self.metrics.otlp.clone())).transpose();
        let export = export.map_err(|error| format!("records cannot be sent to the collector: {error}"))?;
        let (export, tap) = export.map(Option::unzip).unzip();
        Ok((Prepared { export, ship }, tap.map(|tap| tap.map(boxed))))
    }

    /// Puts the carriers in the place of those that are there, which get away what they have. Not for async code.
    pub(super) fn take_over(&self, Prepared { export, ship }: Prepared) {
        let mut carriers = self.carriers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(export) = export {
            let former = std::mem::replace(&mut carriers.0, export);
            if let Some(former) = former {
                former.stop(EXPORT);
            }
        }
        let Some((ship, keep)) = ship else { return };
        // One after the other: two would ship the same segments.
        if let Some(former) = carriers.1.take() {
            former.stop(SHIP);
        }
        match Shipper::start(ship, keep, &self.directory, self.metrics.ship.clone()) {
            Ok(shipper) => carriers.1 = shipper,
            Err(error) => tracing::error!(%error, "segments cannot be shipped until the next reload or restart"),
        }
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
        let (export, shipper) = std::mem::take(carriers);
        if let Some(export) = export {
            export.stop(EXPORT);
        }
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
        if let Some(export) = self.export.flatten() {
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
