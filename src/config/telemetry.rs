//! `[telemetry]`: where records and measurements are sent.

use super::reader::Section;

/// Where records and measurements are sent.
pub struct TelemetryConfig {}

pub(super) fn read(root: &Section<'_>) -> Option<TelemetryConfig> {
    root.refuse_unenforced("telemetry");
    Some(TelemetryConfig {})
}
