//! The commands of the binary. Human text goes to stderr, data to stdout; exit codes are 0 done, 1 a fault was found,
//! 2 wrong usage.

mod audit;
mod check;
mod contain;
mod doctor;
mod explain;
mod redact;
mod sandbox;
mod serve;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, Faults};
use crate::telemetry::LogFormat;

/// A zero-trust edge proxy for the Claude API.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  portcullis sandbox                                      try everything on this machine
  portcullis check --config /etc/portcullis/portcullis.toml
  portcullis doctor --config /etc/portcullis/portcullis.toml
  portcullis explain --config /etc/portcullis/portcullis.toml --token \"$TOKEN\" --body call.json
  portcullis serve --config /etc/portcullis/portcullis.toml";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy in the foreground
    #[command(
        after_help = "Example:\n  portcullis serve --config /etc/portcullis/portcullis.toml\n\nThe log goes to stderr; PORTCULLIS_LOG=debug shows more of it.\nSignals: HUP reads the configuration anew, USR1 turns debug lines on and off, USR2 hands over to the binary that\nis installed now, TERM ends after the requests under way, INT at once."
    )]
    Serve {
        #[command(flatten)]
        config: ConfigFile,
        /// How log lines look
        #[arg(long, value_enum, default_value = "json")]
        log: LogFormat,
        /// Take over from the running process that starts this one, whose socket is the standard input
        #[arg(long, hide = true)]
        successor: bool,
    },
    /// Validate everything that serving would need, and name every fault
    #[command(after_help = "Example:\n  portcullis check --config portcullis.toml && systemctl restart portcullis")]
    Check {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Try the real surroundings from this host: DNS, TCP, TLS, keys, JWKS, Redis, folders and clock
    #[command(
        after_help = "Examples:\n  portcullis doctor --config /etc/portcullis/portcullis.toml\n  portcullis doctor --config portcullis.toml --json | jq -r 'select(.outcome == \"fail\") | .mend'\n\nRun it as the user that the service runs as. Exit code 0 says that nothing fails, 1 that something does."
    )]
    Doctor(doctor::Arguments),
    /// Run the whole system on loopback, with a stand-in for Claude and for the identity provider
    #[command(
        after_help = "Examples:\n  portcullis sandbox\n  portcullis sandbox --plaintext --listen 127.0.0.1:8080 --ready-file ready.json"
    )]
    Sandbox(sandbox::Arguments),
    /// Show the decision on a request and the rule behind every step, without sending it
    #[command(
        after_help = "Examples:\n  portcullis explain --config portcullis.toml --token \"$TOKEN\" --body call.json --address 10.1.2.3\n  portcullis explain --config portcullis.toml --claims '{\"sub\":\"alice\",\"scope\":\"claude:opus\"}' --body - < call.json\n\nExit code 0 says allowed, 1 refused."
    )]
    Explain(explain::Arguments),
    /// Sign a short-lived token for an issuer whose secret or private key is at hand
    #[command(
        after_help = "Example:\n  portcullis token --config portcullis.toml --subject alice --scope claude:haiku --scope claude:sonnet"
    )]
    Token(token::Arguments),
    /// Check the audit log as an auditor does
    #[command(subcommand)]
    Audit(audit::Command),
    /// Show and lift what is contained after alarms
    #[command(subcommand)]
    Contain(contain::Command),
    /// Mask personal data and secrets in text from stdin to stdout
    #[command(
        after_help = "Examples:\n  portcullis redact < letter.txt\n  portcullis redact --config portcullis.toml --jsonl < cases.jsonl\n\nText is UTF-8. Without --config all detectors run, with tags of a random key."
    )]
    Redact(redact::Arguments),
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file (conf/portcullis.toml explains every key)
    #[arg(long = "config", value_name = "FILE")]
    path: PathBuf,
}

/// What a command came to.
type Outcome = Result<(), String>;

impl Cli {
    /// Runs the command and returns the process's exit code.
    pub fn run(self) -> ExitCode {
        // Fails only when there is one already, which is the one that is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let outcome = match self.command {
            Command::Serve { config, log, successor } => serve::command(&config.path, log, successor),
            Command::Check { config } => check::command(&config.path),
            Command::Doctor(arguments) => doctor::command(&arguments),
            Command::Explain(arguments) => explain::command(arguments),
            Command::Sandbox(arguments) => sandbox::command(arguments),
            Command::Token(arguments) => token::command(&arguments),
            Command::Audit(command) => audit::command(command),
            Command::Contain(command) => contain::command(command),
            Command::Redact(arguments) => redact::command(&arguments),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => {
                eprintln!("{fault}");
                ExitCode::FAILURE
            }
        }
    }
}

fn load(path: &std::path::Path) -> Result<Config, String> {
    Config::load(path).map_err(|faults: Faults| faults.to_string())
}
