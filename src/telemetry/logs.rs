//! The operational log: one line per event, to stderr, for the journal.

use tracing_subscriber::EnvFilter;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Starts the log, once per process. Levels come from `PORTCULLIS_LOG` (such as `debug`), else from `default`.
///
/// Libraries log through the `log` crate, which is built without anything below `info`: at those levels Pingora prints
/// request headers, and with them credentials.
pub fn init_logs(format: LogFormat, default: &str) {
    let filter = EnvFilter::try_from_env("PORTCULLIS_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false); // it would panic when standard error is gone, and with it a request
    let done = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = done {
        eprintln!("portcullis: the log was started before: {error}");
    }
}
