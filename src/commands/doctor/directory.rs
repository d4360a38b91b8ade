//! The folders that the proxy writes to. That files can be made there, loading the configuration has tried.

use std::path::Path;

use super::finding::{Check, Finding};
use crate::audit::AuditLog;

/// The folders of the audit log and of what outlives a restart. Nothing is written to the log.
pub(super) fn examine(audit: &Path, state: &Path) -> [Finding; 2] {
    let folder = audit.display().to_string();
    let audit = match AuditLog::try_open(audit) {
        Ok(()) => Check::Audit.passes(folder, "can be written"),
        Err(error) => Check::Audit.fails(
            folder,
            format!("its log cannot be opened: {error}"),
            "give the log to the user that the service runs as, or name another audit.directory",
        ),
    };
    [audit, Check::State.passes(state.display().to_string(), "can be written")]
}
