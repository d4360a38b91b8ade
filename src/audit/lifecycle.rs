//! Lines that the log writes of itself: that a process began and ended, and what is missing.

use serde::Serialize;

use super::hash::Hash;
use super::record::VERSION;

/// The head of another chain in the folder when a process started: a chain that vanishes as a whole is missed by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct ChainHead {
    /// The chain.
    pub chain: u32,
    /// The number of its last record.
    pub seq: u64,
    /// That record's hash.
    pub hash: Hash,
}

/// What a process found of the one before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Bytes of a record that was cut short by a crash, and that were taken off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub torn_bytes: Option<u64>,
    /// Their SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub torn_sha256: Option<Hash>,
    /// The segment that was damaged, and how; it was left as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// A process has started to write the chain.
#[derive(Debug, Serialize)]
pub(super) struct Started<'a> {
    pub event: &'static str,
    pub version: u32,
    pub time: &'a str,
    /// The program's version.
    pub program: &'static str,
    pub pid: u32,
    pub log: &'a str,
    /// What the signing key is called.
    pub key: &'a str,
    /// SHA-256 of the configuration's text.
    pub configuration: Hash,
    pub found: &'a Found,
    /// The heads of the other chains in the folder.
    pub heads: &'a [ChainHead],
}

/// Another configuration is in force.
#[derive(Debug, Serialize)]
pub(super) struct Configured<'a> {
    pub event: &'static str,
    pub version: u32,
    pub time: &'a str,
    /// SHA-256 of its text.
    pub configuration: Hash,
    /// The sections that differ from those before.
    pub changed: &'a [String],
}

/// A process has ended as it should.
#[derive(Debug, Serialize)]
pub(super) struct Stopped<'a> {
    pub event: &'static str,
    pub version: u32,
    pub time: &'a str,
}

/// The log could not be written for a while.
#[derive(Debug, Serialize)]
pub(super) struct Gap<'a> {
    pub event: &'static str,
    pub version: u32,
    pub time: &'a str,
    /// When it began.
    pub from: &'a str,
    /// When it ended.
    pub to: &'a str,
    /// Requests that were refused for it, and so have no record.
    pub refused: u64,
    /// Records that could not be kept: of requests that went on, as the configuration says.
    pub lost: u64,
    /// Lines before this one, not made durable one by one, of which the disk did not confirm that it has them.
    #[serde(skip_serializing_if = "is_zero")]
    pub unsure: u64,
}

/// A containment has begun, or has ended: what follows an alarm.
#[derive(Debug, Serialize)]
pub struct Containment<'a> {
    /// `contained` or `released`.
    pub event: &'static str,
    /// Of the layout.
    pub version: u32,
    /// When it was.
    pub time: &'a str,
    /// The containment's id.
    pub containment: &'a str,
    /// The rule of the configuration that began it.
    pub rule: &'a str,
    /// `observe`: it only says what it would do; `enforce`.
    pub mode: &'static str,
    /// The signal that was followed.
    pub signal: &'static str,
    /// How far it was out of the ordinary: 1 and above.
    pub score: f64,
    /// `subject` or `team`.
    pub kind: &'static str,
    /// The issuer's configured name.
    pub issuer: &'a str,
    /// The caller's or the team's name.
    pub name: &'a str,
    /// `throttle`, `restrict` or `refuse`.
    pub action: &'static str,
    /// A throttle's rate, or the families of a restriction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// When it began.
    pub since: &'a str,
    /// When it is to end.
    pub until: &'a str,
    /// Why it ended: `expired` or `lifted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for a reference
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl<'a> Configured<'a> {
    pub(super) fn at(time: &'a str, configuration: Hash, changed: &'a [String]) -> Self {
        Self { event: "configured", version: VERSION, time, configuration, changed }
    }
}

impl<'a> Stopped<'a> {
    pub(super) fn at(time: &'a str) -> Self {
        Self { event: "stopped", version: VERSION, time }
    }
}
