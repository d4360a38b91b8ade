//! `portcullis doctor`: tries the real surroundings of a configuration from this host, and says what to mend.
//!
//! It goes the ways of the proxy, with its resolver, its trust, its fetchers and its keys, and leaves a running one alone: it
//! binds no address, writes no record and keeps nothing. All in all it takes some 15 s at the most.

mod clock;
mod directory;
mod finding;
mod issuer;
mod key;
mod name;
mod store;
mod way;

use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;

use futures_util::future::join3;

use self::clock::Reading;
use self::finding::{Check, Finding, lines, table};
use super::{ConfigFile, Outcome};
use crate::config::{Config, Fault, UpstreamConfig};
use crate::credential::keep_from_core_dumps;
use crate::telemetry::{LogFormat, init_logs};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Print a JSON object a line instead of the table: check, subject, outcome (pass, fail or skip), detail, mend
    #[arg(long)]
    json: bool,
}

pub(super) fn command(arguments: &Arguments) -> Outcome {
    init_logs(LogFormat::Text, "off"); // what the rooms would log stands in the table
    let _ = keep_from_core_dumps(); // what the system refuses here, serving tells
    let path = &arguments.config.path;
    let findings = match Config::load(path) {
        Ok(config) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| format!("cannot try anything: {error}"))?;
            runtime.block_on(examine(path, config, SystemTime::now()))
        }
        Err(faults) => faults.0.into_iter().map(unloadable).collect(),
    };
    let text = if arguments.json { lines(&findings) } else { table(&findings) };
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("cannot write the table: {error}"))?;
    match findings.iter().filter(|finding| finding.is_fault()).count() {
        0 => Ok(()),
        faults => Err(format!("{}: {faults} of {} checks failed", path.display(), findings.len())),
    }
}

/// The line of a fault of the configuration, which nothing can be tried without.
fn unloadable(fault: Fault) -> Finding {
    let Fault { file, line, key, problem, mend } = fault;
    let file = line.map_or_else(|| file.display().to_string(), |line| format!("{}:{line}", file.display()));
    let mend = if mend.is_empty() { "correct it; conf/portcullis.toml explains every key".to_owned() } else { mend };
    match key.as_str() {
        "" => Check::Configuration.fails(file, problem, mend),
        key => Check::Configuration.fails(key, format!("{file}: {problem}"), mend),
    }
}

/// Makes all checks; the order of the lines is always the same.
async fn examine(path: &Path, config: Config, now: SystemTime) -> Vec<Finding> {
    let loaded = Check::Configuration.passes(path.display().to_string(), "no fault found");
    let (upstream, issuers, store) =
        join3(examine_upstream(&config.upstream, now), issuer::examine(config.issuers), store::examine(config.store))
            .await;
    let (upstream, reading) = upstream;
    let (store, store_clock) = store.unzip();
    let clock = clock::judge("upstream", reading, "not asked: no answer of the upstream has shown a Date");
    std::iter::once(loaded)
        .chain(upstream)
        .chain(issuers)
        .chain(store)
        .chain(directory::examine(&config.audit.directory, &config.state_directory))
        .chain([clock])
        .chain(store_clock)
        .collect()
}

/// The way to the upstream, from its names to its keys, and its clock.
async fn examine_upstream(config: &UpstreamConfig, now: SystemTime) -> (Vec<Finding>, Option<Reading>) {
    let found = name::examine(config).await;
    let direct = way::direct(config);
    let ways = way::examine(&direct, &found).await;
    let asker = key::Asker::new(&direct, &ways);
    let keys = key::examine(&config.keys, &asker, now).await;
    let names = found.into_iter().map(|found| found.finding);
    (names.chain(way::findings(config, &ways, now)).chain(keys).collect(), asker.clock())
}
