//! Evidence: one record for each request, written as a JSON line whatever became of the request.

mod hex;
mod record;
mod writer;

pub use hex::hex;
pub use record::{Closer, Decision, Digests, Event, LimitLeft, MAX_TOOLS, Record, Timings, VERSION};
pub use writer::{AuditLog, OnRecord, Ticket, Unrecorded};
