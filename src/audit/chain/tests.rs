use std::collections::BTreeMap;

use super::*;
use crate::audit::disk::double::{Fate, Faulty};
use crate::audit::verify::{Failure, Totals, Verifier};

fn chain(disk: Faulty) -> Chain<Faulty> {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::of_host(folder.path()).unwrap();
    Chain::new(disk, None, Position::start(), 0, "host/0".to_owned(), key)
}

fn verify(disk: &Faulty) -> Result<Totals, Failure> {
    let mut verifier = Verifier::new(Vec::new(), BTreeMap::new());
    for (&name, content) in &disk.inner().files {
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
    assert_eq!(disk.inner().files.len(), 3);
    assert_eq!(disk.inner().syncs.len(), 12, "one a group");
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
                disk.inner().plan = plan;
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
    disk.inner().plan = vec![Fate::Fails(30, ErrorKind::StorageFull)];
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

#[test]
fn a_failed_sync_makes_what_was_not_synced_before_it_unsure_once() {
    let disk = Faulty::default();
    let mut chain = chain(disk.clone());
    for _ in 0..3 {
        chain.commit([&b"{\"event\":\"end\"}"[..]], Seal::None, false, NOW).unwrap();
    }
    disk.inner().plan = vec![Fate::Well, Fate::Fails(0, ErrorKind::Other)];
    assert!(chain.commit([&b"{\"event\":\"end\"}"[..]], Seal::Checkpoint, true, NOW).is_err());
    assert_eq!((chain.take_unsure(), chain.take_unsure()), (3, 0));
    chain.commit([&b"{\"event\":\"end\"}"[..]], Seal::Checkpoint, true, NOW).unwrap();
    assert_eq!(chain.take_unsure(), 0);
    assert_eq!(verify(&disk).unwrap().records, 5);
}

#[test]
fn a_probe_fails_as_a_record_would_and_leaves_nothing_behind() {
    let disk = Faulty::default();
    let mut chain = chain(disk.clone());
    chain.commit([&b"{\"event\":\"end\"}"[..]], Seal::None, true, NOW).unwrap();
    disk.inner().broken = Some(ErrorKind::StorageFull);
    assert!(chain.probe().is_err());
    disk.inner().broken = None;
    chain.probe().unwrap();
    assert_eq!(verify(&disk).unwrap().records, 1);
    chain.commit([&b"{\"event\":\"end\"}"[..]], Seal::None, true, NOW).unwrap();
    assert_eq!(verify(&disk).unwrap().records, 2);
}
