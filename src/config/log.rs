//! `[log]`: how much the operational log tells.

use super::reader::Section;
use crate::telemetry::LogLevel;

/// How much the operational log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogConfig {
    /// Which lines of our own are told.
    pub level: LogLevel,
}

pub(super) fn read(section: &Section<'_>) -> LogConfig {
    let level = section.parsed("level", "\"error\", \"warn\", \"info\" or \"debug\"");
    LogConfig { level: level.unwrap_or_default() }
}
