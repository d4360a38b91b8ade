//! What ops see: metrics, the operational log, and the export of audit records.

mod logs;
mod metrics;
mod otlp;
mod unknown_names;

pub use logs::{LogFormat, init_logs};
pub use metrics::{AnomalyMetrics, AuditMetrics, Metrics, OtlpMetrics, ShipMetrics, State, UpstreamState};
pub use otlp::{LogExport, LogTap};
