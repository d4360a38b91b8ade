//! How a log is kept.

use std::path::PathBuf;
use std::time::Duration;

use super::hash::Hash;
use super::key::SigningKey;

/// When a request is on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Once its `begin` line is on disk, so that it survives a crash of the host.
    #[default]
    Durable,
    /// Once its `begin` line is handed over: a crash may lose the last ones.
    Relaxed,
}

/// What becomes of requests while the log cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnAuditFailure {
    /// They are refused: nothing goes unlogged.
    #[default]
    Refuse,
    /// They go on; what cannot be kept for later is lost, and counted.
    Continue,
}

/// Takes every committed group of whole lines. It is called on the writer's thread, and must not block.
pub type Tap = Box<dyn FnMut(&[u8]) + Send>;

/// How a log is kept, as far as that may change while it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRules {
    /// When a request is on record.
    pub durability: Durability,
    /// What becomes of requests while the log cannot be written.
    pub on_failure: OnAuditFailure,
    /// Shortest time between two groups that are brought to the disk.
    pub commit_interval: Duration,
    /// Longest time that a record is not signed.
    pub checkpoint_interval: Duration,
    /// Bytes at which a segment is closed.
    pub segment_size: u64,
    /// Age at which a segment is closed.
    pub segment_age: Duration,
}

/// How a log is kept.
pub struct Options {
    /// The folder of the segments; it exists.
    pub directory: PathBuf,
    /// What may change.
    pub rules: LogRules,
    /// Signs checkpoints.
    pub key: SigningKey,
    /// SHA-256 of the configuration's text.
    pub configuration: Hash,
    /// Takes what was committed.
    pub tap: Option<Tap>,
}

/// Another configuration of a log that goes on.
pub struct Change {
    /// How the log is kept from here on.
    pub rules: LogRules,
    /// SHA-256 of the configuration's text.
    pub configuration: Hash,
    /// The sections of it that have changed.
    pub changed: Vec<String>,
    /// What takes what was committed in the place of what did, if that changes.
    #[allow(clippy::option_option)] // the same as before, or one or none
    pub tap: Option<Option<Tap>>,
}
