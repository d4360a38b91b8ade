use std::sync::LazyLock;
use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::audit::chain::{Chain, Position, Seal};
use crate::audit::disk::Folder;
use crate::audit::key::SigningKey;
use crate::audit::segment;

type Segments = Vec<(SegmentName, Vec<u8>)>;

/// Three closed segments, each with a checkpoint in it.
static SEGMENTS: LazyLock<(Segments, PublicKey)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::of_host(folder.path()).unwrap();
    let public = key.public();
    let disk = Folder(folder.path().to_owned());
    let mut chain = Chain::new(disk, None, Position::start(), 0, "host/0".to_owned(), key);
    for group in 0..12 {
        let records: Vec<String> =
            (0..3).map(|n| format!("{{\"event\":\"end\",\"request_id\":\"{group}-{n}\",\"complete\":true}}")).collect();
        let seal = [Seal::None, Seal::Checkpoint, Seal::None, Seal::Close][group % 4];
        chain.commit(records.iter().map(String::as_bytes), seal, false, SystemTime::now()).unwrap();
    }
    let names = segment::list(folder.path()).unwrap();
    let read = |name: SegmentName| (name, std::fs::read(folder.path().join(name.to_string())).unwrap());
    (names.into_iter().map(read).collect(), public)
});

fn verify(segments: &[(SegmentName, Vec<u8>)], expected: BTreeMap<u64, Hash>) -> Result<Totals, Fault> {
    let expected = Kept::from([("host/0".to_owned(), expected)]);
    let mut verifier = Verifier::new(vec![SEGMENTS.1], expected);
    for (name, content) in segments {
        verifier.segment(*name, &name.to_string(), content.as_slice()).map_err(|failure| match failure {
            Failure::Fault(fault) => fault,
            Failure::Unreadable(error) => panic!("{error}"),
        })?;
    }
    verifier.finish()
}

fn lines(content: &[u8]) -> Vec<Vec<u8>> {
    content.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn fault_of(segments: &[(SegmentName, Vec<u8>)]) -> Fault {
    verify(segments, BTreeMap::new()).expect_err("it passes")
}

#[test]
fn what_was_written_verifies() {
    let totals = verify(&SEGMENTS.0, BTreeMap::new()).unwrap();
    assert_eq!((totals.first, totals.last, totals.checkpoints, totals.unsigned), (1, 42, 6, 0));
    let later = verify(&SEGMENTS.0[1..], BTreeMap::new()).unwrap();
    assert_eq!((later.first, later.last), (15, 42));
}

/// Every bit of a segment: the record that is named is the one that was altered.
#[test]
fn any_altered_byte_is_found_and_its_record_named() {
    let (mut altered, original) = (SEGMENTS.0.clone(), &SEGMENTS.0);
    let content = &original[1].1;
    let mut seq = original[1].0.first;
    for (at, &byte) in content.iter().enumerate() {
        for bit in [0, 5] {
            altered[1].1[at] ^= 1 << bit;
            let fault = fault_of(&altered);
            altered[1].1[at] ^= 1 << bit;
            // Without the newline between them two records look like the first, and the second is missed.
            let named = fault.seq == seq || byte == b'\n' && fault.seq == seq + 1;
            assert!(named, "bit {bit} of byte {at} of record {seq}: {fault}");
        }
        seq += u64::from(byte == b'\n');
    }
}

#[test]
fn a_missing_segment_and_a_wrong_order_are_found() {
    let [one, two, three] = &SEGMENTS.0[..] else { panic!() };
    let fault = fault_of(&[one.clone(), three.clone()]);
    assert_eq!((fault.seq, fault.what.as_str()), (15, "is missing, and all up to 28: the segment before ends at 14"));
    assert_eq!(fault_of(&[two.clone(), one.clone()]).seq, 1);
    assert_eq!(fault_of(&[one.clone(), one.clone()]).seq, 1);
    let renamed = (SegmentName { chain: 0, first: 16 }, two.1.clone());
    assert_eq!(fault_of(&[renamed]).seq, 16);
}

#[test]
fn a_truncated_end_shows_by_a_checkpoint_that_was_kept() {
    let last = lines(&SEGMENTS.0[2].1).pop().unwrap();
    let (head, _) = Checkpoint::parse(last.strip_suffix(b"\n").unwrap()).unwrap();
    let kept = BTreeMap::from([(head.seq, Hash::of_record(last.strip_suffix(b"\n").unwrap()))]);
    assert!(verify(&SEGMENTS.0, kept.clone()).is_ok());
    assert_eq!(verify(&SEGMENTS.0[..2], kept.clone()).unwrap_err().seq, head.seq);
    let other = BTreeMap::from([(head.seq, Hash::ZERO)]);
    assert_eq!(verify(&SEGMENTS.0, other).unwrap_err().seq, head.seq);
    // Without it, what stood behind the last checkpoint at hand is not known to be missing.
    assert!(verify(&SEGMENTS.0[..2], BTreeMap::new()).is_ok());
}

#[test]
fn a_line_that_is_being_written_is_no_fault_and_no_record() {
    let mut segments = SEGMENTS.0.clone();
    let whole = segments[2].1.clone();
    let last = lines(&whole).pop().unwrap().len();
    for cut in 1..last - 1 {
        segments[2].1 = whole[..whole.len() - last + cut].to_vec();
        let totals = verify(&segments, BTreeMap::new()).unwrap();
        assert_eq!((totals.last, totals.unfinished), (41, cut as u64));
    }
    // The whole line without its end, and anything behind the end of a segment that is closed.
    segments[2].1 = whole[..whole.len() - 1].to_vec();
    assert_eq!(fault_of(&segments).seq, 42);
    segments[2].1 = [&whole[..], b"{"].concat();
    assert_eq!(fault_of(&segments).seq, 43);
}

#[test]
fn checkpoints_of_another_log_are_not_looked_for_in_this_one() {
    let other = Kept::from([("other/0".to_owned(), BTreeMap::from([(14, Hash::ZERO)]))]);
    let mut verifier = Verifier::new(vec![SEGMENTS.1], other);
    for (name, content) in &SEGMENTS.0 {
        verifier.segment(*name, "it", content.as_slice()).unwrap();
    }
    assert_eq!(verifier.finish().unwrap().logs, ["host/0"]);
}

#[test]
fn another_key_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let other = SigningKey::of_host(folder.path()).unwrap().public();
    let mut verifier = Verifier::new(vec![other], BTreeMap::new());
    let (name, content) = &SEGMENTS.0[0];
    let Err(Failure::Fault(fault)) = verifier.segment(*name, "it", content.as_slice()) else { panic!("it passes") };
    assert_eq!((fault.seq, fault.what.as_str()), (7, "is a checkpoint of a key that is not trusted"));
}

