//! What was learnt, on disk: a file that a restart goes on from.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::callers::CallersState;
use super::options::Options;
use super::series::SeriesState;
use super::signals::Signals;

/// Where the state is kept: JSON, compressed by zstd.
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
}

/// Everything that was learnt.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub version: u32,
    pub all: Vec<SeriesState>,
    pub findings: SeriesState,
    pub families: Vec<Vec<SeriesState>>,
    pub teams: Group,
    pub subjects: Group,
    pub callers: CallersState,
}

/// The names of a kind.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub names: Vec<Named>,
    pub other: Vec<SeriesState>,
}

/// A name and its series.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    pub issuer: String,
    pub name: String,
    pub weight: f64,
    pub series: Vec<SeriesState>,
}

/// Of the layout.
pub(super) const VERSION: u32 = 1;
/// Longest state that is read, uncompressed.
const MAX: u64 = 256 << 20;

impl StateFile {
    /// The file in the folder for what outlives a restart.
    pub fn within(folder: &Path) -> Self {
        Self { path: folder.join("anomaly.json.zst") }
    }

    /// Signals that go on from the file. Where there is none they begin anew; so they do when it cannot be read, which is told
    /// in the log, and it is set aside.
    pub fn load(&self, options: Options) -> Signals {
        let restored = match self.read() {
            Ok(None) => return Signals::new(options),
            Ok(Some(state)) => Signals::restore(options.clone(), state).ok_or("it says what cannot be".to_owned()),
            Err(problem) => Err(problem),
        };
        restored.unwrap_or_else(|problem| {
            let aside = self.beside("damaged");
            let kept = fs::rename(&self.path, &aside).is_ok();
            tracing::error!(
                path = %self.path.display(), %problem, kept_as = kept.then(|| aside.display().to_string()),
                "cannot read what is usual: it is learnt anew, and no anomaly is told until then"
            );
            Signals::new(options)
        })
    }

    /// Writes what the signals know in the place of what was there: the old file or the new one is there at any moment. Blocks.
    ///
    /// # Errors
    /// The file system's.
    pub fn save(&self, signals: &Signals) -> io::Result<()> {
        let partial = self.beside("partial");
        let json = serde_json::to_vec(&signals.state())?;
        let compressed = zstd::encode_all(json.as_slice(), 3)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(&compressed)?;
        file.sync_data()?;
        fs::rename(&partial, &self.path)
    }

    fn read(&self) -> Result<Option<State>, String> {
        let file = match fs::File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| error.to_string())?,
        };
        let mut json = Vec::new();
        let decoder = zstd::Decoder::new(file).map_err(|error| error.to_string())?;
        decoder.take(MAX).read_to_end(&mut json).map_err(|error| error.to_string())?;
        let state: State = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        if state.version != VERSION {
            return Err(format!("it has version {}, not {VERSION}", state.version));
        }
        Ok(Some(state))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(suffix);
        name.into()
    }
}
