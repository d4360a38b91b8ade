//! `[audit.keep]`: how long closed segments stay on this host.

use std::time::Duration;

use super::reader::Section;

/// How long closed segments stay on this host; without a bound they stay.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct KeepConfig {
    /// Time since a segment was closed.
    pub max_age: Option<Duration>,
    /// Bytes of all segments together.
    pub max_size: Option<u64>,
}

pub(super) fn read(audit: &Section<'_>) -> KeepConfig {
    audit.table("keep", |keep| KeepConfig {
        max_age: keep.nonzero_duration("max_age"),
        max_size: keep.size("max_size").and_then(|size| u64::try_from(size).ok()),
    })
}
