//! The thread that writes the log: takes what requests hand over, in groups, and keeps trying while the disk fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::chain::{Chain, Seal, rfc3339};
use super::disk::{Disk, Folder};
use super::host::host;
use super::lifecycle::{Gap, Started, Stopped};
use super::log::{Changed, Entry, Shared};
use super::options::{Durability, LogRules, OnAuditFailure, Options, Tap};
use super::outage::Outage;
use super::record::VERSION;
use super::recovery::{self, Recovered};
use super::room::units;

/// Recovers the chain, writes `started` and leaves the rest to a thread.
pub(super) fn start(options: Options, queue: mpsc::Receiver<Entry>, shared: Arc<Shared>) -> std::io::Result<()> {
    let recovered = recovery::recover(&options.directory)?;
    tell(&recovered, &shared);
    let log = format!("{}/{}", host(), recovered.chain);
    let key = options.key.public().id();
    let started = serde_json::to_vec(&Started {
        event: "started",
        version: VERSION,
        time: &rfc3339(SystemTime::now()),
        program: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        log: &log,
        key: &key,
        configuration: options.configuration,
        found: &recovered.found,
        heads: &recovered.heads,
    })?;
    let Recovered { lock, chain: id, file, position, .. } = recovered;
    let disk = Folder(options.directory);
    let rules = Rules::from(options.rules);
    let chain = Chain::new(disk, file, position, id, log, options.key);
    let mut writer = Writer::new(chain, queue, shared, options.tap, rules);
    // A log that cannot take its first line is told to whoever starts it, not to the first request.
    writer.group.records.push(started);
    writer.commit(Seal::None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("audit".to_owned()).spawn(move || {
        runtime.block_on(writer.run());
        drop(lock); // another process may take the chain over
    })?;
    Ok(())
}

fn tell(recovered: &Recovered, shared: &Shared) {
    if let (Some(bytes), Some(sha256)) = (recovered.found.torn_bytes, recovered.found.torn_sha256) {
        tracing::warn!(bytes, %sha256, "a crash cut a record of the audit log short; what was there of it is taken off");
    }
    if let Some(damaged) = &recovered.found.damaged {
        tracing::error!(damaged, "the audit log is damaged; it is left as it is, and goes on in a new segment");
        shared.metrics.damaged.set(1);
    }
    if !recovered.foreign.is_empty() {
        let some: Vec<&str> = recovered.foreign.iter().take(5).map(String::as_str).collect();
        tracing::warn!(
            files = recovered.foreign.len(),
            ?some,
            "the audit folder holds what is not ours; it is left alone"
        );
    }
}

struct Rules {
    durable: bool,
    on_failure: OnAuditFailure,
    commit_interval: Duration,
    checkpoint_interval: Duration,
    segment_size: u64,
    segment_age: Duration,
    /// Records that are kept at most while the disk fails; the queue holds more.
    kept: usize,
}

impl From<LogRules> for Rules {
    fn from(rules: LogRules) -> Self {
        Self {
            durable: rules.durability == Durability::Durable,
            on_failure: rules.on_failure,
            commit_interval: rules.commit_interval,
            checkpoint_interval: rules.checkpoint_interval,
            segment_size: rules.segment_size,
            segment_age: rules.segment_age,
            kept: KEPT,
        }
    }
}

/// What is brought to the disk together.
#[derive(Default)]
struct Group {
    /// Records, those that somebody waits for among them.
    records: Vec<Vec<u8>>,
    /// The room that those take which were handed over.
    units: usize,
    /// Who waits, with the place of its record.
    waiting: Vec<(usize, oneshot::Sender<()>)>,
    flushes: Vec<std_mpsc::Sender<()>>,
    /// Another configuration, whose line is among the records.
    changed: Option<Box<Changed>>,
    /// The log is to end.
    stops: bool,
    /// When the first of it came.
    since: Option<Instant>,
}

impl Group {
    fn take(&mut self, entry: Entry) {
        if matches!(entry, Entry::Missing) {
            return; // whoever waits for entries looks for outages
        }
        self.since.get_or_insert_with(Instant::now);
        match entry {
            Entry::Record(record) => self.keep(record),
            Entry::Begin(record, done) => {
                self.waiting.push((self.records.len(), done));
                self.keep(record);
            }
            Entry::Flush(done) => self.flushes.push(done),
            Entry::Change(record, mut changed) => {
                self.records.push(record);
                if let Some(earlier) = self.changed.take() {
                    changed.tap = changed.tap.or(earlier.tap);
                }
                self.changed = Some(changed);
            }
            Entry::Missing => {}
            Entry::Stop(done) => {
                self.flushes.push(done);
                self.stops = true;
            }
        }
    }

    fn keep(&mut self, record: Vec<u8>) {
        self.units += units(&record) as usize;
        self.records.push(record);
    }

    fn is_awaited(&self) -> bool {
        !self.waiting.is_empty() || !self.flushes.is_empty()
    }

    /// Takes out the records that somebody waits for: their requests are refused, and did not happen for the log. Returns the
    /// room that they took.
    fn withdraw(&mut self) -> usize {
        let before = self.units;
        let mut waiting = std::mem::take(&mut self.waiting).into_iter().map(|(at, _)| at).peekable();
        let mut at = 0;
        self.records.retain(|record| {
            let stays = waiting.next_if_eq(&at).is_none();
            if !stays {
                self.units -= units(record) as usize;
            }
            at += 1;
            stays
        });
        before - self.units
    }
}

struct Writer<D: Disk> {
    chain: Chain<D>,
    queue: mpsc::Receiver<Entry>,
    shared: Arc<Shared>,
    tap: Option<Tap>,
    rules: Rules,
    group: Group,
    last_commit: Option<Instant>,
    /// When the first record came that no checkpoint covers.
    unsigned_since: Option<Instant>,
    segment_since: Option<Instant>,
    /// When an outage that is over is told of.
    settles: Option<Instant>,
    /// The log ends: there is no later.
    ends: bool,
}

/// Records that are brought to the disk together at most.
const GROUP: usize = 4096;
/// As many records are kept while the disk fails; half as many again wait in the queue.
const KEPT: usize = 8192;
/// How long a failed write is left alone.
const RETRY: Duration = Duration::from_millis(500);
/// How long after an outage it is told of: requests that were refused are still being counted, and one line is to tell of all.
const SETTLE: Duration = Duration::from_millis(250);

impl<D: Disk> Writer<D> {
    fn new(chain: Chain<D>, queue: mpsc::Receiver<Entry>, shared: Arc<Shared>, tap: Option<Tap>, rules: Rules) -> Self {
        Self {
            chain,
            queue,
            shared,
            tap,
            rules,
            group: Group::default(),
            last_commit: None,
            unsigned_since: None,
            segment_since: None,
            settles: None,
            ends: false,
        }
    }

    async fn run(mut self) {
        let mut batch = Vec::with_capacity(GROUP);
        loop {
            if self.group.stops {
                self.take_queued(usize::MAX); // asked while the disk failed
                return self.finish().await;
            }
            let due = self.due();
            let room = GROUP.saturating_sub(self.group.records.len()).max(1);
            let received = match due {
                Some(due) => timeout_at(due, self.queue.recv_many(&mut batch, room)).await,
                None => Ok(self.queue.recv_many(&mut batch, room).await),
            };
            let is_over = received == Ok(0);
            batch.drain(..).for_each(|entry| self.group.take(entry));
            self.group.stops |= is_over;
            if !self.group.stops && self.group.is_awaited() {
                // Under load the thread sleeps until the group is due, and is not woken for each record.
                if let Some(due) = self.group_due().filter(|&due| due > Instant::now()) {
                    sleep_until(due).await;
                }
                self.take_queued(GROUP);
            }
            if self.group.stops {
                self.take_queued(usize::MAX);
                return self.finish().await;
            }
            let now = Instant::now();
            if self.settles.is_none() && self.shared.outages.untold().is_some() {
                self.settles = Some(now + SETTLE);
            }
            if self.group_due().is_some_and(|due| due <= now) || self.settles.is_some_and(|due| due <= now) {
                self.bring(Seal::None).await;
            }
            let now = Instant::now();
            if self.is_to_close(now) {
                self.bring(Seal::Close).await;
            } else if self.checkpoint_due().is_some_and(|due| due <= now) {
                self.bring(Seal::Checkpoint).await;
            }
        }
    }

    /// When something is to be done, whether or not anything comes.
    fn due(&self) -> Option<Instant> {
        [self.group_due(), self.checkpoint_due(), self.close_due(), self.settles].into_iter().flatten().min()
    }

    /// When the group is to be written. One that nobody waits for is left for whatever comes meanwhile.
    fn group_due(&self) -> Option<Instant> {
        let since = self.group.since?;
        if self.rules.durable && self.group.is_awaited() {
            return Some(self.last_commit.map_or(since, |last| since.max(last + self.rules.commit_interval)));
        }
        Some(since + self.rules.commit_interval)
    }

    fn checkpoint_due(&self) -> Option<Instant> {
        self.unsigned_since.map(|since| since + self.rules.checkpoint_interval)
    }

    fn close_due(&self) -> Option<Instant> {
        self.segment_since.map(|since| since + self.rules.segment_age)
    }

    fn is_to_close(&self, now: Instant) -> bool {
        self.chain.has_segment()
            && (self.close_due().is_some_and(|due| due <= now)
                || self.chain.position().length >= self.rules.segment_size)
    }

    fn take_queued(&mut self, most: usize) {
        while self.group.records.len() < most
            && let Ok(entry) = self.queue.try_recv()
        {
            self.group.take(entry);
        }
    }

    /// Brings the group to the disk, however long it takes.
    async fn bring(&mut self, seal: Seal) {
        self.follow_configuration();
        while let Err(error) = self.commit(seal) {
            self.settles = None;
            if self.shared.fail(self.chain.take_unsure()) {
                let consequence = match self.rules.on_failure {
                    OnAuditFailure::Refuse => "requests are refused until it can be written",
                    OnAuditFailure::Continue => "requests go on, and records are lost when there is no room for more",
                };
                tracing::error!(%error, consequence, "cannot write the audit log");
            }
            self.endure();
            sleep(RETRY).await;
            self.take_queued(self.rules.kept);
            self.endure();
            if self.queue.is_closed() && self.queue.is_empty() {
                return; // nobody is left to write for
            }
        }
        if self.shared.failed.swap(false, Ordering::Relaxed) {
            tracing::info!("the audit log is written again");
            self.shared.outages.end();
            self.settles = Some(Instant::now() + SETTLE);
        }
    }

    /// While the disk fails, nobody waits for it.
    fn endure(&mut self) {
        match self.rules.on_failure {
            OnAuditFailure::Refuse => {
                let units = self.group.withdraw();
                self.shared.room.give_back(units);
            }
            OnAuditFailure::Continue => {
                for (_, done) in self.group.waiting.drain(..) {
                    let _ = done.send(());
                }
            }
        }
    }

    /// The outage that is to be told of now.
    fn to_tell(&self) -> Option<Outage> {
        let is_due = self.ends || self.settles.is_some_and(|due| due <= Instant::now());
        self.shared.outages.untold().filter(|_| is_due)
    }

    /// Goes on as another configuration says, from the group on that has the line that tells of it.
    fn follow_configuration(&mut self) {
        let Some(changed) = self.group.changed.take() else { return };
        self.rules = Rules { kept: self.rules.kept, ..Rules::from(changed.rules) };
        if let Some(tap) = changed.tap {
            self.tap = tap;
        }
    }

    /// One attempt to bring the group to the disk, and the line that tells what is missing with it.
    fn commit(&mut self, seal: Seal) -> std::io::Result<()> {
        let now = SystemTime::now();
        let outage = self.to_tell();
        let gap = outage.map(|outage| gap(&outage, now)).transpose()?;
        // Durable or not, what is signed is on disk.
        // So is what somebody waits for: it was promised before a reload may have said otherwise.
        let durable = self.rules.durable || seal != Seal::None || self.group.is_awaited();
        let records = self.group.records.iter().map(Vec::as_slice).chain(gap.as_deref());
        let count = self.group.records.len() + usize::from(gap.is_some()) + usize::from(seal != Seal::None);
        self.shared.set_busy(true);
        // Nothing at all can be written to any disk: an outage is over when something can.
        let probed = if count == 0 && self.shared.failed.load(Ordering::Relaxed) { self.chain.probe() } else { Ok(()) };
        let committed = probed.and_then(|()| self.chain.commit(records, seal, durable, now));
        self.shared.set_busy(false);
        let committed = committed?;
        let metrics = &self.shared.metrics;
        if let Some(took) = committed.sync {
            metrics.sync.observe(took.as_secs_f64());
        }
        metrics.groups.inc();
        metrics.committed.inc_by(count as u64);
        if let Some(line) = committed.checkpoint {
            // In the journal it is out of reach of whoever can change the folder.
            tracing::info!(checkpoint = %String::from_utf8_lossy(line.trim_ascii_end()), "audit checkpoint");
            metrics.last_checkpoint.set(i64::try_from(unix_ms(now) / 1000).unwrap_or_default());
        }
        if let Some(tap) = &mut self.tap {
            tap(committed.lines);
        }
        if let Some(outage) = outage {
            self.shared.outages.tell(&outage);
            self.settles = None;
        }
        self.conclude();
        Ok(())
    }

    fn conclude(&mut self) {
        let now = Instant::now();
        self.group.records.clear();
        self.shared.room.give_back(std::mem::take(&mut self.group.units));
        self.group.since = None;
        self.last_commit = Some(now);
        for (_, done) in self.group.waiting.drain(..) {
            let _ = done.send(()); // who asked may have given up
        }
        // Who stops the log waits until it is closed, also when its word came while the disk failed.
        if !self.group.stops {
            for done in self.group.flushes.drain(..) {
                let _ = done.send(());
            }
        }
        let unsigned = self.chain.position().unsigned;
        self.shared.metrics.unsigned.set(i64::try_from(unsigned).unwrap_or(i64::MAX));
        self.unsigned_since = (unsigned > 0).then(|| self.unsigned_since.unwrap_or(now));
        self.segment_since = self.chain.has_segment().then(|| self.segment_since.unwrap_or(now));
    }

    async fn finish(mut self) {
        let flushes = std::mem::take(&mut self.group.flushes);
        self.group.stops = false;
        self.ends = true;
        if self.shared.outages.untold().is_some() {
            self.bring(Seal::None).await;
        }
        if let Ok(stopped) = serde_json::to_vec(&Stopped::at(&rfc3339(SystemTime::now()))) {
            self.group.records.push(stopped);
        }
        self.bring(Seal::Close).await;
        if self.shared.outages.untold().is_some() {
            self.bring(Seal::Close).await; // an outage has passed just now
        }
        self.shared.room.close();
        for done in flushes {
            let _ = done.send(());
        }
    }
}

fn gap(outage: &Outage, now: SystemTime) -> serde_json::Result<Vec<u8>> {
    let &Outage { since, until, refused, lost, unsure } = outage;
    let (from, to) = (rfc3339(since), rfc3339(until.unwrap_or(now)));
    let time = rfc3339(now);
    serde_json::to_vec(&Gap {
        event: "gap",
        version: VERSION,
        time: &time,
        from: &from,
        to: &to,
        refused,
        lost,
        unsure,
    })
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
