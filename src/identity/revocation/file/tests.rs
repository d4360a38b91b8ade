use std::fs;

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
        Self { follower: file.enforce(Arc::new(Revocations::new())), folder }
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

    fn told(&self) -> Option<bool> {
        self.follower.fault.as_ref().map(|fault| fault.told)
    }

    /// As if the file had been left alone for long.
    fn settle(&mut self) {
        let read = self.follower.read.as_mut().unwrap();
        read.since = read.since.checked_sub(2 * SETTLE).unwrap();
    }
}

#[test]
fn the_first_list_is_in_force_before_any_look() {
    let followed = Followed::new(ALICE);
    assert_eq!(followed.follower.revocations.revoked("okta", "alice", None, None), Some("subject"));
}

#[test]
fn a_change_counts_however_it_is_made() {
    for settled in [false, true] {
        let mut followed = Followed::new(ALICE);
        let settle = |followed: &mut Followed| {
            assert!(!followed.revoked().is_empty());
            if settled {
                followed.settle();
            }
        };
        settle(&mut followed);
        fs::write(followed.path(), BOB).unwrap();
        assert_eq!(followed.revoked(), ["bob"], "written in place");

        settle(&mut followed);
        fs::write(followed.folder.path().join("new"), ALICE).unwrap();
        fs::rename(followed.folder.path().join("new"), followed.path()).unwrap();
        assert_eq!(followed.revoked(), ["alice"], "replaced by rename");

        settle(&mut followed);
        fs::remove_file(followed.path()).unwrap();
        fs::write(followed.folder.path().join("real"), BOB).unwrap();
        std::os::unix::fs::symlink("real", followed.path()).unwrap();
        assert_eq!(followed.revoked(), ["bob"], "a symbolic link elsewhere");
    }
}

#[test]
fn a_change_within_one_step_of_the_clock_counts_too() {
    let mut followed = Followed::new(ALICE);
    assert_eq!(followed.revoked(), ["alice"]);
    fs::write(followed.path(), r#"{"subjects":["bob"]}   "#).unwrap(); // of the same length
    // As if the file system's clock were too coarse to show the write.
    let stamp = Stamp::of(&fs::metadata(followed.path()).unwrap());
    followed.follower.read.as_mut().unwrap().stamp = stamp;
    assert_eq!(followed.revoked(), ["bob"]);
}

#[test]
fn a_time_that_was_set_back_hides_no_change() {
    let mut followed = Followed::new(ALICE);
    let modified = fs::metadata(followed.path()).unwrap().modified().unwrap();
    followed.settle();
    fs::write(followed.path(), r#"{"subjects":["bob"]}   "#).unwrap();
    File::options().write(true).open(followed.path()).unwrap().set_modified(modified).unwrap();
    assert_eq!(followed.revoked(), ["bob"]);
}

#[test]
fn what_cannot_be_understood_changes_nothing_and_is_told_once() {
    for wrong in ["", "{", r#"{"subjects": ["bob"], "subject": []}"#, r#"{"subjects": ["bo"#] {
        let mut followed = Followed::new(ALICE);
        let before = followed.follower.revocations.generation();
        fs::write(followed.path(), wrong).unwrap();
        assert_eq!(followed.revoked(), ["alice"], "{wrong}");
        assert!(followed.follower.status().is_faulty());
        assert_eq!(followed.told(), Some(false), "the writer may be in the middle");
        for _ in 0..2 {
            assert_eq!(followed.revoked(), ["alice"], "{wrong}");
            assert_eq!(followed.told(), Some(true));
        }
        followed.settle();
        assert_eq!(followed.revoked(), ["alice"], "{wrong}");
        assert!(followed.follower.status().is_faulty());
        assert_eq!(followed.follower.revocations.generation(), before);
        fs::write(followed.path(), BOB).unwrap();
        assert_eq!(followed.revoked(), ["bob"]);
        assert_eq!((followed.follower.status().is_faulty(), followed.told()), (false, None));
    }
}

#[test]
fn a_file_that_goes_keeps_the_list() {
    let mut followed = Followed::new(ALICE);
    fs::remove_file(followed.path()).unwrap();
    assert_eq!((followed.revoked(), followed.revoked()), (vec!["alice"], vec!["alice"]));
    assert!(followed.follower.status().is_faulty());
    assert_eq!(followed.told(), Some(true));
    fs::create_dir(followed.path()).unwrap();
    assert_eq!(followed.revoked(), ["alice"]);
    fs::remove_dir(followed.path()).unwrap();
    fs::write(followed.path(), ALICE).unwrap();
    assert_eq!(followed.revoked(), ["alice"]);
    assert_eq!((followed.follower.status().is_faulty(), followed.told()), (false, None));
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
    assert!(matches!(RevocationFile::load(&path), Err(FileFault::Unreadable(_))));
    File::create(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
    assert_eq!(RevocationFile::load(&path).unwrap_err(), FileFault::TooLarge);
    assert!(matches!(RevocationFile::load(Path::new("/dev/zero")), Err(FileFault::Unreadable(_))));
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
