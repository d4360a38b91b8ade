//! Evidence: one record for each request, written as a JSON line whatever became of the request.

mod record;
mod writer;

pub use record::{Decision, Record, Timings};
pub use writer::AuditLog;
