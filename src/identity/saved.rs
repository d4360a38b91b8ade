//! The last good key set of an issuer on disk, so that a start while its identity provider is down serves all the same.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::keys::KeySet;

/// Where one issuer's keys are kept.
pub(super) struct SavedKeys {
    path: PathBuf,
    issuer: String,
    source: String,
}

/// What the file says. Keys that came for another issuer or from another place are not this one's.
#[derive(Serialize, Deserialize)]
struct Content<'a> {
    issuer: Cow<'a, str>,
    source: Cow<'a, str>,
    /// Seconds since 1970.
    fetched: u64,
    #[serde(borrow)]
    jwks: &'a RawValue,
}

/// Longest file that is read: a JWKS document's own bound, and some.
const MAX_FILE: u64 = 2 << 20;

impl SavedKeys {
    /// The file in `folder` for keys of `issuer` that come from `source`.
    pub(super) fn new(folder: &Path, issuer: &str, source: &Url) -> Self {
        let name = Sha256::digest(issuer).iter().take(16).fold("jwks-".to_owned(), |mut name, byte| {
            let _ = write!(name, "{byte:02x}"); // writing to text does not fail
            name
        });
        Self {
            path: folder.join(format!("{name}.json")),
            issuer: issuer.to_owned(),
            source: source.as_str().to_owned(),
        }
    }

    /// The set and when it was fetched; a time that is still to come at `now` is taken for `now`.
    pub(super) fn load(&self, now: SystemTime) -> Option<(KeySet, SystemTime)> {
        let mut bytes = Vec::new();
        File::open(&self.path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        let content: Content<'_> = serde_json::from_slice(&bytes).ok()?;
        if content.issuer != self.issuer || content.source != self.source {
            return None;
        }
        let fetched = UNIX_EPOCH.checked_add(Duration::from_secs(content.fetched))?;
        Some((KeySet::parse(content.jwks.get().as_bytes()).ok()?, fetched.min(now)))
    }

    /// Replaces the file by `jwks`, a document that [`KeySet::parse`] accepts. A crash leaves the old file or the new one.
    pub(super) fn save(&self, jwks: &[u8], fetched: SystemTime) -> io::Result<()> {
        let content = Content {
            issuer: Cow::Borrowed(&self.issuer),
            source: Cow::Borrowed(&self.source),
            fetched: fetched.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            jwks: serde_json::from_slice(jwks)?,
        };
        let beside = self.path.with_extension(format!("{}.new", std::process::id()));
        let written = write(&beside, &serde_json::to_vec(&content)?).and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&beside); // the write's own error is the one to tell
        }
        written
    }
}

/// Writes a new file that only this user can read or change: whoever writes it makes callers.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::{Signer, jwks};
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn what_was_saved_is_loaded_with_its_time_by_the_same_issuer_and_source_alone() {
        let folder = tempfile::tempdir().unwrap();
        let saved = SavedKeys::new(folder.path(), "https://idp.test/a", &url("https://idp.test/jwks"));
        assert!(saved.load(at(9)).is_none());
        let document = jwks(&[&Signer::es256("a"), &Signer::es256("b")]);
        saved.save(&document, at(5)).unwrap();
        saved.save(&document, at(7)).unwrap();
        let (keys, fetched) = saved.load(at(9)).unwrap();
        assert_eq!((keys.len(), fetched), (2, at(7)));
        assert_eq!(saved.load(at(3)).unwrap().1, at(3), "a clock that was set back makes nothing younger");
        let mode = fs::metadata(&saved.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");

        let moved = SavedKeys::new(folder.path(), "https://idp.test/a", &url("https://idp.test/new"));
        assert!(moved.load(at(9)).is_none());
        let other = SavedKeys::new(folder.path(), "https://idp.test/b", &url("https://idp.test/jwks"));
        assert_ne!(other.path, saved.path);
        fs::copy(&saved.path, &other.path).unwrap();
        assert!(other.load(at(9)).is_none());
    }

    #[test]
    fn a_file_that_is_broken_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let saved = SavedKeys::new(folder.path(), "i", &url("https://idp.test/jwks"));
        for content in
            ["", "{", "{}", r#"{"issuer":"i","source":"https://idp.test/jwks","fetched":1,"jwks":{"keys":[]}}"#]
        {
            fs::write(&saved.path, content).unwrap();
            assert!(saved.load(at(9)).is_none(), "{content}");
        }
        assert!(saved.save(b"{", at(1)).is_err());
        let nowhere = SavedKeys::new(Path::new("/no/such/folder"), "i", &url("https://idp.test/jwks"));
        assert!(nowhere.save(b"{}", at(1)).is_err());
    }
}
