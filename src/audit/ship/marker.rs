//! The marker beside a shipped segment: `audit-<chain>-<first>.jsonl.shipped`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::segment::ClosedSegment;

/// What the store confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// Where the object is, `s3://bucket/key`.
    pub key: String,
    /// SHA-256 of the object as it was read back, in hex.
    pub sha256: String,
    /// The object's bytes.
    pub size: u64,
    /// SHA-256 of the segment, in hex.
    pub plain_sha256: String,
    /// The segment's bytes.
    pub plain_size: u64,
    /// When it was confirmed, RFC 3339 in UTC.
    pub time: String,
}

impl Marker {
    /// Whether `segment` is confirmed as shipped: its marker is whole, and speaks of as many bytes as there are.
    pub(super) fn stands(segment: &ClosedSegment) -> bool {
        let marker = std::fs::read(path(&segment.path)).ok();
        let marker: Option<Self> = marker.and_then(|marker| serde_json::from_slice(&marker).ok());
        let length = std::fs::metadata(&segment.path).ok().map(|metadata| metadata.len());
        marker.is_some_and(|marker| Some(marker.plain_size) == length)
    }

    /// Writes it, whole or not at all, and on disk when this returns.
    pub(super) fn write(&self, segment: &Path) -> io::Result<()> {
        let (path, mut draft) = (path(segment), path(segment).into_os_string());
        draft.push(".part"); // one name, so that what a crash leaves is written over
        let mut file = File::create(&draft)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

/// The marker's path of the segment at `segment`.
pub(super) fn path(segment: &Path) -> PathBuf {
    let mut path = segment.as_os_str().to_owned();
    path.push(SUFFIX);
    path.into()
}

/// What a marker's name has after its segment's.
pub(super) const SUFFIX: &str = ".shipped";
