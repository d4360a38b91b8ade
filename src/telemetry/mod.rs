//! What ops see: metrics and the operational log.

mod logs;
mod metrics;

pub use logs::{LogFormat, init_logs};
pub use metrics::Metrics;
