use std::fs;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(content: &str) -> (Self, FollowedFile) {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::write(folder.path(), content).unwrap();
        let (file, read) = FollowedFile::open(&folder.path(), 1024).unwrap();
        assert_eq!(*read, content.as_bytes());
        (folder, file)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("followed")
    }
}

fn changed(file: &mut FollowedFile) -> Option<String> {
    match file.look().unwrap() {
        Look::AsBefore => None,
        Look::Changed(content) => Some(String::from_utf8(content.to_vec()).unwrap()),
    }
}

/// As if the file had been left alone for long.
fn settle(file: &mut FollowedFile) {
    let read = file.read.as_mut().unwrap();
    read.since = read.since.checked_sub(2 * SETTLE).unwrap();
}

#[test]
fn a_change_is_seen_however_it_is_made() {
    for settled in [false, true] {
        let (folder, mut file) = Folder::with("one");
        let quiet = |file: &mut FollowedFile| {
            assert_eq!(changed(file), None);
            if settled {
                settle(file);
                assert_eq!(changed(file), None);
            }
        };
        quiet(&mut file);
        fs::write(folder.path(), "two").unwrap();
        assert_eq!(changed(&mut file).as_deref(), Some("two"), "written in place");

        quiet(&mut file);
        fs::write(folder.0.path().join("new"), "one").unwrap();
        fs::rename(folder.0.path().join("new"), folder.path()).unwrap();
        assert_eq!(changed(&mut file).as_deref(), Some("one"), "replaced by rename");

        quiet(&mut file);
        fs::remove_file(folder.path()).unwrap();
        fs::write(folder.0.path().join("real"), "two").unwrap();
        std::os::unix::fs::symlink("real", folder.path()).unwrap();
        assert_eq!(changed(&mut file).as_deref(), Some("two"), "a symbolic link elsewhere");
    }
}

#[test]
fn a_change_within_one_step_of_the_clock_is_seen() {
    let (folder, mut file) = Folder::with("one");
    fs::write(folder.path(), "two").unwrap(); // of the same length
    // As if the file system's clock were too coarse to show the write.
    file.read.as_mut().unwrap().stamp = Stamp::of(&fs::metadata(folder.path()).unwrap());
    assert_eq!(changed(&mut file).as_deref(), Some("two"));
}

#[test]
fn a_time_that_was_set_back_hides_no_change() {
    let (folder, mut file) = Folder::with("one");
    let modified = fs::metadata(folder.path()).unwrap().modified().unwrap();
    settle(&mut file);
    fs::write(folder.path(), "two").unwrap();
    File::options().write(true).open(folder.path()).unwrap().set_modified(modified).unwrap();
    assert_eq!(changed(&mut file).as_deref(), Some("two"));
}

#[test]
fn a_file_that_goes_and_comes_back_counts_as_changed() {
    let (folder, mut file) = Folder::with("one");
    fs::remove_file(folder.path()).unwrap();
    assert!(matches!(file.look(), Err(ReadFault::Unreadable(_))));
    fs::create_dir(folder.path()).unwrap();
    assert_eq!(file.look().unwrap_err(), ReadFault::Unreadable("not a file".to_owned()));
    fs::remove_dir(folder.path()).unwrap();
    fs::write(folder.path(), "one").unwrap();
    assert_eq!(changed(&mut file).as_deref(), Some("one"));
}

#[test]
fn what_is_too_long_or_no_file_is_not_read() {
    let (folder, mut file) = Folder::with("one");
    File::options().write(true).open(folder.path()).unwrap().set_len(1025).unwrap();
    assert_eq!(file.look().unwrap_err(), ReadFault::TooLarge(1024));
    assert!(matches!(FollowedFile::open(Path::new("/dev/zero"), 9), Err(ReadFault::Unreadable(_))));
}

#[test]
fn trouble_is_told_once_at_the_second_look() {
    let mut trouble = Trouble::none();
    assert_eq!(trouble.found("half written"), None);
    assert!(trouble.is_there());
    assert_eq!(trouble.found("half written"), Some(&"half written"));
    assert_eq!(trouble.found("half written"), None);
    assert_eq!(trouble.again(), None);
    assert_eq!(trouble.found("another"), None);
    assert_eq!(trouble.again(), Some(&"another"));
    assert!(trouble.over());
    assert_eq!(trouble.found("a moment"), None);
    assert!(!trouble.over(), "nobody heard of it");
}
