use std::fs::{self, File};
use std::path::PathBuf;

use super::*;

const ALICE: &str = r#"{"subjects": ["alice"]}"#;
const BOB: &str = r#"{"subjects": ["bob"]}"#;

struct Followed {
    folder: tempfile::TempDir,
    follower: FileFollower,
}

impl Followed {
    fn new(content: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("revoked.json"), content).unwrap();
        let file = RevocationFile::load(&folder.path().join("revoked.json")).unwrap();
        Self { follower: in_force(file), folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("revoked.json")
    }

    /// Who of alice and bob is revoked after another look.
    fn revoked(&mut self) -> Vec<&'static str> {
        self.follower.look();
        let revoked = |name: &&str| self.follower.revocations.revoked("okta", name, None, None).is_some();
        ["alice", "bob"].into_iter().filter(revoked).collect()
    }
}

#[test]
fn the_first_list_is_in_force_before_any_look() {
    let followed = Followed::new(ALICE);
    assert_eq!(followed.follower.revocations.revoked("okta", "alice", None, None), Some("subject"));
}

#[test]
fn what_cannot_be_understood_changes_nothing() {
    for wrong in ["", "{", r#"{"subjects": ["bob"], "subject": []}"#, r#"{"subjects": ["bo"#] {
        let mut followed = Followed::new(ALICE);
        let before = followed.follower.revocations.generation();
        fs::write(followed.path(), wrong).unwrap();
        for _ in 0..3 {
            assert_eq!(followed.revoked(), ["alice"], "{wrong}");
            assert!(followed.follower.status().is_faulty());
        }
        assert_eq!(followed.follower.revocations.generation(), before);
        fs::write(followed.path(), BOB).unwrap();
        assert_eq!(followed.revoked(), ["bob"]);
        assert!(!followed.follower.status().is_faulty());
    }
}

#[test]
fn a_file_that_goes_keeps_the_list() {
    let mut followed = Followed::new(ALICE);
    fs::remove_file(followed.path()).unwrap();
    assert_eq!((followed.revoked(), followed.revoked()), (vec!["alice"], vec!["alice"]));
    assert!(followed.follower.status().is_faulty());
    fs::write(followed.path(), ALICE).unwrap();
    assert_eq!(followed.revoked(), ["alice"]);
    assert!(!followed.follower.status().is_faulty());
}

#[test]
fn the_age_grows_until_the_file_is_good_again() {
    let mut followed = Followed::new(ALICE);
    let status = followed.follower.status();
    fs::write(followed.path(), "{").unwrap();
    followed.revoked();
    let age = status.age();
    assert!(status.age() >= age);
    let good = status.good.load(Ordering::Relaxed);
    assert_eq!(good, 0, "no look has found it good");
    assert!(status.age() <= status.started.elapsed());
}

#[test]
fn a_file_that_is_missing_or_too_long_at_the_start_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revoked.json");
    assert!(matches!(RevocationFile::load(&path), Err(FileFault::Read(ReadFault::Unreadable(_)))));
    File::create(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
    assert_eq!(RevocationFile::load(&path).unwrap_err(), FileFault::Read(ReadFault::TooLarge(MAX_FILE)));
    assert!(matches!(RevocationFile::load(Path::new("/dev/zero")), Err(FileFault::Read(ReadFault::Unreadable(_)))));
}

#[tokio::test]
async fn a_change_is_in_force_within_a_second() {
    let followed = Followed::new(ALICE);
    let (path, revocations) = (followed.path(), Arc::clone(&followed.follower.revocations));
    let mut changes = revocations.changes();
    changes.mark_unchanged();
    let following = tokio::spawn(followed.follower.run());
    fs::write(path, BOB).unwrap();
    tokio::time::timeout(Duration::from_secs(1), changes.changed()).await.unwrap().unwrap();
    assert_eq!(revocations.revoked("okta", "bob", None, None), Some("subject"));
    assert_eq!(*changes.borrow(), revocations.generation());
    following.abort();
}

fn in_force(file: RevocationFile) -> FileFollower {
    let revocations = Arc::new(Revocations::new());
    let follower = file.follow(Arc::clone(&revocations));
    revocations.adopt(Some(follower.part()), None);
    follower
}
