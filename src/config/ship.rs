//! `[audit.ship]`: where closed segments of the audit log are kept.

use super::reader::Section;

/// Where closed segments are kept.
pub struct ShipConfig {}

/// Reads the section; `Some(None)` when there is none.
#[allow(clippy::option_option)] // none at all, or one that is wrong
pub(super) fn read(audit: &Section<'_>) -> Option<Option<ShipConfig>> {
    audit.refuse_unenforced("ship");
    Some(None)
}
