//! `portcullis audit verify`: one or many segments, local or shipped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::super::Outcome;
use super::Paths;
use crate::audit::segment::SegmentName;
use crate::audit::verify::{Failure, Totals, Verifier, hashes};
use crate::audit::{Checkpoint, Hash, PublicKey};

#[derive(Debug, clap::Args)]
pub(in super::super) struct Arguments {
    #[command(flatten)]
    paths: Paths,
    /// A public key to trust, as PEM or hex; several where the key has changed. Without one the log vouches for itself
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// Checkpoints that were kept elsewhere, such as in the journal, one a line: the log must still hold them
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
}

/// A chain of a host: hosts number theirs alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Chain {
    /// The host as shipping names its folder, else the folder itself.
    place: String,
    id: u32,
}

/// Where a segment is. A plain file comes before its compressed copy.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    compressed: bool,
    path: PathBuf,
}

pub(super) fn command(arguments: &Arguments) -> Outcome {
    let keys = arguments.keys.iter().map(|path| {
        let text = read(path)?;
        PublicKey::parse(&text).map_err(|fault| format!("{} {fault}", path.display()))
    });
    let keys: Vec<PublicKey> = keys.collect::<Result<_, String>>()?;
    let mut kept = kept(&arguments.checkpoints)?;
    let mut chains = BTreeMap::new();
    for path in &arguments.paths.paths {
        find(path, true, &mut chains)?;
    }
    if chains.is_empty() {
        return Err("no segment is there: they are called audit-<chain>-<first>.jsonl or .jsonl.zst".to_owned());
    }
    let mut faults = Vec::new();
    let mut ends = BTreeMap::new();
    for (chain, segments) in &chains {
        match verify(chain, segments, &keys, &mut kept) {
            Ok(totals) => {
                tell(chain, &totals, !keys.is_empty());
                ends.insert(chain, totals);
            }
            Err(fault) => faults.push(fault),
        }
    }
    for (log, expected) in kept.iter().filter(|(_, expected)| !expected.is_empty()) {
        faults.push(format!(
            "{log}: {} checkpoints that were kept elsewhere are of a log that is not here",
            expected.len()
        ));
    }
    // Of a part of a log, such as a day of it, other chains need not be at hand.
    let is_whole =
        |path: &PathBuf| path.is_dir() && !path.iter().any(|part| part.as_encoded_bytes().starts_with(b"dt="));
    let is_all = faults.is_empty() && arguments.paths.paths.iter().all(is_whole);
    faults.extend(missing_chains(&ends, is_all));
    faults.extend(other_chains(&chains, &ends)?);
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

fn verify(
    chain: &Chain,
    segments: &BTreeMap<SegmentName, Vec<Place>>,
    keys: &[PublicKey],
    kept: &mut BTreeMap<String, BTreeMap<u64, Hash>>,
) -> Result<Totals, String> {
    // The checkpoints of a chain name its log, which is known once one was read: the number of the chain decides until then.
    let suffix = format!("/{}", chain.id);
    let of_chain = kept.keys().find(|log| log.ends_with(&suffix)).cloned();
    let expected = of_chain.and_then(|log| kept.remove(&log)).unwrap_or_default();
    let mut verifier = Verifier::new(keys.to_vec(), expected);
    for (&name, places) in segments {
        let mut places: Vec<&Place> = places.iter().collect();
        places.sort();
        let Some((place, copies)) = places.split_first() else { continue };
        let before = (!copies.is_empty()).then(|| verifier.clone());
        segment(&mut verifier, name, place)?;
        for (copy, mut other) in copies.iter().zip(before.iter().cycle().cloned()) {
            segment(&mut other, name, copy)?;
            if !other.agrees_with(&verifier) {
                return Err(format!("{}: holds other records than {}", copy.path.display(), place.path.display()));
            }
        }
    }
    verifier.finish().map_err(|fault| fault.to_string())
}

fn segment(verifier: &mut Verifier, name: SegmentName, place: &Place) -> Result<(), String> {
    let shown = place.path.display().to_string();
    let checked = open(place).map_err(Failure::Unreadable).and_then(|file| verifier.segment(name, &shown, file));
    checked.map_err(|failure| match failure {
        Failure::Fault(fault) => fault.to_string(),
        Failure::Unreadable(error) => format!("{shown}: cannot be read: {error}"),
    })
}

fn tell(chain: &Chain, totals: &Totals, trusted: bool) {
    println!(
        "{} chain {}: records {} to {} hold, {} checkpoints",
        chain.place, chain.id, totals.first, totals.last, totals.checkpoints
    );
    if totals.first > 1 {
        eprintln!("it begins at record {}: what comes before was not given", totals.first);
    }
    if totals.unsigned > 0 {
        eprintln!("{} records after the last checkpoint are not signed yet", totals.unsigned);
    }
    if !trusted {
        let keys: Vec<&str> = totals.keys.keys().map(String::as_str).collect();
        eprintln!("nobody vouches for the keys that signed it, {}: give --key", keys.join(", "));
    }
}

/// Chains that the others have seen, and that are not there any more or end too early.
fn missing_chains(ends: &BTreeMap<&Chain, Totals>, is_all: bool) -> Vec<String> {
    let mut missing = Vec::new();
    for (chain, totals) in ends.iter().filter(|_| is_all) {
        for head in &totals.heads {
            let other = Chain { place: chain.place.clone(), id: head.chain };
            match ends.get(&other) {
                Some(end) if end.last >= head.seq => {}
                Some(end) => missing.push(format!(
                    "{} chain {}: ends at record {}, and chain {} has seen record {}",
                    chain.place, head.chain, end.last, chain.id, head.seq
                )),
                None => missing.push(format!(
                    "{} chain {}: is missing, and chain {} has seen its record {}",
                    chain.place, head.chain, chain.id, head.seq
                )),
            }
        }
    }
    missing.dedup();
    missing
}

/// Chains that have other records than the others have seen in them.
///
/// # Errors
/// When a segment cannot be read again.
fn other_chains(chains: &Chains, ends: &BTreeMap<&Chain, Totals>) -> Result<Vec<String>, String> {
    let mut seen = BTreeMap::<_, BTreeSet<_>>::new();
    for (chain, totals) in ends {
        for head in &totals.heads {
            let other = Chain { place: chain.place.clone(), id: head.chain };
            let is_at_hand = ends.get(&other).is_some_and(|end| (end.first..=end.last).contains(&head.seq));
            let upto = SegmentName { chain: head.chain, first: head.seq };
            let segment = chains.get(&other).and_then(|segments| segments.range(..=upto).next_back());
            if let (true, Some((&name, places))) = (is_at_hand, segment) {
                let found = seen.entry((other, name, places.iter().min())).or_default();
                found.insert((head.seq, head.hash, chain.id));
            }
        }
    }
    let mut others = Vec::new();
    for ((other, name, place), heads) in seen {
        let Some(place) = place else { continue };
        let wanted = heads.iter().map(|&(seq, ..)| seq).collect();
        let unreadable = |error| format!("{}: cannot be read: {error}", place.path.display());
        let hashes = open(place).and_then(|file| hashes(name, file, &wanted)).map_err(unreadable)?;
        for (seq, hash, witness) in heads {
            if hashes.get(&seq) != Some(&hash) {
                others.push(format!(
                    "{}: record {seq} is not the one that chain {witness} has seen: chain {} was written anew",
                    place.path.display(),
                    other.id
                ));
            }
        }
    }
    Ok(others)
}

/// Checkpoints that were kept elsewhere, by log and number.
fn kept(files: &[PathBuf]) -> Result<BTreeMap<String, BTreeMap<u64, Hash>>, String> {
    let mut kept = BTreeMap::<_, BTreeMap<_, _>>::new();
    for path in files {
        for line in read(path)?.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let (head, checkpoint) =
                Checkpoint::parse(line).map_err(|what| format!("{}: a line {what}", path.display()))?;
            kept.entry(checkpoint.log).or_default().insert(head.seq, Hash::of_record(line));
        }
    }
    Ok(kept)
}

