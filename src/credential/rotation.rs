//! Rotation: the files of keys, followed.
//!
//! Another content is in force for every request that comes after it was seen, and those under way end with the key that
//! they began with. What cannot be read, or is no key, changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::slot::Slot;
use super::{KeyFault, UpstreamKey};
use crate::follow::{self, FollowedFile, Look, ReadFault, Trouble};

/// Longest file, with the white space around the key.
const MAX_FILE: u64 = 32 << 10;

/// Follows the file of one slot.
struct Follower<'a> {
    slot: &'a Slot,
    path: &'a Path,
    trouble: Trouble<FileFault>,
}

/// A file, from the first time that it could be read here.
struct KeyFile {
    path: PathBuf,
    file: Option<FollowedFile>,
}

/// Why a file gives no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum FileFault {
    #[error(transparent)]
    Read(#[from] ReadFault),
    #[error("it {0}")]
    Key(#[from] KeyFault),
}

/// Follows the files of all slots that have one.
pub(super) async fn follow(slots: &[Arc<Slot>]) {
    let (mut files, mut followers): (Vec<_>, Vec<_>) = slots
        .iter()
        .filter_map(|slot| slot.file.as_deref().map(|path| (KeyFile::new(path), Follower::new(slot, path))))
        .unzip();
    while !files.is_empty() {
        let looked = tokio::task::spawn_blocking(move || {
            let looks: Vec<_> = files.iter_mut().map(KeyFile::look).collect();
            (files, looks)
        });
        let looks = match looked.await {
            Ok((back, looks)) => {
                files = back;
                looks
            }
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "the files of keys are followed no longer");
                }
                return; // at a stop the look is only called off
            }
        };
        for (follower, look) in followers.iter_mut().zip(looks) {
            follower.heed(look);
        }
        tokio::time::sleep(follow::INTERVAL).await;
    }
}

impl KeyFile {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None }
    }

    /// Looks at the file once. Blocks.
    fn look(&mut self) -> Result<Look, ReadFault> {
        if let Some(file) = &mut self.file {
            return file.look();
        }
        let (file, content) = FollowedFile::open(&self.path, MAX_FILE)?;
        self.file = Some(file);
        Ok(Look::Changed(content))
    }
}

impl<'a> Follower<'a> {
    fn new(slot: &'a Slot, path: &'a Path) -> Self {
        Self { slot, path, trouble: Trouble::none() }
    }

    fn heed(&mut self, look: Result<Look, ReadFault>) {
        match look {
            Ok(Look::AsBefore) => {
                if let Some(fault) = self.trouble.again() {
                    tell(self.slot, self.path, fault);
                }
            }
            Ok(Look::Changed(content)) => match take(self.slot, content.trim_ascii()) {
                Ok(()) => {
                    self.slot.set_faulty(false);
                    if self.trouble.over() {
                        tracing::info!(key = &*self.slot.name, "the file of the key is good again");
                    }
                }
                Err(fault) => self.faulty(fault.into()),
            },
            Err(fault) => self.faulty(fault.into()),
        }
    }

    fn faulty(&mut self, fault: FileFault) {
        self.slot.set_faulty(true);
        if let Some(fault) = self.trouble.found(fault) {
            tell(self.slot, self.path, fault);
        }
    }
}

/// Puts the key in force, unless it is.
fn take(slot: &Slot, content: &[u8]) -> Result<(), KeyFault> {
    let key = UpstreamKey::api_key(Arc::clone(&slot.name), content)?;
    if slot.key().as_ref().is_none_or(|current| !current.is_same_as(&key)) {
        slot.rotate(key);
        tracing::info!(key = &*slot.name, "the key has changed; requests from here on bear the new one");
    }
    Ok(())
}

fn tell(slot: &Slot, path: &Path, fault: &FileFault) {
    let file = path.display();
    tracing::error!(key = &*slot.name, %file, %fault, "the file gives no key; the last good one stays in force");
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::secret_in;
    use super::*;

    struct Rotated {
        folder: tempfile::TempDir,
        slot: Slot,
    }

    impl Rotated {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("key");
            fs::write(&path, "sk-old\n").unwrap();
            Self { slot: Slot::new(0, secret_in(&path)), folder }
        }

        fn followed(&self) -> (KeyFile, Follower<'_>) {
            let path = self.slot.file.as_deref().unwrap();
            (KeyFile::new(path), Follower::new(&self.slot, path))
        }

        /// Writes the contents one after the other, with two looks after each; what a request then bears.
        fn after(&self, contents: &[&str]) -> Vec<String> {
            let (mut file, mut follower) = self.followed();
            follower.heed(file.look());
            let borne = contents.iter().map(|content| {
                // Renamed over it, as those who rotate should.
                fs::write(self.folder.path().join("new"), content).unwrap();
                fs::rename(self.folder.path().join("new"), &file.path).unwrap();
                follower.heed(file.look());
                follower.heed(file.look());
                self.borne()
            });
            borne.collect()
        }

        fn borne(&self) -> String {
            let mut headers = http::HeaderMap::new();
            self.slot.key().as_ref().unwrap().authenticate(&mut headers);
            headers["x-api-key"].to_str().unwrap().to_owned()
        }

        fn state(&self) -> (u64, bool) {
            let state = self.slot.state(std::time::SystemTime::now());
            (state.rotations, state.faulty)
        }
    }

    #[test]
    fn another_content_is_in_force_at_the_next_look() {
        let rotated = Rotated::new();
        assert_eq!(rotated.borne(), "sk-old");
        assert_eq!(rotated.after(&[]), [""; 0]);
        assert_eq!(rotated.state(), (0, false), "the first look finds what the configuration found");
        assert_eq!(rotated.after(&["sk-new\n", "  sk-new  ", "sk-newer"]), ["sk-new", "sk-new", "sk-newer"]);
        assert_eq!(rotated.state(), (2, false));
    }

    #[test]
    fn a_request_under_way_keeps_the_key_that_it_began_with() {
        let rotated = Rotated::new();
        let begun = Option::clone(&rotated.slot.key()).unwrap();
        rotated.after(&["sk-new"]);
        let mut headers = http::HeaderMap::new();
        begun.authenticate(&mut headers);
        assert_eq!(headers["x-api-key"], "sk-old");
        assert!(!rotated.slot.holds(begun.id()));
    }

    #[test]
    fn what_is_no_key_changes_nothing() {
        let long = "k".repeat(40_000);
        for wrong in ["", " \n", "sk new", "sk-new\n# old\n", "\u{fffd}", &long, &long[..20_000]] {
            let rotated = Rotated::new();
            assert_eq!(rotated.after(&[wrong]), ["sk-old"]);
            assert_eq!(rotated.state(), (0, true));
            assert_eq!(rotated.after(&["sk-new"]), ["sk-new"]);
            assert_eq!(rotated.state(), (1, false));
            assert_eq!(rotated.after(&[wrong, "sk-new"]), ["sk-new", "sk-new"]);
            assert_eq!(rotated.state(), (1, false), "the key in force came back");
        }
    }

    #[test]
    fn a_file_that_goes_keeps_the_key() {
        let rotated = Rotated::new();
        let (mut file, mut follower) = rotated.followed();
        fs::remove_file(&file.path).unwrap();
        for _ in 0..2 {
            follower.heed(file.look());
        }
        assert_eq!((rotated.borne(), rotated.state()), ("sk-old".to_owned(), (0, true)));
        assert!(follower.trouble.is_there());
    }
}
