//! Evidence: one record for each request, written as a JSON line whatever became of the request.

mod record;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod schema;
mod writer;

pub use record::{Closer, Decision, Digests, Event, LimitLeft, MAX_TOOLS, Record, Timings, VERSION};
pub use writer::{AuditLog, OnRecord, Ticket, Unrecorded};
