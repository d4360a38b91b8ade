//! Local retention: which closed segments leave this host.

use std::path::Path;
use std::time::SystemTime;

use super::super::segment::{self, ClosedSegment, SegmentName};
use super::marker::{self, Marker};
use crate::config::KeepConfig;
use crate::telemetry::ShipMetrics;

/// Deletes closed segments of `directory` beyond the bounds of `keep`, the oldest first. Never the newest of a chain, and where
/// there is a bucket, never one that is not confirmed as shipped. Blocks.
pub(super) fn enforce(
    directory: &Path,
    closed: &[ClosedSegment],
    keep: KeepConfig,
    is_shipped: bool,
    now: SystemTime,
    metrics: &ShipMetrics,
) {
    if keep == KeepConfig::default() {
        return;
    }
    let (mut total, mut all) = (0, Vec::new());
    for name in segment::list(directory).unwrap_or_default() {
        let path = directory.join(name.to_string());
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        total += metadata.len();
        if let (Some(one), Ok(changed)) = (closed.iter().find(|one| one.name == name), metadata.modified()) {
            all.push((changed, name, metadata.len(), one));
        }
    }
    all.sort_by_key(|&(changed, name, ..)| (changed, name));
    for (changed, name, size, one) in all {
        let is_old = keep.max_age.is_some_and(|most| now.duration_since(changed).is_ok_and(|age| age > most));
        let is_too_much = keep.max_size.is_some_and(|most| total > most);
        if one.is_newest || !(is_old || is_too_much) || (is_shipped && !Marker::stands(one)) {
            continue;
        }
        // The segment first: a marker that is left alone is swept, a segment without one would be shipped again.
        match std::fs::remove_file(&one.path) {
            Ok(()) => {
                total -= size;
                metrics.deleted.inc();
                let why = if is_old { "max_age" } else { "max_size" };
                tracing::info!(segment = %name, why, "an audit segment is kept here no longer");
                drop(std::fs::remove_file(marker::path(&one.path)));
            }
            Err(error) => tracing::error!(%error, segment = %name, "an audit segment cannot be deleted"),
        }
    }
    sweep(directory);
}

/// Removes markers whose segment is gone.
fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let segment = name.to_str().and_then(|name| name.strip_suffix(marker::SUFFIX));
        if let Some(segment) = segment.filter(|segment| SegmentName::parse(segment.as_ref()).is_some())
            && matches!(directory.join(segment).try_exists(), Ok(false))
        {
            drop(std::fs::remove_file(entry.path()));
        }
    }
}
