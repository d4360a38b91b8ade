//! What ops see: metrics and the operational log.

mod logs;
mod metrics;
mod unknown_names;

pub use logs::{LogFormat, init_logs};
pub use metrics::{AuditMetrics, Metrics, ShipMetrics, State, UpstreamState};