type Chains = BTreeMap<Chain, BTreeMap<SegmentName, Vec<Place>>>;

/// Adds the segment at `path`, or all below it. What was named and is no segment is a slip; what merely lies there is not.
fn find(path: &Path, named: bool, chains: &mut Chains) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", path.display());
    if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            find(&entry.map_err(unreadable)?.path(), false, chains)?;
        }
        return Ok(());
    }
    let file = path.file_name().unwrap_or_default();
    let plain = SegmentName::parse(file);
    let Some(name) = plain.or_else(|| SegmentName::parse_compressed(file)) else {
        return if named { Err(format!("{}: is not called as segments are", path.display())) } else { Ok(()) };
    };
    let host = path.iter().filter_map(|part| part.to_str()).find_map(|part| part.strip_prefix("host="));
    let parent = path.parent().unwrap_or(Path::new("."));
    let place = host.map_or_else(|| parent.display().to_string(), str::to_owned);
    let place = if place.is_empty() { ".".to_owned() } else { place };
    let segments = chains.entry(Chain { place, id: name.chain }).or_default();
    let place = Place { compressed: plain.is_none(), path: path.to_owned() };
    segments.entry(name).or_default().push(place);
    Ok(())
}

fn open(place: &Place) -> std::io::Result<Box<dyn BufRead>> {
    let file = File::open(&place.path)?;
    Ok(if place.compressed {
        Box::new(BufReader::with_capacity(READ, zstd::stream::read::Decoder::new(file)?))
    } else {
        Box::new(BufReader::with_capacity(READ, file))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

const READ: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::audit::{AuditLog, Durability, Event, LogRules, OnAuditFailure, Options, Record, SigningKey};
    use crate::telemetry::AuditMetrics;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn open_log(folder: &Path, key: &Path) -> AuditLog {
        let options = Options {
            directory: folder.to_owned(),
            rules: LogRules {
                durability: Durability::Durable,
                on_failure: OnAuditFailure::Refuse,
                commit_interval: Duration::from_millis(1),
                checkpoint_interval: PATIENCE,
                segment_size: 1 << 20,
                segment_age: PATIENCE * 60,
            },
            key: SigningKey::of_host(key).unwrap(),
            configuration: Hash::ZERO,
            tap: None,
        };
        AuditLog::open(options, AuditMetrics::unregistered().unwrap()).unwrap()
    }

    fn write(log: &AuditLog, id: &str) {
        let record = Record { event: Event::End, ..Record::new(id.to_owned(), SystemTime::UNIX_EPOCH) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(log.write(&record));
        assert!(log.flush(PATIENCE));
    }

    fn verify_all(folder: &Path) -> Outcome {
        let paths = Paths { paths: vec![folder.to_owned()] };
        command(&Arguments { paths, keys: Vec::new(), checkpoints: Vec::new() })
    }

    const FIRST: &str = "audit-0-000000000001.jsonl";

    #[test]
    fn a_chain_that_was_written_anew_is_told_by_the_one_beside_it() {
        let key = tempfile::tempdir().unwrap();
        let [folder, forged] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let first = open_log(folder.path(), key.path());
        write(&first, "true");
        let second = open_log(folder.path(), key.path());
        assert!(first.stop(PATIENCE) && second.stop(PATIENCE));
        assert_eq!(verify_all(folder.path()), Ok(()));

        // Whoever has the key can write a chain of the same length that holds in itself.
        let other = open_log(forged.path(), key.path());
        write(&other, "false");
        assert!(other.stop(PATIENCE));
        assert_eq!(verify_all(forged.path()), Ok(()));
        std::fs::copy(forged.path().join(FIRST), folder.path().join(FIRST)).unwrap();
        let told = verify_all(folder.path()).unwrap_err();
        assert!(told.contains(FIRST) && told.contains("record 2 is not the one that chain 1 has seen"), "{told}");
    }

    #[test]
    fn a_compressed_copy_is_verified_beside_its_segment() {
        let (key, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let log = open_log(folder.path(), key.path());
        for id in ["one", "two"] {
            write(&log, id);
        }
        assert!(log.stop(PATIENCE));
        let plain = std::fs::read(folder.path().join(FIRST)).unwrap();
        let copy = |content: &[u8]| {
            let compressed = zstd::stream::encode_all(content, 0).unwrap();
            std::fs::write(folder.path().join(format!("{FIRST}.zst")), compressed).unwrap();
            verify_all(folder.path())
        };
        assert_eq!(copy(&plain), Ok(()));
        let mut altered = plain.clone();
        let at = memchr::memmem::find(&plain, b"\"two\"").unwrap();
        altered[at + 1] = b'T';
        let told = copy(&altered).unwrap_err();
        assert!(told.contains(".jsonl.zst:3: record 3"), "{told}");
        // What is cut off at the end of a line holds in itself.
        let cut = memchr::memrchr(b'\n', &plain[..plain.len() - 1]).unwrap();
        let told = copy(&plain[..=cut]).unwrap_err();
        assert!(told.contains("holds other records than"), "{told}");
    }
}
