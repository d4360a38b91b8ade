//! What becomes of reloads.

use std::time::SystemTime;

use prometheus::{Gauge, IntCounterVec, IntGauge, IntGaugeVec, Result};

use super::register::Register;

/// Counts of reloads, and which configuration is in force.
pub struct ReloadMetrics {
    reloads: IntCounterVec,
    successful: IntGauge,
    last_success: Gauge,
    info: IntGaugeVec,
}

/// What became of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// Another configuration is in force.
    Applied,
    /// The file says what it said before.
    Unchanged,
    /// The file has faults, or what it asks for cannot be had; the old configuration stays.
    Refused,
}

impl ReloadOutcome {
    /// As metrics label it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

impl ReloadMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self> {
        let reloads = register.counters(
            "portcullis_config_reloads_total",
            "Reloads of the configuration by what became of them",
            &["outcome"],
        )?;
        for outcome in [ReloadOutcome::Applied, ReloadOutcome::Unchanged, ReloadOutcome::Refused] {
            reloads.with_label_values(&[outcome.label()]).inc_by(0);
        }
        Ok(Self {
            reloads,
            successful: register
                .gauge("portcullis_config_last_reload_successful", "0 when the last reload was refused, else 1")?,
            last_success: register.float_gauge(
                "portcullis_config_last_reload_success_timestamp_seconds",
                "When the configuration in force was last known to be what its file says",
            )?,
            info: register.gauges(
                "portcullis_config_info",
                "The configuration in force, by the SHA-256 of its file",
                &["sha256"],
            )?,
        })
    }

    /// Counts a reload that has ended.
    pub fn ended(&self, outcome: ReloadOutcome) {
        self.reloads.with_label_values(&[outcome.label()]).inc();
        if outcome == ReloadOutcome::Refused {
            self.successful.set(0);
        }
    }

    /// Shows the configuration with this digest as the one in force, which its file says now.
    pub fn in_force(&self, sha256: &str) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.info.reset();
        self.info.with_label_values(&[sha256]).set(1);
        self.successful.set(1);
        self.last_success.set(now.as_secs_f64());
    }
}
