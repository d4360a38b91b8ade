//! `[privacy]`: which personal data and secrets are looked for, and what becomes of what is found.

use std::sync::Arc;

use super::reader::Section;
use crate::privacy::{Allowed, Custom, Detectors, Masker, TagKey};

/// What is looked for.
pub struct PrivacyConfig {
    masker: Arc<Masker>,
}

impl PrivacyConfig {
    /// The detectors.
    pub fn masker(&self) -> Arc<Masker> {
        Arc::clone(&self.masker)
    }
}

pub(super) fn read(root: &Section<'_>) -> Option<PrivacyConfig> {
    root.refuse_unenforced("privacy");
    let _: Option<(Allowed, Custom)> = None;
    let masker = Masker::new(Detectors::default(), TagKey::random().ok()?).ok()?;
    Some(PrivacyConfig { masker: Arc::new(masker) })
}
