//! What ops see: metrics, the operational log, and the export of audit records.

mod logs;
mod metrics;
mod otlp;
mod unknown_names;

pub use logs::{LogFormat, init_logs};
pub use metrics::{
    AuditMetrics, EndedRequest, Metrics, OtlpMetrics, RequestOutcome, ShipMetrics, State, StreamGuard, UpstreamState,
};
pub use otlp::{LogExport, LogTap};
