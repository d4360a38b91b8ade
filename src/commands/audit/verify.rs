//! `portcullis audit verify`: one or many segments, local or shipped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::super::Outcome;
use super::Paths;
use crate::audit::segment::SegmentName;
use crate::audit::verify::{Failure, Totals, Verifier};
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
        for copy in copies {
            eprintln!("{}: not looked at, for {} is the same segment", copy.path.display(), place.path.display());
        }
        let shown = place.path.display().to_string();
        let checked = open(place).map_err(Failure::Unreadable).and_then(|file| verifier.segment(name, &shown, file));
        checked.map_err(|failure| match failure {
            Failure::Fault(fault) => fault.to_string(),
            Failure::Unreadable(error) => format!("{shown}: cannot be read: {error}"),
        })?;
    }
    verifier.finish().map_err(|fault| fault.to_string())
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
