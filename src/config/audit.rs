//! `[audit]`: what is written down, where, and what becomes of it.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::keep::{self, KeepConfig};
use super::reader::Section;
use super::ship::{self, ShipConfig};
use super::writable;
use crate::audit::{Durability, OnAuditFailure, SigningKey};

/// What is written down, where, and what becomes of it.
pub struct AuditConfig {
    /// The folder that segments are written to; it exists and can be written.
    pub directory: PathBuf,
    /// When a request is on record.
    pub durability: Durability,
    /// What becomes of requests while nothing can be written.
    pub on_audit_failure: OnAuditFailure,
    /// Shortest time between two groups of records that are brought to the disk.
    pub commit_interval: Duration,
    /// Longest time that a record is not signed.
    pub checkpoint_interval: Duration,
    /// Bytes at which a segment is closed.
    pub segment_size: u64,
    /// Age at which a segment is closed.
    pub segment_age: Duration,
    /// Signs checkpoints; `None`: the key that the host makes for itself.
    pub signing_key: Option<SigningKey>,
    /// What is kept of the text of requests and answers.
    pub content: AuditContent,
    /// Most bytes of a text that are kept.
    pub content_limit: usize,
    /// Where closed segments are shipped to; `None`: nowhere.
    pub ship: Option<ShipConfig>,
    /// How long closed segments stay on this host.
    pub keep: KeepConfig,
}

/// What is kept of the text of requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditContent {
    /// Nothing.
    #[default]
    None,
    /// The text after masking, up to a bound.
    Masked,
}

pub(super) fn read(section: &Section<'_>) -> Option<AuditConfig> {
    section.required("directory");
    let directory = section.path("directory").and_then(|directory| writable(section, directory));
    let durability = section.parsed("durability", "\"durable\" or \"relaxed\"");
    let on_audit_failure = section.parsed("on_audit_failure", "\"refuse\" or \"continue\"");
    let commit_interval = section.nonzero_duration("commit_interval").unwrap_or(Duration::from_millis(20));
    if commit_interval > MAX_COMMIT_INTERVAL {
        section.fault("commit_interval", "is above 1s", "shorten it: every request waits for it under load");
    }
    let segment_size = section.size("segment_size").unwrap_or(64 << 20);
    if !SEGMENT_SIZES.contains(&segment_size) {
        section.fault("segment_size", "is not from 64KiB to 1GiB", "keep the default, 64MiB, unless there is a reason");
    }
    let content_limit = section.size("content_limit").unwrap_or(16 << 10);
    if content_limit > MAX_CONTENT {
        section.fault("content_limit", "is above 256KiB", "lower it: a record has two such texts");
    }
    let signing_key = section.has("signing_key").then(|| {
        let key = SigningKey::parse(&section.secret("signing_key")?);
        section.usable("signing_key", key)
    });
    let checkpoint_interval = section.nonzero_duration("checkpoint_interval").unwrap_or(Duration::from_secs(60));
    let segment_age = section.nonzero_duration("segment_age").unwrap_or(Duration::from_secs(3600));
    let content = section.parsed("content", "\"none\" or \"masked\"");
    let ship = ship::read(section);
    let keep = keep::read(section);
    Some(AuditConfig {
        directory: directory?,
        durability: durability.unwrap_or_default(),
        on_audit_failure: on_audit_failure.unwrap_or_default(),
        commit_interval,
        checkpoint_interval,
        segment_size: segment_size as u64,
        segment_age,
        signing_key: signing_key.flatten(),
        content: content.unwrap_or_default(),
        content_limit,
        ship: ship?,
        keep,
    })
}

/// Requests are refused when their record takes 5 seconds.
const MAX_COMMIT_INTERVAL: Duration = Duration::from_secs(1);
const SEGMENT_SIZES: std::ops::RangeInclusive<usize> = 64 << 10..=1 << 30;
/// A line with two such texts, each byte escaped as six, is below what a reader takes for a line.
const MAX_CONTENT: usize = 256 << 10;

impl FromStr for Durability {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "durable" => Ok(Self::Durable),
            "relaxed" => Ok(Self::Relaxed),
            _ => Err(()),
        }
    }
}

impl FromStr for OnAuditFailure {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "continue" => Ok(Self::Continue),
            _ => Err(()),
        }
    }
}

impl FromStr for AuditContent {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "none" => Ok(Self::None),
            "masked" => Ok(Self::Masked),
            _ => Err(()),
        }
    }
}
