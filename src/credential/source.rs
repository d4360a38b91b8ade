//! Where a secret is, as the configuration says: `{ file = ... }`, `{ env = ... }` or `{ credential = ... }`.

use std::path::{Path, PathBuf};

use super::Secret;

/// A reference to a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file that holds nothing else; a systemd credential is one too.
    File(PathBuf),
    /// A variable of the environment, which stays as it was at the start.
    Environment(String),
}

impl SecretSource {
    /// The systemd credential called `name` (`LoadCredential=` in systemd.exec(5)).
    ///
    /// # Errors
    /// Says so when the name is none, or no credential was passed.
    pub fn credential(name: &str) -> Result<Self, String> {
        if name.contains('/') || name.starts_with('.') {
            return Err("is not a credential's name".to_owned());
        }
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
            .ok_or("no credential is passed to this process (CREDENTIALS_DIRECTORY is not set)")?;
        Ok(Self::File(PathBuf::from(folder).join(name)))
    }

    /// The file, where it is one that can be followed.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Environment(_) => None,
        }
    }

    /// What it refers to, without the white space around it. Blocks.
    ///
    /// # Errors
    /// Says what cannot be read.
    pub fn read(&self) -> Result<Secret, String> {
        let content = match self {
            Self::File(path) => {
                std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?
            }
            Self::Environment(name) => std::env::var_os(name)
                .map(std::ffi::OsString::into_encoded_bytes)
                .ok_or_else(|| format!("the variable {name} is not set"))?,
        };
        Ok(Secret::trimmed(content))
    }
}
