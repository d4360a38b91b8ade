//! Evidence: one record for each request, written as a JSON line whatever became of the request.

mod record;
pub mod segment;
pub mod ship;
mod writer;

pub use record::{Closer, Decision, Digests, Event, LimitLeft, MAX_TOOLS, Record, Timings, VERSION};
pub use writer::{AuditLog, OnRecord, Ticket, Unrecorded};
