use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet};

use super::*;
use crate::audit::chain::Position;
use crate::audit::disk::double::{Fate, Faulty};
use crate::audit::key::SigningKey;
use crate::audit::log::{AuditLog, Unrecorded};
use crate::audit::record::{Event, Record};
use crate::audit::room::BUDGET;
use crate::audit::verify::{Failure, Verifier};
use crate::audit::{Change, Hash};
use crate::telemetry::AuditMetrics;

const COMMIT: Duration = Duration::from_millis(20);

/// A log on a disk in memory. Its writer runs beside the test, on the test's clock.
struct Kept {
    log: AuditLog,
    disk: Faulty,
    metrics: AuditMetrics,
    writer: JoinHandle<()>,
}

fn prepare(durability: Durability, on_failure: OnAuditFailure) -> (AuditLog, Faulty, AuditMetrics, Writer<Faulty>) {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::of_host(folder.path()).unwrap();
    let (disk, metrics) = (Faulty::default(), AuditMetrics::unregistered().unwrap());
    let (log, queue) = AuditLog::new(durability, on_failure, metrics.clone());
    let rules = Rules {
        durable: durability == Durability::Durable,
        on_failure,
        commit_interval: COMMIT,
        checkpoint_interval: Duration::from_secs(60),
        segment_size: 1 << 30,
        segment_age: Duration::from_secs(3600),
        kept: 256,
    };
    let chain = Chain::new(disk.clone(), None, Position::start(), 0, "host/0".to_owned(), key);
    let writer = Writer::new(chain, queue, Arc::clone(&log.shared), None, rules);
    (log, disk, metrics, writer)
}

impl Kept {
    fn start(durability: Durability, on_failure: OnAuditFailure) -> Self {
        let (log, disk, metrics, writer) = prepare(durability, on_failure);
        Self { log, disk, metrics, writer: tokio::spawn(writer.run()) }
    }

    async fn begin(&self, id: &str) -> Result<(), Unrecorded> {
        self.log.begin(&record(Event::Begin, id)).await?.on_record().await.map(drop)
    }

    async fn end(&self, id: &str) {
        self.log.write(&record(Event::End, id)).await;
    }

    /// Breaks the disk, and has the writer notice it.
    async fn breaks(&self) {
        self.disk.inner().broken = Some(ErrorKind::StorageFull);
        self.log.write(&record(Event::Refused, "notices")).await;
        self.until(false).await;
    }

    /// Mends the disk, and waits for the writer to notice that.
    async fn mends(&self) {
        self.disk.inner().broken = None;
        self.until(true).await;
    }

