//! The operational log: one line per event, to stderr, for the journal. How much of it is told can change while the process
//! runs: by the configuration, and by SIGUSR1, which turns debug lines on and off.

use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Which lines of our own are told. Libraries tell warnings and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// What is broken; of libraries too.
    Error,
    /// And what needs a look.
    Warn,
    /// And what happens.
    #[default]
    Info,
    /// And each request's end.
    Debug,
}

/// Has the log filter as its argument says from now on.
type Apply = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// The process has one log.
static CONTROL: OnceLock<Control> = OnceLock::new();

struct Control {
    apply: Apply,
    wanted: Mutex<Wanted>,
}

/// What the filter is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    directives: String,
    /// `PORTCULLIS_LOG` has the say, and no level of the configuration.
    fixed: bool,
    /// SIGUSR1 has turned debug lines on.
    debug: bool,
}

/// Starts the log, once per process. Levels come from `PORTCULLIS_LOG` (such as `debug`), else from `default`.
///
/// Libraries log through the `log` crate, which is built without anything below `info`: at those levels Pingora prints
/// request headers, and with them credentials.
pub fn init_logs(format: LogFormat, default: &str) {
    let given = std::env::var("PORTCULLIS_LOG").ok().filter(|given| !given.is_empty());
    let given = given.filter(|given| EnvFilter::try_new(given).is_ok());
    let fixed = given.is_some();
    let wanted = Wanted { directives: given.unwrap_or_else(|| default.to_owned()), fixed, debug: false };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(wanted.filter())
        .with_writer(std::io::stderr)
        .log_internal_errors(false); // it would panic when standard error is gone, and with it a request
    let (done, apply): (_, Apply) = match format {
        LogFormat::Text => {
            let builder = builder.with_ansi(false).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), Box::new(move |filter| drop(handle.reload(filter)))) // fails when the log is gone
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), Box::new(move |filter| drop(handle.reload(filter))))
        }
    };
    match done {
        Ok(()) => drop(CONTROL.set(Control { apply, wanted: Mutex::new(wanted) })), // the first, as the log is
        Err(error) => eprintln!("portcullis: the log was started before: {error}"),
    }
}

impl LogLevel {
    /// Has the log tell these lines from now on, unless `PORTCULLIS_LOG` has the say. Debug lines that SIGUSR1 turned on stay.
    pub fn set(self) {
        change(|wanted| {
            if !wanted.fixed {
                self.directives().clone_into(&mut wanted.directives);
            }
        });
    }

    const fn directives(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "warn,portcullis=info",
            Self::Debug => "warn,portcullis=debug",
        }
    }
}

impl FromStr for LogLevel {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            _ => Err(()),
        }
    }
}

impl Wanted {
    fn filter(&self) -> EnvFilter {
        let Self { directives, debug, .. } = self;
        // Of two directives for one target the later holds.
        if *debug { EnvFilter::new(format!("{directives},portcullis=debug")) } else { EnvFilter::new(directives) }
    }
}

fn change(change: impl FnOnce(&mut Wanted)) {
    let Some(control) = CONTROL.get() else { return };
    let mut wanted = control.wanted.lock().unwrap_or_else(PoisonError::into_inner);
    let before = wanted.clone();
    change(&mut wanted);
    if *wanted != before {
        (control.apply)(wanted.filter());
    }
}

/// Takes SIGUSR1, whose default would end the process, before [`follow_log_signal`] does something about it. Neither Pingora,
/// which knows it as the sign of a daemon that is ready, nor systemd sends it to a service in the foreground.
pub fn expect_log_signal() {
    expect_signal(SignalKind::user_defined1(), "SIGUSR1");
}

/// Takes a signal whose default would end the process, before somebody does something about it.
pub fn expect_signal(kind: SignalKind, name: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let taken = runtime.and_then(|runtime| {
        let _guard = runtime.enter();
        signal(kind).map(drop) // tokio keeps the handler for good
    });
    if let Err(error) = taken {
        tracing::warn!(%error, signal = name, "a signal cannot be received, and would end the process");
    }
}

/// Turns debug lines of our own on and off at each SIGUSR1. Never ends.
pub async fn follow_log_signal() {
    let Ok(mut toggle) = signal(SignalKind::user_defined1()) else { return };
    while toggle.recv().await.is_some() {
        let mut on = false;
        change(|wanted| {
            wanted.debug = !wanted.debug;
            on = wanted.debug;
        });
        // A warning, so that it shows at nearly every level.
        tracing::warn!(on, "SIGUSR1: debug lines");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(directives: &str, debug: bool) -> String {
        sorted(&Wanted { directives: directives.to_owned(), fixed: false, debug }.filter().to_string())
    }

    fn sorted(directives: &str) -> String {
        let mut directives: Vec<_> = directives.split(',').collect();
        directives.sort_unstable();
        directives.join(",")
    }

    #[test]
    fn debug_is_for_our_own_lines() {
        for level in ["error", "warn", "info", "debug"] {
            let directives = LogLevel::from_str(level).unwrap().directives();
            let rest = directives.split(',').next().unwrap();
            assert_eq!(wanted(directives, true), sorted(&format!("portcullis=debug,{rest}")), "{level}");
        }
        assert_eq!(wanted(LogLevel::Info.directives(), false), "portcullis=info,warn");
        assert_eq!(LogLevel::from_str("trace"), Err(()));
        assert_eq!(LogLevel::from_str("INFO"), Err(()));
    }
}
