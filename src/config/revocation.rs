//! `[revocation]`: where the list of revoked tokens comes from, and what holds while it cannot be read.

use std::time::Duration;

use super::reader::Section;
use crate::identity::revocation::RevocationFile;

/// Where revocations come from. The default: nothing is revoked.
#[derive(Debug)]
pub struct RevocationConfig {
    /// The file, read and good.
    pub file: Option<RevocationFile>,
    /// The name of the set in the shared store.
    pub store_key: Option<String>,
    /// Whether a stream under way ends when its caller is revoked.
    pub cut_streams: bool,
    /// What holds while the set cannot be read for longer than `max_staleness`.
    pub on_store_failure: OnStoreFailure,
    /// How old the last good reading of the set may get.
    pub max_staleness: Duration,
}

/// What holds while the set in the store cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStoreFailure {
    /// Requests are refused.
    Closed,
    /// The last reading, old as it is, stays in force.
    Open,
}

pub(super) fn read(section: &Section<'_>) -> RevocationConfig {
    let file = section.path("file").and_then(|path| {
        let loaded = RevocationFile::load(&path);
        section.usable("file", loaded.map_err(|fault| format!("{}: {fault}", path.display())))
    });
    let store_key = section.text("store_key");
    if store_key.as_ref().is_some_and(String::is_empty) {
        section.fault("store_key", "is empty", "name the set in the store");
    }
    let on_store_failure = section.text("on_store_failure").and_then(|text| match text.as_str() {
        "closed" => Some(OnStoreFailure::Closed),
        "open" => Some(OnStoreFailure::Open),
        _ => {
            section.fault("on_store_failure", format!("is {text}"), "write \"closed\" or \"open\"");
            None
        }
    });
    let max_staleness = section.duration("max_staleness");
    for key in ["on_store_failure", "max_staleness"] {
        if section.has(key) && store_key.is_none() {
            section.fault(key, "has no store_key", "add store_key, the name of the set in the store, or take it out");
        }
    }
    RevocationConfig {
        file,
        store_key,
        cut_streams: section.flag("cut_streams").unwrap_or(false),
        on_store_failure: on_store_failure.unwrap_or(OnStoreFailure::Closed),
        max_staleness: max_staleness.unwrap_or(Duration::from_secs(30)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fault::Faults;
    use crate::config::reader::Document;

    fn parse(toml: &str) -> Result<RevocationConfig, Faults> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("revoked.json"), r#"{"subjects": ["alice"]}"#).unwrap();
        std::fs::write(folder.path().join("wrong.json"), "{").unwrap();
        let document = Document::new(&folder.path().join("portcullis.toml"), format!("[revocation]\n{toml}"));
        document.read(|root| Some(root.table("revocation", read)))
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let config = parse("").unwrap();
        assert!(config.file.is_none() && config.store_key.is_none() && !config.cut_streams);
        assert_eq!(config.on_store_failure, OnStoreFailure::Closed);
        assert_eq!(config.max_staleness, Duration::from_secs(30));
    }

    #[test]
    fn every_key_is_read() {
        let config = parse(
            "file = \"revoked.json\"\nstore_key = \"revoked\"\ncut_streams = true\non_store_failure = \"open\"\n\
             max_staleness = \"5s\"",
        );
        let config = config.unwrap();
        assert!(config.file.is_some() && config.cut_streams);
        assert_eq!(config.store_key.as_deref(), Some("revoked"));
        assert_eq!((config.on_store_failure, config.max_staleness), (OnStoreFailure::Open, Duration::from_secs(5)));
    }

    #[test]
    fn faults_name_key_and_mend() {
        for (toml, expected) in [
            ("file = \"gone.json\"", "gone.json: cannot read it: "),
            ("file = \"wrong.json\"", "wrong.json: it is no list of revocations: EOF"),
            ("store_key = \"\"", "revocation.store_key: is empty"),
            ("store_key = \"a\"\non_store_failure = \"local\"", "is local; write \"closed\" or \"open\""),
            ("on_store_failure = \"open\"", "revocation.on_store_failure: has no store_key"),
            ("max_staleness = \"1s\"", "revocation.max_staleness: has no store_key"),
            ("files = \"x\"", "did you mean `file`?"),
        ] {
            let faults = parse(toml).unwrap_err().to_string();
            assert!(faults.contains(expected), "{toml}: {faults}");
        }
    }
}