    /// The clock of the test stands still but for those who wait for it: this ends, or the test's own time runs out.
    async fn until(&self, writable: bool) {
        for _ in 0..10_000 {
            if self.log.is_writable() == writable {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
        panic!("never {writable}");
    }

    /// Ends the log; every line that it has.
    async fn finish(self) -> Vec<Value> {
        let Self { log, disk, writer, .. } = self;
        drop(log);
        writer.await.unwrap();
        lines(&disk)
    }
}

/// The lines of a log, which verifies.
fn lines(disk: &Faulty) -> Vec<Value> {
    let inner = disk.inner();
    let mut verifier = Verifier::new(Vec::new(), BTreeMap::new());
    for (&name, content) in &inner.files {
        match verifier.segment(name, &name.to_string(), content.as_slice()) {
            Ok(()) => {}
            Err(Failure::Fault(fault)) => panic!("{fault}"),
            Err(Failure::Unreadable(error)) => panic!("{error}"),
        }
    }
    let text = inner.files.values().flat_map(|content| content.split(|&byte| byte == b'\n'));
    text.filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn record(event: Event, id: &str) -> Record {
    Record { event, ..Record::new(id.to_owned(), SystemTime::UNIX_EPOCH) }
}

/// The ids of the lines that tell `event`, each of which is there once.
fn ids(lines: &[Value], event: &str) -> BTreeSet<String> {
    let of_event: Vec<_> = lines.iter().filter(|line| line["event"] == event).collect();
    let ids: BTreeSet<_> = of_event.iter().map(|line| line["request_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), of_event.len(), "a line is there twice");
    ids
}

fn gaps(lines: &[Value]) -> Vec<(u64, u64, u64)> {
    let number = |gap: &Value, name: &str| gap[name].as_u64().unwrap_or_default();
    let gaps = lines.iter().filter(|line| line["event"] == "gap");
    gaps.map(|gap| (number(gap, "refused"), number(gap, "lost"), number(gap, "unsure"))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lone_request_is_on_record_at_once() {
    let kept = Kept::start(Durability::Durable, OnAuditFailure::Refuse);
    for id in ["first", "second"] {
        let started = Instant::now();
        kept.begin(id).await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO);
        sleep(COMMIT * 2).await;
    }
    assert_eq!(kept.disk.inner().syncs.len(), 2);
    assert_eq!(ids(&kept.finish().await, "begin").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn under_load_the_disk_is_asked_once_a_commit_interval_and_nobody_waits_longer() {
    let kept = Kept::start(Durability::Durable, OnAuditFailure::Refuse);
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..500_u64 {
        let log = kept.log.clone();
        tasks.spawn(async move {
            sleep(Duration::from_millis(task % 50)).await;
            for call in 0..20 {
                let asked = Instant::now();
                let id = format!("{task}-{call}");
                log.begin(&record(Event::Begin, &id)).await.unwrap().on_record().await.unwrap();
                assert!(asked.elapsed() <= COMMIT + Duration::from_millis(2), "{:?}", asked.elapsed());
                log.write(&record(Event::End, &id)).await;
            }
        });
    }
    tasks.join_all().await;
    let intervals = started.elapsed().as_millis() / COMMIT.as_millis();
    let syncs = kept.disk.inner().syncs.clone();
    assert!(syncs.len() as u128 <= intervals + 2, "{} in {intervals} intervals", syncs.len());
    assert!(syncs.windows(2).all(|pair| pair[1] - pair[0] >= COMMIT));
    let lines = kept.finish().await;
    assert_eq!((ids(&lines, "begin").len(), ids(&lines, "end").len()), (10_000, 10_000));
}

#[tokio::test(start_paused = true)]
async fn a_relaxed_log_asks_the_disk_for_checkpoints_alone() {
    let kept = Kept::start(Durability::Relaxed, OnAuditFailure::Refuse);
    for call in 0..100 {
        kept.begin(&call.to_string()).await.unwrap();
        sleep(COMMIT).await;
    }
    assert_eq!(kept.disk.inner().syncs.len(), 0);
    assert_eq!(ids(&lines(&kept.disk), "begin").len(), 100);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(kept.disk.inner().syncs.len(), 1);
    // A sync that fails leaves it open whether the disk has what was written since.
    for call in 100..105 {
        kept.begin(&call.to_string()).await.unwrap();
    }
    sleep(COMMIT * 2).await;
    kept.disk.inner().plan = vec![Fate::Well, Fate::Fails(0, ErrorKind::Other)];
    sleep(Duration::from_secs(62)).await;
    let lines = kept.finish().await;
    assert_eq!(gaps(&lines), [(0, 0, 5)]);
    assert_eq!(ids(&lines, "begin").len(), 105);
}

#[tokio::test(start_paused = true)]
async fn while_the_disk_fails_requests_are_refused_and_one_line_tells_how_many() {
    let kept = Kept::start(Durability::Durable, OnAuditFailure::Refuse);
    kept.begin("before").await.unwrap();
    sleep(COMMIT).await;
    // This one meets the failure itself: it is withdrawn, and not written later.
    kept.disk.inner().broken = Some(ErrorKind::StorageFull);
    assert_eq!(kept.begin("withdrawn").await, Err(Unrecorded::Withdrawn));
    kept.log.refused_unrecorded();
    kept.end("before").await;
    for call in 0..7 {
        assert_eq!(kept.begin(&call.to_string()).await, Err(Unrecorded::Withdrawn));
        kept.log.refused_unrecorded();
        sleep(Duration::from_secs(1)).await;
    }
    assert!(!kept.log.admits());
    kept.mends().await;
    kept.log.refused_unrecorded(); // one that was on its way
    kept.begin("after").await.unwrap();
    sleep(SETTLE * 2).await;
    assert_eq!(gaps(&lines(&kept.disk)), [(9, 0, 0)]);
    kept.end("after").await;
    let lines = kept.finish().await;
    let both = BTreeSet::from(["before".to_owned(), "after".to_owned()]);
    assert_eq!((ids(&lines, "begin"), ids(&lines, "end")), (both.clone(), both));
    assert_eq!(gaps(&lines), [(9, 0, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_comes_and_goes_is_one_outage() {
    let kept = Kept::start(Durability::Durable, OnAuditFailure::Refuse);
    for _ in 0..3 {
        kept.breaks().await;
        kept.log.refused_unrecorded();
        kept.mends().await;
    }
    sleep(SETTLE * 2).await;
    kept.breaks().await;
    kept.mends().await;
    assert_eq!(gaps(&kept.finish().await), [(3, 0, 0), (0, 0, 0)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_while_nothing_fails_is_told_too() {
    let kept = Kept::start(Durability::Durable, OnAuditFailure::Refuse);
    kept.log.refused_unrecorded();
    sleep(SETTLE * 2).await;
    assert_eq!(gaps(&lines(&kept.disk)), [(1, 0, 0)]);
}

#[tokio::test(start_paused = true)]
async fn requests_go_on_without_a_disk_where_the_configuration_says_so() {
    let kept = Kept::start(Durability::Durable, OnAuditFailure::Continue);
    kept.breaks().await;
    assert!(kept.log.admits());
    let calls = 6_000; // more than the writer and the queue hold
    for call in 0..calls {
        let started = Instant::now();
        kept.begin(&call.to_string()).await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO);
        if call == 1_000 {
            sleep(RETRY).await;
        }
    }
    let lost = kept.metrics.lost.get();
    assert!(lost > 0 && lost < calls, "{lost}");
    kept.mends().await;
    let lines = kept.finish().await;
    assert_eq!(gaps(&lines), [(0, lost, 0)]);
    assert_eq!(ids(&lines, "begin").len() as u64, calls - lost);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_failed_half_way_is_there_once() {
    for failing in 0..6 {
        let kept = Kept::start(Durability::Durable, OnAuditFailure::Continue);
        kept.begin("first").await.unwrap();
        let mut plan = vec![Fate::Well; failing];
        plan.extend([Fate::Fails(100, ErrorKind::Other), Fate::Short(50), Fate::Fails(9, ErrorKind::StorageFull)]);
        kept.disk.inner().plan = plan;
        for call in 0..9 {
            kept.begin(&call.to_string()).await.unwrap();
        }
        sleep(RETRY * 4).await;
        kept.until(true).await;
        kept.begin("last").await.unwrap();
        assert_eq!(ids(&kept.finish().await, "begin").len(), 11);
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_for_5_seconds_has_failed() {
    let (log, disk, _, writer) = prepare(Durability::Durable, OnAuditFailure::Refuse);
    let (release, hangs) = std_mpsc::channel();
    disk.inner().hangs = Some(hangs);
    // The writer blocks in the disk: it has a thread of its own, as always.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let thread = std::thread::spawn(move || runtime.block_on(writer.run()));
    let started = Instant::now();
    let ticket = log.begin(&record(Event::Begin, "hangs")).await.unwrap();
    assert!(matches!(ticket.on_record().await, Err(Unrecorded::Late)));
    assert_eq!(started.elapsed().as_secs(), 5);
    while disk.inner().hangs.is_some() {
        tokio::task::yield_now().await; // the thread gets there on a clock of its own
    }
    tokio::time::advance(Duration::from_secs(6)).await;
    assert!(!log.is_writable() && !log.admits());
    log.refused_unrecorded();
    drop(release);
    drop(log);
    thread.join().unwrap();
    assert_eq!(gaps(&lines(&disk)), [(1, 0, 0)]);
}

/// A record of half a MiB.
fn large(event: Event, id: &str) -> Record {
    Record { prompt: Some("x".repeat(512 << 10)), ..record(event, id) }
}

#[tokio::test(start_paused = true)]
async fn records_that_wait_for_the_disk_are_bounded_in_bytes() {
    for on_failure in [OnAuditFailure::Refuse, OnAuditFailure::Continue] {
        let kept = Kept::start(Durability::Durable, on_failure);
        kept.breaks().await;
        let mut writes = JoinSet::new();
        for call in 0..400 {
            let log = kept.log.clone();
            writes.spawn(async move { log.write(&large(Event::End, &call.to_string())).await });
        }
        sleep(RETRY * 3).await;
        let written = (0..400).filter_map(|_| writes.try_join_next()).count() as u64 - kept.metrics.lost.get();
        assert!((32..=128).contains(&written), "{written} of half a MiB");
        let started = Instant::now();
        let begun = kept.log.begin(&large(Event::Begin, "begin")).await.map(drop);
        assert_eq!((begun.is_ok(), started.elapsed()), (on_failure == OnAuditFailure::Continue, Duration::ZERO));
        kept.mends().await;
        writes.join_all().await;
        let lost = kept.metrics.lost.get();
        kept.begin("after").await.unwrap();
        let shared = Arc::clone(&kept.log.shared);
        let lines = kept.finish().await;
        assert_eq!(ids(&lines, "end").len() as u64, 400 - lost + u64::from(lost > 0));
        assert_eq!(shared.room.available_bytes(), BUDGET, "all is given back");
    }
}

#[tokio::test(start_paused = true)]
async fn a_begin_waits_for_room_and_no_longer_than_5_seconds() {
    let (log, disk, _, writer) = prepare(Durability::Durable, OnAuditFailure::Refuse);
    let mut tasks = JoinSet::new();
    for call in 0..400 {
        let log = log.clone();
        tasks.spawn(async move { log.write(&large(Event::End, &call.to_string())).await });
    }
    sleep(COMMIT).await;
    let started = Instant::now();
    let begun = log.begin(&large(Event::Begin, "late")).await;
    assert!(matches!(begun, Err(Unrecorded::Withdrawn)));
    assert_eq!(started.elapsed().as_secs(), 5);
    let begun = tokio::spawn({
        let log = log.clone();
        async move { log.begin(&large(Event::Begin, "in time")).await?.on_record().await.map(drop) }
    });
    let writer = tokio::spawn(writer.run());
    tasks.join_all().await;
    begun.await.unwrap().unwrap();
    drop(log);
    writer.await.unwrap();
    let lines = lines(&disk);
    assert_eq!((ids(&lines, "end").len(), ids(&lines, "begin").len()), (400, 1));
}

#[tokio::test(start_paused = true)]
async fn another_configuration_is_told_in_its_place_and_holds_from_there_on() {
    let kept = Kept::start(Durability::Durable, OnAuditFailure::Refuse);
    let rules = LogRules {
        durability: Durability::Relaxed,
        on_failure: OnAuditFailure::Continue,
        commit_interval: COMMIT,
        checkpoint_interval: Duration::from_secs(60),
        segment_size: 1 << 30,
        segment_age: Duration::from_secs(3600),
    };
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let taken = Arc::clone(&seen);
    let tap: Tap = Box::new(move |lines| taken.lock().unwrap().extend_from_slice(lines));
    kept.log.write(&record(Event::Refused, "a")).await;
    let change = Change {
        rules,
        configuration: Hash::of_bytes(b"text"),
        changed: vec!["grant".to_owned()],
        tap: Some(Some(tap)),
    };
    kept.log.change(change).await.unwrap();
    let after = kept.log.seen_by(rules);
    assert!(after.begin(&record(Event::Begin, "b")).await.unwrap().on_record().await.is_ok());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let lines = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["refused", "configured", "begin"]);
    assert_eq!(
        (&events[1]["changed"], &events[1]["configuration"]),
        (&serde_json::json!(["grant"]), &serde_json::json!(Hash::of_bytes(b"text").to_string()))
    );
}
