use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use super::*;
use crate::audit::chain::{Chain, Seal};
use crate::audit::disk::Folder;
use crate::audit::key::SigningKey;
use crate::audit::verify::{Failure, Totals, Verifier};

struct Log {
    folder: tempfile::TempDir,
    keys: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), keys: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Goes on as a fresh process does, with these groups.
    fn go_on(&self, groups: &[Seal]) -> Found {
        let recovered = recover(self.folder.path()).unwrap();
        let disk = Folder(self.folder.path().to_owned());
        let key = SigningKey::of_host(self.keys.path()).unwrap();
        let (file, position) = (recovered.file, recovered.position);
        let mut chain = Chain::new(disk, file, position, recovered.chain, format!("host/{}", recovered.chain), key);
        for &seal in groups {
            chain.commit([&b"{\"event\":\"end\"}"[..]], seal, true, SystemTime::now()).unwrap();
        }
        recovered.found
    }

    fn verify(&self) -> Result<Totals, Failure> {
        let mut verifier = Verifier::new(Vec::new(), BTreeMap::new());
        for name in segment::list(self.folder.path()).unwrap().into_iter().filter(|name| name.chain == 0) {
            let content = std::fs::read(self.path(&name.to_string())).unwrap();
            verifier.segment(name, &name.to_string(), content.as_slice())?;
        }
        verifier.finish().map_err(Failure::Fault)
    }
}

const FIRST: &str = "audit-0-000000000001.jsonl";

#[test]
fn a_chain_goes_on_after_every_process() {
    let log = Log::new();
    for groups in
        [&[Seal::None, Seal::Close][..], &[Seal::None], &[Seal::Checkpoint], &[], &[Seal::Close], &[Seal::None]]
    {
        assert_eq!(log.go_on(groups), Found::default());
    }
    let totals = log.verify().unwrap();
    assert_eq!((totals.records, totals.checkpoints, totals.unsigned), (9, 3, 1));
}

#[test]
fn a_torn_last_line_is_cut_and_told_at_every_cut_point() {
    let log = Log::new();
    log.go_on(&[Seal::None, Seal::Checkpoint, Seal::None]);
    let whole = std::fs::read(log.path(FIRST)).unwrap();
    for cut in 0..=whole.len() {
        let after = &whole[..cut];
        for nuls in [0, 1, 5000] {
            std::fs::write(log.path(FIRST), [after, &vec![0; nuls]].concat()).unwrap();
            let found = log.go_on(&[Seal::Checkpoint]);
            let kept = memchr::memrchr(b'\n', after).map_or(0, |at| at + 1);
            let torn = [&after[kept..], &vec![0; nuls]].concat();
            let told = (found.torn_bytes, found.torn_sha256, found.damaged);
            let expected = (!torn.is_empty()).then(|| (torn.len() as u64, Hash::of_bytes(&torn)));
            assert_eq!(told, (expected.map(|(bytes, _)| bytes), expected.map(|(_, hash)| hash), None), "cut at {cut}");
            let totals = log.verify().unwrap_or_else(|failure| panic!("cut at {cut}: {failure:?}"));
            assert_eq!(totals.unsigned, 0);
        }
    }
}

#[test]
fn a_cut_in_a_later_segment_goes_back_to_the_one_before() {
    let log = Log::new();
    log.go_on(&[Seal::None, Seal::Close, Seal::None]);
    let second = log.path("audit-0-000000000004.jsonl");
    let whole = std::fs::read(&second).unwrap();
    for cut in 0..=whole.len() {
        std::fs::write(&second, &whole[..cut]).unwrap();
        log.go_on(&[Seal::Checkpoint]);
        log.verify().unwrap_or_else(|failure| panic!("cut at {cut}: {failure:?}"));
    }
}

#[test]
fn a_damaged_segment_is_left_as_it_is_and_the_chain_goes_on() {
    let log = Log::new();
    log.go_on(&[Seal::None, Seal::None, Seal::Checkpoint, Seal::None]);
    let mut content = std::fs::read(log.path(FIRST)).unwrap();
    content[150] ^= 1;
    std::fs::write(log.path(FIRST), &content).unwrap();
    let found = log.go_on(&[Seal::Checkpoint]);
    assert_eq!(
        found.damaged.as_deref(),
        Some("audit-0-000000000001.jsonl: record 2 does not follow on the one before")
    );
    assert_eq!(std::fs::read(log.path(FIRST)).unwrap(), content);
    assert!(log.path("audit-0-000000000006.jsonl").exists());
    let Err(Failure::Fault(fault)) = log.verify() else { panic!("the damage is not found") };
    assert_eq!((fault.seq, fault.line), (2, 2));
    assert_eq!(log.go_on(&[]), Found::default(), "the new segment is sound");
}

#[test]
fn a_second_process_takes_another_chain_and_names_the_first() {
    let log = Log::new();
    log.go_on(&[Seal::None, Seal::Checkpoint]);
    let first = recover(log.folder.path()).unwrap();
    let second = recover(log.folder.path()).unwrap();
    assert_eq!((first.chain, second.chain), (0, 1));
    assert!(second.file.is_none());
    assert_eq!(second.heads, [ChainHead { chain: 0, seq: first.position.next - 1, hash: first.position.head }]);
    drop(first);
    assert_eq!(recover(log.folder.path()).unwrap().chain, 0);
}

#[test]
fn what_is_not_ours_is_named_and_left_alone() {
    let log = Log::new();
    log.go_on(&[Seal::None]);
    for name in ["notes.txt", "audit.jsonl", "audit-0-1.jsonl", "audit-0-000000000001.jsonl.zst", ".draft"] {
        std::fs::write(log.path(name), "theirs").unwrap();
    }
    let recovered = recover(log.folder.path()).unwrap();
    assert_eq!(recovered.foreign, ["audit-0-1.jsonl", "audit.jsonl", "notes.txt"]);
    assert_eq!(std::fs::read(log.path("audit.jsonl")).unwrap(), b"theirs");
}

#[test]
fn a_segment_that_is_no_file_is_refused() {
    let log = Log::new();
    std::os::unix::fs::symlink("/dev/zero", log.path(FIRST)).unwrap();
    assert!(recover(log.folder.path()).unwrap_err().to_string().contains("is not a file"));
    assert!(try_recover(log.folder.path()).is_err());
}
