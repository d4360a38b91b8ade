//! Secrets that this host makes for itself and keeps.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Secret;

/// The secret in the file at `path`; where there is none, what `make` makes, written for this user alone. Of two processes
/// that start at one time both get the same. Blocks.
///
/// # Errors
/// When the file can neither be read nor made.
pub fn read_or_make(path: &Path, make: impl FnOnce() -> std::io::Result<Secret>) -> std::io::Result<Secret> {
    match std::fs::read(path) {
        Ok(content) => return Ok(Secret::new(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let secret = make()?;
    let draft = path.with_extension(format!("{}.part", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(secret.expose())?;
    file.sync_all()?;
    // A link, unlike a rename, does not replace what another process has made meanwhile.
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Ok(()) => Ok(secret),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => std::fs::read(path).map(Secret::new),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tag.key");
        let made = read_or_make(&path, || Ok(Secret::new(b" one\n".to_vec()))).unwrap();
        let read = read_or_make(&path, || panic!("made twice")).unwrap();
        assert_eq!((made.expose(), read.expose()), (&b" one\n"[..], &b" one\n"[..]));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }
}
