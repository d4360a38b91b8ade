use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::audit::verify::{Failure, Totals, Verifier};

/// A disk in memory that does what its plan says, call by call, and well when the plan is over.
#[derive(Clone, Default)]
struct Faulty(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    files: BTreeMap<SegmentName, Vec<u8>>,
    plan: Vec<Fate>,
    syncs: usize,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Well,
    /// Takes some bytes and says so.
    Short(usize),
    /// Takes some bytes and fails all the same.
    Fails(usize, ErrorKind),
}

impl Inner {
    fn fate(&mut self) -> Fate {
        if self.plan.is_empty() { Fate::Well } else { self.plan.remove(0) }
    }

    fn outcome(&mut self) -> io::Result<()> {
        match self.fate() {
            Fate::Fails(_, kind) => Err(kind.into()),
            Fate::Well | Fate::Short(_) => Ok(()),
        }
    }
}

struct FaultyFile(Faulty, SegmentName);

impl Disk for Faulty {
    type File = FaultyFile;

    fn create(&mut self, name: SegmentName) -> io::Result<FaultyFile> {
        let mut inner = self.0.lock().unwrap();
        inner.outcome()?;
        assert!(inner.files.insert(name, Vec::new()).is_none(), "{name} is made twice");
        Ok(FaultyFile(self.clone(), name))
    }
}

impl SegmentFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.0.0.lock().unwrap();
        let (taken, result) = match inner.fate() {
            Fate::Well => (bytes.len(), None),
            Fate::Short(most) => (most.min(bytes.len()), None),
            Fate::Fails(most, kind) => (most.min(bytes.len()), Some(kind)),
        };
        inner.files.get_mut(&self.1).unwrap().extend_from_slice(&bytes[..taken]);
        result.map_or(Ok(taken), |kind| Err(kind.into()))
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.0.0.lock().unwrap();
        inner.syncs += 1;
        inner.outcome()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut inner = self.0.0.lock().unwrap();
        inner.outcome()?;
        inner.files.get_mut(&self.1).unwrap().truncate(usize::try_from(length).unwrap());
        Ok(())
    }
}

fn chain(disk: Faulty) -> Chain<Faulty> {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::of_host(folder.path()).unwrap();
    Chain::new(disk, None, Position::start(), 0, "host/0".to_owned(), key)
}

fn verify(disk: &Faulty) -> Result<Totals, Failure> {
    let mut verifier = Verifier::new(Vec::new(), BTreeMap::new());
    for (&name, content) in &disk.0.lock().unwrap().files {
        verifier.segment(name, &name.to_string(), content.as_slice())?;
    }
    verifier.finish().map_err(Failure::Fault)
}

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

#[test]
fn a_chain_of_several_segments_verifies() {
    let disk = Faulty::default();
    let mut chain = chain(disk.clone());
    for segment in 0..3 {
        for seal in [Seal::None, Seal::Checkpoint, Seal::None, Seal::Close] {
            let committed =
                chain.commit([&b"{\"event\":\"begin\"}"[..], b"{\"event\":\"end\"}"], seal, true, NOW).unwrap();
            assert_eq!(committed.checkpoint.is_some(), seal != Seal::None);
            assert!(committed.sync.is_some());
        }
        assert!(!chain.has_segment(), "segment {segment}");
    }
    let totals = verify(&disk).unwrap();
    assert_eq!((totals.records, totals.checkpoints, totals.unsigned), (30, 6, 0));
    assert_eq!(disk.0.lock().unwrap().files.len(), 3);
    assert_eq!(disk.0.lock().unwrap().syncs, 12, "one a group");
}

#[test]
fn whatever_fails_nothing_is_there_twice_or_in_halves() {
    let kinds = [ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem, ErrorKind::Other, ErrorKind::WriteZero];
    for kind in kinds {
        for failing in 0..8 {
            for taken in [0, 1, 40, usize::MAX] {
                let disk = Faulty::default();
                let mut chain = chain(disk.clone());
                let mut plan = vec![Fate::Well; failing];
                plan.extend([Fate::Fails(taken, kind), Fate::Fails(taken, kind), Fate::Short(7)]);
                disk.0.lock().unwrap().plan = plan;
                let mut failures = 0;
                for (group, seal) in [Seal::None, Seal::Checkpoint, Seal::Close, Seal::None].into_iter().enumerate() {
                    let record = format!("{{\"event\":\"end\",\"group\":{group}}}");
                    while chain.commit([record.as_bytes(), record.as_bytes()], seal, true, NOW).is_err() {
                        failures += 1;
                        assert!(failures < 5);
                    }
                }
                assert!(failures >= 1, "{kind:?} at {failing}");
                let totals =
                    verify(&disk).unwrap_or_else(|failure| panic!("{kind:?} at {failing}, {taken}: {failure:?}"));
                assert_eq!((totals.records, totals.checkpoints, totals.unsigned), (10, 2, 2));
            }
        }
    }
}

#[test]
fn a_group_that_was_given_up_leaves_nothing_behind() {
    let disk = Faulty::default();
    let mut chain = chain(disk.clone());
    chain.commit([&b"{\"event\":\"end\"}"[..]], Seal::None, true, NOW).unwrap();
    disk.0.lock().unwrap().plan = vec![Fate::Fails(30, ErrorKind::StorageFull)];
    assert!(chain.commit([&b"{\"event\":\"begin\"}"[..]], Seal::None, true, NOW).is_err());
    drop(chain);
    assert_eq!(verify(&disk).unwrap().records, 1);
}

#[test]
fn a_clock_that_jumps_changes_no_order() {
    let disk = Faulty::default();
    let mut chain = chain(disk.clone());
    for seconds in [1_000_000, 0, 4_000_000_000, 5] {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        chain.commit([&b"{\"event\":\"end\"}"[..]], Seal::Checkpoint, true, now).unwrap();
    }
    assert_eq!(verify(&disk).unwrap().checkpoints, 4);
}
