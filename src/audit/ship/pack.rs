//! A segment as it is sent: compressed in memory, which its size bounds. No file is made for it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::segment::{MAX_LINE, last_line};

/// A segment as it is sent.
pub(super) struct Pack {
    /// The object.
    pub object: Bytes,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// That of the plain segment.
    pub plain_sha256: String,
    /// The plain segment's bytes.
    pub plain_size: u64,
    /// The hash of its last record: what the chain's next record names as `prev`.
    pub head: String,
    /// The day of its first record, in UTC.
    pub day: String,
}

impl Pack {
    /// Reads and compresses the segment at `path`. Blocks.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let head = last_line(&mut file)?.map(|line| record_hash(&line)).unwrap_or_default();
        let day = day(path)?;
        let mut plain = Sha256::new();
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
        encoder.include_checksum(true)?;
        let mut plain_size = 0;
        let mut reader = BufReader::with_capacity(PIECE, File::open(path)?);
        loop {
            let piece = reader.fill_buf()?;
            let length = piece.len();
            if length == 0 {
                break;
            }
            plain.update(piece);
            encoder.write_all(piece)?;
            plain_size += length as u64;
            reader.consume(length);
        }
        let object = Bytes::from(encoder.finish()?);
        Ok(Self {
            sha256: hex(Sha256::digest(&object)),
            object,
            plain_sha256: hex(plain.finalize()),
            plain_size,
            head,
            day,
        })
    }
}

/// The hash of a line, as the next one names it (RFC 6962 §2.1's leaf).
fn record_hash(line: &[u8]) -> String {
    hex(Sha256::new().chain_update([0]).chain_update(line).finalize())
}

pub(super) fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
}

/// The day of the first record that tells its time; of a segment where none does, that of its last change. It must come out
/// the same at each try, for it is a part of the key.
fn day(path: &Path) -> io::Result<String> {
    #[derive(serde::Deserialize)]
    struct Timed {
        time: String,
    }
    let file = File::open(path)?;
    let changed: SystemTime = file.metadata()?.modified()?;
    let mut line = Vec::new();
    BufReader::new(file.take(MAX_LINE as u64)).read_until(b'\n', &mut line)?;
    let told = serde_json::from_slice::<Timed>(&line).ok();
    let told = told.and_then(|timed| OffsetDateTime::parse(&timed.time, &Rfc3339).ok());
    let time = told.map_or_else(|| OffsetDateTime::from(changed), |time| time.to_offset(time::UtcOffset::UTC));
    Ok(time.date().to_string())
}

/// zstd's own default: a few hundred MB/s, and about a tenth of the size for records.
const LEVEL: i32 = 3;
const PIECE: usize = 64 << 10;
