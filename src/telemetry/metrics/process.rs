//! Figures of this process under the names that Prometheus's own libraries give them.
//!
//! Read from `/proc/self` alone: under a tight systemd unit (`ProcSubset=pid`) there is nothing else of `/proc`, which
//! libraries that read the time of boot there fail on.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Gauge, IntGauge, Result};
use rustix::process::{Resource, getrlimit};

use super::register::Register;

/// Set when metrics are shown.
pub(super) struct ProcessMetrics {
    cpu: Gauge,
    resident: IntGauge,
    virtual_memory: IntGauge,
    threads: IntGauge,
    open_files: IntGauge,
    most_files: IntGauge,
    start: Gauge,
}

impl ProcessMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self> {
        Ok(Self {
            cpu: register.float_total(
                "process_cpu_seconds_total",
                "Time on processors that the process has taken, user and system together",
            )?,
            resident: register.gauge("process_resident_memory_bytes", "Memory of the process that is resident")?,
            virtual_memory: register.gauge("process_virtual_memory_bytes", "Address space of the process")?,
            threads: register.gauge("process_threads", "Threads of the process")?,
            open_files: register.gauge("process_open_fds", "File descriptors that are open")?,
            most_files: register.gauge("process_max_fds", "File descriptors that may be open")?,
            start: register.float_gauge("process_start_time_seconds", "When the process was started, since 1970")?,
        })
    }

    /// Brings the figures up to date. Reads a few small files that never wait for a disk.
    pub(super) fn show(&self) {
        if let Err(error) = self.read() {
            tracing::debug!(%error, "figures of this process cannot be read");
        }
    }

    fn read(&self) -> io::Result<()> {
        let stat = Stat::parse(&std::fs::read_to_string("/proc/self/stat")?).ok_or(io::ErrorKind::InvalidData)?;
        self.cpu.set(stat.cpu.as_secs_f64());
        self.resident.set(shown(stat.resident));
        self.virtual_memory.set(shown(stat.virtual_memory));
        self.threads.set(shown(stat.threads));
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let since_boot = Duration::try_from(since_boot).unwrap_or_default();
        let started = SystemTime::now().checked_sub(since_boot.saturating_sub(stat.started));
        if let Some(Ok(started)) = started.map(|started| started.duration_since(UNIX_EPOCH)) {
            // To the hundredth that the kernel counts in: not a new time with every reading.
            self.start.set((started.as_secs_f64() * 100.0).round() / 100.0);
        }
        let open = std::fs::read_dir("/proc/self/fd")?.count().saturating_sub(1); // reading them opens one
        self.open_files.set(i64::try_from(open).unwrap_or(i64::MAX));
        // No bound is shown as the highest.
        self.most_files.set(shown(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)));
        Ok(())
    }
}

fn shown(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What is read of `/proc/self/stat` (`proc_pid_stat(5)`).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu: Duration,
    threads: u64,
    /// Since boot.
    started: Duration,
    virtual_memory: u64,
    resident: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The command's name, in brackets, may hold blanks and brackets itself.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - FIRST)?.parse::<u64>().ok();
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        let time = |count: u64| Duration::from_millis(count.saturating_mul(1000) / ticks);
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        Some(Self {
            cpu: time(field(14)? + field(15)?),
            threads: field(20)?,
            started: time(field(22)?),
            virtual_memory: field(23)?,
            resident: field(24)?.saturating_mul(page),
        })
    }
}

/// The number of the field that follows the command's name.
const FIRST: usize = 3;

#[cfg(test)]
mod tests {
    use super::super::register::Catalogue;
    use super::*;

    #[test]
    fn the_kernels_line_is_read_whatever_the_command_is_called() {
        let text = "42 (a) b) S 1 42 42 0 -1 4194560 100 0 3 0 250 50 0 0 20 0 7 0 1234 5000000 321 \
                    18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0";
        let ticks = rustix::param::clock_ticks_per_second();
        let time = |count: u64| Duration::from_millis(count * 1000 / ticks);
        assert_eq!(
            Stat::parse(text),
            Some(Stat {
                cpu: time(300),
                threads: 7,
                started: time(1234),
                virtual_memory: 5_000_000,
                resident: 321 * rustix::param::page_size() as u64,
            })
        );
        assert_eq!(Stat::parse("42 (x) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn figures_are_those_of_this_process() {
        let catalogue = Catalogue::default();
        let figures = ProcessMetrics::new(&Register(&catalogue)).unwrap();
        figures.read().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - figures.start.get();
        assert!((-1.0..3600.0).contains(&age), "{age}");
        assert!(figures.resident.get() > 1 << 20 && figures.resident.get() < figures.virtual_memory.get());
        assert!(figures.threads.get() >= 1 && figures.cpu.get() >= 0.0);
        let before = figures.open_files.get();
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
        figures.read().unwrap();
        assert!(figures.open_files.get() >= before + 10, "other tests close some");
        assert!(figures.open_files.get() <= figures.most_files.get());
        drop(files);
    }
}
