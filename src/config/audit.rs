//! `[audit]`: what is written down, where, and what becomes of it.

use std::path::PathBuf;

use super::keep::{self, KeepConfig};
use super::reader::Section;
use super::ship::{self, ShipConfig};
use super::writable;

/// What is written down, where, and what becomes of it.
pub struct AuditConfig {
    /// The folder that segments are written to; it exists and can be written.
    pub directory: PathBuf,
    /// Where closed segments are shipped to; `None`: nowhere.
    pub ship: Option<ShipConfig>,
    /// How long closed segments stay on this host.
    pub keep: KeepConfig,
}

pub(super) fn read(section: &Section<'_>) -> Option<AuditConfig> {
    section.required("directory")?;
    let directory = section.path("directory").and_then(|directory| writable(section, directory));
    let ship = ship::read(section);
    let keep = keep::read(section);
    Some(AuditConfig { directory: directory?, ship: ship?, keep })
}
