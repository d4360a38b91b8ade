//! Budgets on disk, so that a restart does not forget them.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::key::BucketKey;
use super::span::Span;

/// A file of counts. It holds no names: rules and callers are hashes.
pub(super) struct StateFile {
    path: PathBuf,
    /// The last write failed.
    failed: AtomicBool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// Slots and amounts by the key's text.
    counts: HashMap<String, VecDeque<(u64, u64)>>,
}

impl StateFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path, failed: AtomicBool::new(false) }
    }

    /// What the file holds; nothing when there is none. One that cannot be read is set aside and told in the log.
    pub fn load(&self) -> Vec<(BucketKey, Bucket)> {
        let read = std::fs::read(&self.path);
        let parsed = match read {
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(error) => Err(error.to_string()),
            Ok(json) => parse(&json),
        };
        parsed.unwrap_or_else(|problem| {
            let aside = self.beside("damaged");
            let kept = std::fs::rename(&self.path, &aside).is_ok();
            tracing::error!(
                path = %self.path.display(), %problem, kept_as = kept.then(|| aside.display().to_string()),
                "cannot read the state of limits: budgets begin at zero"
            );
            Vec::new()
        })
    }

    /// Writes `counts` in the place of what was there: the old file or the new one is there at any moment.
    pub async fn save(&self, counts: Vec<(BucketKey, Bucket)>) -> bool {
        let (path, partial) = (self.path.clone(), self.beside("partial"));
        let written = tokio::task::spawn_blocking(move || write(&path, &partial, &counts)).await;
        let problem = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let had_failed = self.failed.swap(problem.is_some(), Ordering::Relaxed);
        match &problem {
            Some(problem) if !had_failed => {
                tracing::error!(path = %self.path.display(), %problem, "cannot write the state of limits: a restart would forget budgets");
            }
            None if had_failed => tracing::info!(path = %self.path.display(), "the state of limits is written again"),
            _ => {}
        }
        problem.is_none()
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(suffix);
        name.into()
    }
}

/// Counts as [`to_json`] wrote them.
///
/// # Errors
/// What is wrong with them.
pub(super) fn parse(json: &[u8]) -> Result<Vec<(BucketKey, Bucket)>, String> {
    let content: Content = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    if content.version != VERSION {
        return Err(format!("has version {}, not {VERSION}", content.version));
    }
    let mut counts = Vec::with_capacity(content.counts.len());
    for (key, slots) in content.counts {
        let key: BucketKey = key.parse().map_err(|()| format!("has a count {key:?}"))?;
        let in_order = slots.iter().zip(slots.iter().skip(1)).all(|((earlier, _), (later, _))| earlier < later);
        let is_bounded = slots.len() as u64 <= key.span.reach() + 1 && key.span != Span::UnderWay;
        if !in_order || !is_bounded {
            return Err(format!("has slots that {key} cannot have"));
        }
        counts.push((key, Bucket::from_slots(slots)));
    }
    Ok(counts)
}

/// Counts as JSON.
pub(super) fn to_json(counts: &[(BucketKey, Bucket)]) -> serde_json::Result<Vec<u8>> {
    let counts = counts.iter().map(|(key, bucket)| (key.to_string(), bucket.slots().clone())).collect();
    serde_json::to_vec(&Content { version: VERSION, counts })
}

fn write(path: &Path, partial: &Path, counts: &[(BucketKey, Bucket)]) -> std::io::Result<()> {
    let json = to_json(counts)?;
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(partial)?;
    file.write_all(&json)?;
    file.sync_data()?;
    std::fs::rename(partial, path)
}

const VERSION: u32 = 1;
