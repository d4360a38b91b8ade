//! One segment's way to the bucket.

use std::io::{self, Write};
use std::time::SystemTime;

use futures_util::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::segment::ClosedSegment;
use super::bucket::Client;
use super::failure::Failure;
use super::marker::Marker;
use super::pack::{Pack, hex};

/// Ships `segment`: puts it, reads it back, and writes its marker. Each step may be repeated.
pub(super) async fn ship(client: &Client, segment: &ClosedSegment, now: SystemTime) -> Result<Marker, Failure> {
    let pack = Pack::read(&segment.path)?;
    let key = key(client, segment, &pack);
    let mut options = PutOptions::from(PutMode::Create);
    options.attributes = attributes(segment, &pack);
    let is_new = match (client.writer)(now)?.put_opts(&key, PutPayload::from(pack.object.clone()), options).await {
        Ok(_) => true,
        Err(object_store::Error::AlreadyExists { .. }) => false,
        Err(error) => return Err(Failure::of_put(error)),
    };
    let found = read_back(&*client.reader, &key, pack.plain_size).await?;
    // Another version of zstd may have made the object: the records count, not how they are packed.
    if found.sha256 != pack.sha256 && (is_new || found.plain_sha256.as_ref() != Some(&pack.plain_sha256)) {
        let key = key.to_string();
        return Err(if is_new { Failure::Mismatch(key) } else { Failure::Conflict(key) });
    }
    let marker = Marker {
        key: format!("{}/{key}", client.url),
        sha256: found.sha256,
        size: found.size,
        plain_sha256: pack.plain_sha256,
        plain_size: pack.plain_size,
        time: OffsetDateTime::from(now).format(&Rfc3339).map_err(io::Error::other)?,
    };
    marker.write(&segment.path)?;
    Ok(marker)
}

fn key(client: &Client, segment: &ClosedSegment, pack: &Pack) -> ObjectPath {
    let parts = [format!("dt={}", pack.day), format!("host={}", client.host), format!("{}.zst", segment.name)];
    client.prefix.parts().chain(parts.iter().map(|part| part.as_str().into())).collect()
}

fn attributes(segment: &ClosedSegment, pack: &Pack) -> Attributes {
    let metadata = |name: &'static str, value: String| (Attribute::Metadata(name.into()), value);
    Attributes::from_iter([
        (Attribute::ContentType, "application/zstd".to_owned()),
        metadata("chain-head", pack.head.clone()),
        metadata("first-seq", segment.name.first.to_string()),
        metadata("last-seq", segment.last.to_string()),
        metadata("segment-sha256", pack.plain_sha256.clone()),
    ])
}

/// What the store gives back.
struct Found {
    sha256: String,
    size: u64,
    /// Of the segment in it; `None` when it is no compressed file of at most the expected size.
    plain_sha256: Option<String>,
}

/// Reads the object in pieces; none of it is kept.
async fn read_back(store: &dyn ObjectStore, key: &ObjectPath, plain_size: u64) -> Result<Found, Failure> {
    let mut pieces = store.get(key).await.map_err(Failure::of_get)?.into_stream();
    let (mut object, mut size) = (Sha256::new(), 0);
    let plain = Bounded { hash: Sha256::new(), left: plain_size };
    let mut decoder = Some(zstd::stream::write::Decoder::new(plain)?);
    while let Some(piece) = pieces.try_next().await.map_err(Failure::of_get)? {
        object.update(&piece);
        size += piece.len() as u64;
        decoder = decoder.and_then(|mut decoder| decoder.write_all(&piece).is_ok().then_some(decoder));
    }
    let plain = decoder.and_then(|mut decoder| decoder.flush().is_ok().then(|| decoder.into_inner()));
    let plain_sha256 = plain.filter(|plain| plain.left == 0).map(|plain| hex(plain.hash.finalize()));
    Ok(Found { sha256: hex(object.finalize()), size, plain_sha256 })
}

/// A hash that takes so many bytes and no more.
struct Bounded {
    hash: Sha256,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
