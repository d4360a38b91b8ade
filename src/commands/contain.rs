//! `portcullis contain`: what is contained after alarms, and the way to lift it.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::{ConfigFile, Outcome, load};
use crate::audit::rfc3339;
use crate::containment::{ContainmentFile, Held, LiftFile};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show what is contained
    #[command(
        after_help = "Examples:\n  portcullis contain list --config portcullis.toml\n  portcullis contain list --config portcullis.toml --json | jq -r .id"
    )]
    List {
        #[command(flatten)]
        config: ConfigFile,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Lift containments by their ids; the running proxy follows within a second
    #[command(
        after_help = "Examples:\n  portcullis contain lift --config portcullis.toml 0199c0ffee007000\n  portcullis contain lift --config portcullis.toml --all\n\nAn id may be shortened to what only one has. Run it as a user that can write the state directory."
    )]
    Lift {
        #[command(flatten)]
        config: ConfigFile,
        /// Ids, as `contain list` shows them
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// Lift all of them
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

/// How long the running proxy is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn command(command: Command) -> Outcome {
    match command {
        Command::List { config, json } => list(&load(&config.path)?.state_directory, json),
        Command::Lift { config, ids, all } => lift(&load(&config.path)?.state_directory, &ids, all),
    }
}

fn in_force(folder: &Path) -> Result<Vec<Held>, String> {
    let now = SystemTime::now();
    let held = ContainmentFile::within(folder).load()?;
    Ok(held.into_iter().filter(|held| !held.lifted && now < held.until).collect())
}

fn list(folder: &Path, as_json: bool) -> Outcome {
    let held = in_force(folder)?;
    if held.is_empty() {
        eprintln!("nobody is contained");
    }
    for held in held {
        let (kind, issuer, name) = (held.target.kind(), held.target.issuer(), held.target.name());
        let (mode, action, signal) = (held.mode.name(), held.action.name(), held.signal.name());
        let to = held.action.to_what();
        let (since, until) = (rfc3339(held.since), rfc3339(held.until));
        if as_json {
            let line = json!({ "id": held.id, "rule": held.rule, "mode": mode, "signal": signal, "score": held.score,
                "kind": kind, "issuer": issuer, "name": name, "action": action, "to": to, "since": since, "until": until });
            println!("{line}");
        } else {
            let to = to.map(|to| format!(" to {to}")).unwrap_or_default();
            println!(
                "{}  {kind} {issuer}/{name}: {action}{to} ({mode}, rule {:?}, {signal} {}) until {until}",
                held.id, held.rule, held.score
            );
        }
    }
    Ok(())
}

fn lift(folder: &Path, ids: &[String], all: bool) -> Outcome {
    let held = in_force(folder)?;
    let mut chosen = Vec::new();
    if all {
        chosen.extend(held.iter().map(|held| held.id.clone()));
    }
    for id in ids {
        let mut found = held.iter().filter(|held| held.id.starts_with(id.as_str())).map(|held| &held.id);
        match (found.next(), found.next()) {
            (Some(found), None) if !id.is_empty() => chosen.push(found.clone()),
            (None, _) => return Err(format!("no containment has the id {id}")),
            _ => return Err(format!("more than one containment has an id that begins with {id:?}")),
        }
    }
    if chosen.is_empty() {
        eprintln!("nobody is contained");
        return Ok(());
    }
    let file = LiftFile::within(folder);
    file.add(&chosen, &held).map_err(|error| format!("cannot write {}: {error}", file.path().display()))?;
    let asked = Instant::now();
    while in_force(folder)?.iter().any(|held| chosen.contains(&held.id)) {
        if asked.elapsed() > PATIENCE {
            return Err("no running proxy has followed: it is lifted when one starts".to_owned());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    eprintln!("lifted: {}", chosen.join(" "));
    Ok(())
}
