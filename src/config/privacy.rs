//! `[privacy]`: which personal data and secrets are looked for, and what becomes of what is found.

use super::reader::Section;

/// What is looked for.
pub struct PrivacyConfig {}

pub(super) fn read(root: &Section<'_>) -> Option<PrivacyConfig> {
    root.refuse_unenforced("privacy");
    Some(PrivacyConfig {})
}
