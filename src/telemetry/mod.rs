//! What ops see: metrics, the operational log, traces, and the export of these and of audit records.

mod logs;
mod metrics;
mod otlp;
mod trace;
mod unknown_names;

pub use logs::{LogFormat, LogLevel, expect_log_signal, expect_signal, follow_log_signal, init_logs};
pub use metrics::{
    AnomalyMetrics, AuditMetrics, EndedRequest, Metrics, OtlpMetrics, ReloadMetrics, ReloadOutcome, RequestOutcome,
    ShipMetrics, State, StreamGuard, UpstreamState,
};
pub use otlp::{LogExport, LogTap, Origin, SpanExport, SpanTap};
pub use trace::{Attempt, AttemptEnd, Route, Trace, TraceParent, Tracer, attempt_error, request_error};
