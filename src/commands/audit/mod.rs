//! `portcullis audit`: what an auditor asks of the log.

mod show;

use std::path::PathBuf;

use super::Outcome;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show records to people and programs: a table, the lines themselves, or OCSF events
    #[command(
        after_help = "Examples:\n  portcullis audit show /var/log/portcullis --since 2026-11-24 --outcome denied\n  portcullis audit show /var/log/portcullis --subject alice --totals\n  portcullis audit show /var/log/portcullis --format ocsf > events.jsonl\n\nPlain and compressed segments are read. Exit code 1 says that a line is damaged; `audit verify` says what else is."
    )]
    Show(show::Arguments),
}

pub(super) fn command(command: &Command) -> Outcome {
    match command {
        Command::Show(arguments) => show::command(arguments),
    }
}

/// What `PATH...` means to the commands that read a log.
#[derive(Debug, clap::Args)]
struct Paths {
    /// Segments, or folders whose segments are meant, those in folders within them too
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}
