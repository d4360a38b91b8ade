//! `portcullis audit`: what an auditor asks of the log.

mod key;
mod show;
mod verify;

use std::path::PathBuf;

use super::{ConfigFile, Outcome};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check that nothing was changed, removed, added or reordered, and name the first bad record
    #[command(
        after_help = "Examples:\n  portcullis audit verify /var/log/portcullis --key audit.pub\n  portcullis audit verify audit-0-000000000001.jsonl.zst\n\nPlain and compressed segments are read. Exit code 0 says that all is as it was written, 1 that it is not."
    )]
    Verify(verify::Arguments),
    /// Show records to people and programs: a table, the lines themselves, or OCSF events
    #[command(
        after_help = "Examples:\n  portcullis audit show /var/log/portcullis --since 2026-11-24 --outcome denied\n  portcullis audit show /var/log/portcullis --subject alice --totals\n  portcullis audit show /var/log/portcullis --format ocsf > events.jsonl\n\nPlain and compressed segments are read. Exit code 1 says that a line is damaged; `audit verify` says what else is."
    )]
    Show(show::Arguments),
    /// Print the public key that the log's checkpoints are verified with, as PEM
    #[command(after_help = "Example:\n  portcullis audit key --config /etc/portcullis/portcullis.toml > audit.pub")]
    Key {
        #[command(flatten)]
        config: ConfigFile,
    },
}

pub(super) fn command(command: Command) -> Outcome {
    match command {
        Command::Verify(arguments) => verify::command(&arguments),
        Command::Show(arguments) => show::command(&arguments),
        Command::Key { config } => key::command(&config.path),
    }
}

/// What `PATH...` means to the commands that read a log.
#[derive(Debug, clap::Args)]
struct Paths {
    /// Segments, or folders whose segments are meant, those in folders within them too
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}
