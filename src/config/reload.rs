//! `[reload]`: when the configuration is read again.

use super::reader::Section;

/// When the configuration is read again, besides SIGHUP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReloadConfig {
    /// Whenever its file has changed.
    pub on_change: bool,
}

pub(super) fn read(section: &Section<'_>) -> ReloadConfig {
    ReloadConfig { on_change: section.flag("on_change").unwrap_or_default() }
}