#[test]
fn a_rewritten_chain_without_the_key_is_found() {
    let mut rewritten = lines(&SEGMENTS.0[0].1);
    let mut prev = Hash::ZERO;
    for (at, line) in rewritten.iter_mut().enumerate() {
        let text = String::from_utf8(line.clone()).unwrap().replace("\"0-1\"", "\"0-9\"");
        let (head, rest) = Head::parse(text.trim_end().as_bytes()).unwrap();
        line.clear();
        prev = Head { seq: head.seq, prev }.splice(&[b"{", rest].concat(), line);
        assert_eq!(head.seq, at as u64 + 1);
    }
    assert_eq!(fault_of(&[(SEGMENTS.0[0].0, rewritten.concat())]).seq, 7, "the first checkpoint does not fit");
}

proptest! {
    #[test]
    fn dropped_swapped_doubled_and_moved_lines_are_found(
        segment in 0_usize..3, at in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), how in 0_u8..4,
    ) {
        let mut segments = SEGMENTS.0.clone();
        let mut all = lines(&segments[segment].1);
        let (at, to) = (at.index(all.len()), to.index(all.len()));
        let first_bad = match how {
            0 => { all.remove(at); at }
            1 => { let line = all[at].clone(); all.insert(to, line); to }
            2 => { all.swap(at, to); at.min(to) }
            _ => { let line = all.remove(at); all.insert(to, line); at.min(to) }
        };
        prop_assume!(all != lines(&segments[segment].1));
        // The end of the last segment is what a kept checkpoint shows.
        prop_assume!(!(how == 0 && segment == 2 && at == all.len()));
        segments[segment].1 = all.concat();
        let fault = fault_of(&segments);
        let seq = segments[segment].0.first + first_bad as u64;
        prop_assert!(fault.seq >= seq.saturating_sub(1) && fault.seq <= seq + 1, "{} for {seq}", fault);
    }

    #[test]
    fn flipped_dropped_swapped_and_inserted_bytes_are_found(
        segment in 0_usize..3, at in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), byte: u8, how in 0_u8..4,
    ) {
        let mut segments = SEGMENTS.0.clone();
        let content = &mut segments[segment].1;
        let (at, to) = (at.index(content.len()), to.index(content.len()));
        match how {
            0 => content[at] = byte,
            1 => { content.remove(at); }
            2 => content.swap(at, to),
            _ => content.insert(at, byte),
        }
        prop_assume!(segments[segment].1 != SEGMENTS.0[segment].1);
        fault_of(&segments);
    }

    #[test]
    fn a_truncated_segment_that_another_follows_is_found(segment in 0_usize..2, at in any::<prop::sample::Index>()) {
        let mut segments = SEGMENTS.0.clone();
        let length = at.index(segments[segment].1.len());
        segments[segment].1.truncate(length);
        fault_of(&segments);
    }

    #[test]
    fn nothing_that_a_file_holds_panics(content in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut verifier = Verifier::new(Vec::new(), BTreeMap::new());
        let _ = verifier.segment(SegmentName { chain: 0, first: 1 }, "it", content.as_slice());
        let _ = verifier.finish();
    }
}
