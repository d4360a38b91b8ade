//! Containments on disk: what is in force, for a restart, and what is to be lifted, from the command.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::registry::Held;
use super::rule::{Action, Mode, Target};

/// The file of what is in force.
#[derive(Debug, Clone)]
pub struct ContainmentFile(PathBuf);

/// The file of what is to be lifted: the command writes it, the proxy reads it.
#[derive(Debug, Clone)]
pub struct LiftFile(PathBuf);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    containments: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    rule: String,
    mode: Mode,
    signal: String,
    score: f64,
    target: Target,
    action: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    to: Option<String>,
    /// Seconds since 1970.
    since: u64,
    until: u64,
    #[serde(default)]
    lifted: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lifts {
    version: u32,
    lift: Vec<String>,
}

const VERSION: u32 = 1;
/// Longest file of either kind: there are a few dozen containments.
pub const MAX_FILE: u64 = 1 << 20;

impl ContainmentFile {
    /// The file in the folder for what outlives a restart.
    pub fn within(folder: &Path) -> Self {
        Self(folder.join("containments.json"))
    }

    /// What the file says; nothing when there is none.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn load(&self) -> Result<Vec<Held>, String> {
        let json = match fs::read(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(|error| format!("cannot read {}: {error}", self.0.display()))?,
        };
        let parsed = || -> Option<Vec<Held>> {
            let content: Content = serde_json::from_slice(&json).ok()?;
            if content.version != VERSION {
                return None;
            }
            content.containments.into_iter().map(Line::held).collect()
        };
        parsed().ok_or_else(|| format!("{} is no list of containments", self.0.display()))
    }

    /// Writes `held` in the place of what was there. Blocks.
    ///
    /// # Errors
    /// The file system's.
    pub fn save(&self, held: &[Held]) -> io::Result<()> {
        let content = Content { version: VERSION, containments: held.iter().map(Line::of).collect() };
        replace(&self.0, &serde_json::to_vec_pretty(&content)?, 0o640)
    }
}

impl LiftFile {
    /// The file in the folder for what outlives a restart.
    pub fn within(folder: &Path) -> Self {
        Self(folder.join("containments-lift.json"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The ids that a file's content says are to be lifted; none when it is not understood.
    pub fn parse(content: &[u8]) -> Vec<String> {
        let lifts = serde_json::from_slice::<Lifts>(content).ok().filter(|lifts| lifts.version == VERSION);
        lifts.map(|lifts| lifts.lift).unwrap_or_default()
    }

    /// Adds ids to those that are to be lifted; the proxy's own user must be able to read the file, whoever writes it.
    ///
    /// # Errors
    /// The file system's.
    pub fn add(&self, ids: &[String], known: &[Held]) -> io::Result<()> {
        let mut lift = fs::read(&self.0).map(|content| Self::parse(&content)).unwrap_or_default();
        lift.retain(|id| known.iter().any(|held| held.id == *id)); // those that are over need no lifting
        lift.extend(ids.iter().cloned());
        lift.sort();
        lift.dedup();
        replace(&self.0, &serde_json::to_vec(&Lifts { version: VERSION, lift })?, 0o644)
    }
}

impl Line {
    fn of(held: &Held) -> Self {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            id: held.id.clone(),
            rule: held.rule.clone(),
            mode: held.mode,
            signal: held.signal.name().to_owned(),
            score: held.score,
            target: held.target.clone(),
            action: held.action.name().to_owned(),
            to: held.action.to_what(),
            since: seconds(held.since),
            until: seconds(held.until),
            lifted: held.lifted,
        }
    }

    fn held(self) -> Option<Held> {
        let time = |seconds: u64| UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        Some(Held {
            action: Action::parse(&self.action, self.to.as_deref())?,
            signal: self.signal.parse().ok()?,
            since: time(self.since)?,
            until: time(self.until)?,
            id: self.id,
            rule: self.rule,
            mode: self.mode,
            score: self.score,
            target: self.target,
            lifted: self.lifted,
            next: std::sync::Arc::default(),
        })
    }
}

fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&partial)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(&partial, path)
}
