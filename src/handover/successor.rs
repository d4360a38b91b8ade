//! The old process's side.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::wire::{Kind, receive, send, send_sockets};

/// How a successor of this process is started.
#[derive(Debug, Clone)]
pub struct Successor {
    /// As it is called: whatever is installed there by then.
    program: PathBuf,
    arguments: Vec<OsString>,
    /// How long it may take to get ready: key sets are fetched, names resolved.
    patience: Duration,
}

/// A successor that serves.
#[derive(Debug)]
pub struct HandedOver {
    /// Its process.
    pub pid: u32,
}

/// How long a successor may take from the counts to its first connection.
const LAST_STEP: Duration = Duration::from_secs(10);

impl Successor {
    /// A successor with this program's path and arguments, and `flag` at their end. Must be asked for before the program is
    /// replaced: the system tells its path until then.
    ///
    /// # Errors
    /// When the path of the program is not known.
    pub fn of_this_process(flag: &str) -> io::Result<Self> {
        let mut arguments: Vec<OsString> = std::env::args_os().skip(1).filter(|argument| argument != flag).collect();
        arguments.push(flag.into());
        Ok(Self::new(std::env::current_exe()?, arguments))
    }

    pub(super) fn new(program: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { program, arguments, patience: Duration::from_secs(90) }
    }

    #[cfg(test)]
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The program that would be started.
    pub fn program(&self) -> &OsStr {
        self.program.as_os_str()
    }

    /// Starts the successor, and returns once it accepts connections on `sockets`. It is given `counts` as they are when it is
    /// ready; `None` calls it off. Blocks.
    ///
    /// # Errors
    /// What went wrong; the successor is not there any more then.
    pub fn hand_over(
        &self,
        sockets: &[TcpListener],
        counts: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Result<HandedOver, String> {
        let (mut stream, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::from(OwnedFd::from(theirs)));
        // systemd means this process with it; the successor takes the duty over.
        command.env_remove("WATCHDOG_PID");
        let child = command.spawn().map_err(|error| format!("cannot start {}: {error}", self.program.display()))?;
        drop(command); // and with it this process's copy of their end: if they go, reading ends
        let mut child = Unproven(Some(child));
        let step = |stream: &mut UnixStream, within| -> io::Result<()> {
            stream.set_read_timeout(Some(within))?;
            stream.set_write_timeout(Some(LAST_STEP))
        };
        let done = (|| {
            step(&mut stream, self.patience)?;
            send_sockets(&mut stream, sockets)?;
            receive(&mut stream, Kind::Prepared)?;
            step(&mut stream, LAST_STEP)?;
            let counts = counts().ok_or_else(|| io::Error::from(io::ErrorKind::Interrupted))?;
            send(&mut stream, Kind::Counts, &counts)?;
            receive(&mut stream, Kind::Serving).map(drop)
        })();
        done.map_err(|error: io::Error| child.problem(&error))?;
        Ok(HandedOver { pid: child.release() })
    }
}

/// A child that is killed unless it is released.
struct Unproven(Option<Child>);

impl Unproven {
    fn release(mut self) -> u32 {
        self.0.take().map_or(0, |child| child.id())
    }

    /// What to say of a child that does not answer as it should.
    fn problem(&mut self, error: &io::Error) -> String {
        if error.kind() == io::ErrorKind::Interrupted {
            return "this process ends, and was to go first".to_owned();
        }
        let ended = self.0.as_mut().and_then(|child| {
            // Whoever closes its end may be on its way out.
            let mut tries = 0..20;
            loop {
                let status = child.try_wait().ok()?;
                if status.is_some() || tries.next().is_none() {
                    return status;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        match (ended, error.kind()) {
            (Some(status), _) => format!("the new process has ended ({status}); its log says why"),
            (None, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                "the new process was not ready in time".to_owned()
            }
            (None, _) => format!("the new process does not do its part: {error}"),
        }
    }
}

impl Drop for Unproven {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill(); // it may have ended
            let _ = child.wait();
        }
    }
}
