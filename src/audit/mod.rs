//! Evidence: what became of every request, in a log that shows any later change.
//!
//! Records are lines of a chain ([`Head`]): each bears a number and the hash of the one before. A chain is a row of
//! [segments](segment), and [checkpoints](Checkpoint) in it sign what stands before them. [`AuditLog`] is what requests see,
//! [`verify`] is what an auditor runs.

mod chain;
mod checkpoint;
mod disk;
mod hash;
mod host;
mod key;
mod lifecycle;
mod line;
mod log;
mod members;
mod merkle;
pub mod ocsf;
mod options;
mod outage;
mod reading;
mod record;
mod recovery;
mod room;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod schema;
pub mod segment;
pub mod ship;
pub mod verify;
mod writer;

pub(crate) use chain::rfc3339;
pub use checkpoint::Checkpoint;
pub use hash::{Hash, to_hex};
pub use host::{host, is_host};
pub use key::{PublicKey, SigningKey};
pub use lifecycle::{ChainHead, Containment, Found};
pub use line::Head;
pub use log::{AuditLog, OnRecord, Ticket, Unrecorded};
pub use merkle::Tree;
pub use options::{Change, Durability, LogRules, OnAuditFailure, Options, Tap};
pub use reading::{Reading, RequestOutcome};
pub use record::{Closer, Decision, Digests, Event, LimitLeft, MAX_TOOLS, Record, Timings, VERSION};
