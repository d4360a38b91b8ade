//! What is out of the ordinary, and what followed it, when the metrics are asked for.

use std::collections::BTreeMap;

use prometheus::{GaugeVec, IntGauge, IntGaugeVec, Result};

use super::register::Register;
use crate::anomaly::Snapshot;
use crate::containment::Held;

/// Set by whoever shows the metrics, just before. The names are those that have series now, and so bounded.
pub struct AnomalyMetrics {
    score: GaugeVec,
    expected: GaugeVec,
    observed: GaugeVec,
    learning: IntGaugeVec,
    active: IntGaugeVec,
    alarms: IntGaugeVec,
    first_uses: IntGaugeVec,
    containments: IntGaugeVec,
    turned_away: IntGauge,
}

impl AnomalyMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self> {
        let labels = &["signal", "kind", "name"];
        let floats = |name: &str, help: &str| register.float_gauges(name, help, labels);
        let gauges = |name: &str, help: &str| register.gauges(name, help, labels);
        Ok(Self {
            score: floats(
                "portcullis_anomaly_score",
                "How far a series is out of the ordinary; 1 and above is an alarm",
            )?,
            expected: floats("portcullis_anomaly_expected", "What is usual in a minute at this hour")?,
            observed: floats("portcullis_anomaly_observed", "What was seen in a minute of late")?,
            learning: gauges("portcullis_anomaly_learning", "1 while a series only learns")?,
            active: gauges("portcullis_anomaly_active", "1 while an alarm lasts")?,
            alarms: register.totals(
                "portcullis_anomaly_alarms_total",
                "Alarms that have begun",
                &["signal", "kind"],
            )?,
            first_uses: register.totals(
                "portcullis_anomaly_first_uses_total",
                "First uses of a model family by a caller",
                &["model_family"],
            )?,
            containments: register.gauges(
                "portcullis_containments",
                "Containments in force, by mode and action",
                &["mode", "action"],
            )?,
            turned_away: register.total(
                "portcullis_containments_turned_away_total",
                "Alarms that were not followed because there are as many containments as may be",
            )?,
        })
    }

    /// Shows what the last beat said.
    pub fn show(&self, snapshot: &Snapshot) {
        for gauges in [&self.score, &self.expected, &self.observed] {
            gauges.reset(); // names come and go
        }
        self.learning.reset();
        self.active.reset();
        for series in &snapshot.series {
            let name = series.whom.to_string();
            let labels = &[series.signal.name(), series.whom.kind().name(), &name];
            self.score.with_label_values(labels).set(series.score);
            self.expected.with_label_values(labels).set(series.expected);
            self.observed.with_label_values(labels).set(series.observed);
            self.learning.with_label_values(labels).set(i64::from(series.learning));
            self.active.with_label_values(labels).set(0);
        }
        for alarm in &snapshot.alarms {
            let name = alarm.whom.to_string();
            self.active.with_label_values(&[alarm.signal.name(), alarm.whom.kind().name(), &name]).set(1);
        }
        for (signal, kind, count) in &snapshot.begun {
            self.alarms.with_label_values(&[signal.name(), kind.name()]).set(whole(*count));
        }
        for (family, count) in &snapshot.first_uses {
            self.first_uses.with_label_values(&[family.label()]).set(whole(*count));
        }
    }

    /// Shows the containments in force.
    pub fn show_containments(&self, held: &[Held], turned_away: u64) {
        let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for held in held.iter().filter(|held| !held.lifted) {
            *counts.entry((held.mode.name(), held.action.name())).or_default() += 1;
        }
        self.containments.reset();
        for ((mode, action), count) in counts {
            self.containments.with_label_values(&[mode, action]).set(count);
        }
        self.turned_away.set(whole(turned_away));
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
