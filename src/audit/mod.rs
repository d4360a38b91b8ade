//! Evidence: one record for each request, written as a JSON line whatever became of the request.

pub mod ocsf;
mod reading;
mod record;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod schema;
mod writer;

pub use reading::{Reading, RequestOutcome};
pub use record::{Closer, Decision, Digests, Event, LimitLeft, MAX_TOOLS, Record, Timings, VERSION};
pub use writer::{AuditLog, OnRecord, Tap, Ticket, Unrecorded};
