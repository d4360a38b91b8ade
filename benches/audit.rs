//! The audit log: what a record costs on its way to the disk, how fast a segment is verified, and how often the disk is
//! asked for under a steady load.

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::io::BufReader;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, SamplingMode, Throughput};
use portcullis::audit::segment::{self, SegmentName};
use portcullis::audit::verify::Verifier;
use portcullis::audit::{
    AuditLog, Decision, Digests, Durability, Event, Hash, Head, LimitLeft, LogRules, OnAuditFailure, Options, Record,
    SigningKey, Timings,
};
use portcullis::claude::Usage;
use portcullis::telemetry::AuditMetrics;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// A call of Claude Code as it goes up: what is known of it by then.
fn begin() -> Record {
    let mut record = Record::new("0198c5f2-7a51-7c3e-9a53-3f1b8a6f0d11".to_owned(), SystemTime::now());
    record.event = Event::Begin;
    record.client = Some(IpAddr::V4(Ipv4Addr::new(10, 20, 30, 40)));
    record.issuer = Some("okta".to_owned());
    record.subject = Some("alice@example.com".to_owned());
    record.token_id = Some("AT.6fW3Hcx1bZkq".to_owned());
    record.teams = vec!["research".to_owned(), "everyone".to_owned()];
    record.session_id = Some("5f0f6f0e-1c1e-4b52-a7d4-9d6f6cf7f1aa".to_owned());
    "POST".clone_into(&mut record.method);
    "/v1/messages".clone_into(&mut record.path);
    record.endpoint = Some("messages");
    record.models = vec!["claude-opus-5-5".to_owned()];
    record.stream = true;
    record.max_tokens = Some(32_000);
    record.tools = ["Bash", "Edit", "Glob", "Grep", "Read", "Write"].map(str::to_owned).to_vec();
    record.prompt_hash = Some("9f86d081884c7d659a2feaa0c55ad015".to_owned());
    record.findings = BTreeMap::from([("email", 2)]);
    record.decision = Decision::Allowed;
    record.rule = Some("grant \"claude:opus\"".to_owned());
    record.limits = vec![
        LimitLeft { name: "requests".to_owned(), measure: "requests", remaining: 57 },
        LimitLeft { name: "spend".to_owned(), measure: "cost_usd", remaining: 48_123_456 },
    ];
    record.key = Some("prod-2026-11".to_owned());
    record.request_bytes = 48_213;
    record.sha256.request_received = Some(Hash::of_bytes(b"request").to_string());
    record.timings = Timings { decided_ms: Some(1.42), ..Timings::default() };
    record
}

/// The same call when it has ended.
fn end() -> Record {
    let mut record = begin();
    record.event = Event::End;
    record.answered_by = Some("claude-opus-5-5-20261001".to_owned());
    record.response_hash = Some("60303ae22b998861bce3b28f33eec1be".to_owned());
    record.attempts = Some(1);
    record.upstream = Some("10.1.2.3:443".to_owned());
    record.upstream_request_id = Some("req_011CSHoEeqs5C35K2UUqR7Fy".to_owned());
    record.status = Some(200);
    record.complete = true;
    record.stop_reason = Some("tool_use".to_owned());
    record.usage = Some(Usage { input_tokens: Some(1_234), output_tokens: Some(567), ..Usage::default() });
    record.cost_micro_usd = Some(12_345);
    record.response_bytes = 9_876;
    let digest = |text: &[u8]| Some(Hash::of_bytes(text).to_string());
    record.sha256 = Digests {
        request_received: digest(b"request"),
        request_sent: digest(b"request"),
        response_received: digest(b"answer"),
        response_sent: digest(b"answer"),
    };
    record.timings = Timings {
        decided_ms: Some(1.42),
        recorded_ms: Some(3.8),
        connected_ms: Some(4.1),
        first_byte_ms: Some(812.5),
        first_token_ms: Some(840.25),
        total_ms: Some(4_312.75),
    };
    record
}

fn open(folder: &Path, metrics: &AuditMetrics) -> AuditLog {
    let options = Options {
        directory: folder.to_owned(),
        rules: LogRules {
            durability: Durability::Durable,
            on_failure: OnAuditFailure::Refuse,
            commit_interval: Duration::from_millis(20),
            checkpoint_interval: Duration::from_secs(60),
            segment_size: 1 << 30,
            segment_age: Duration::from_secs(3600),
        },
        key: SigningKey::of_host(folder).unwrap(),
        configuration: Hash::of_bytes(b"configuration"),
        tap: None,
    };
    AuditLog::open(options, metrics.clone()).unwrap()
}

/// Writes the two lines of a call, and waits for the first as a request does.
async fn call(log: &AuditLog, begin: &Record, end: &Record) {
    let ticket = log.begin(begin).await.unwrap();
    black_box(ticket.on_record().await.unwrap());
    log.write(end).await;
}

/// Writes the lines of `calls` calls, of which many wait at a time.
async fn calls(log: &AuditLog, calls: u64) {
    let mut tasks = JoinSet::new();
    for _ in 0..WAITING {
        let log = log.clone();
        tasks.spawn(async move {
            let (begin, end) = (begin(), end());
            for _ in 0..calls / WAITING {
                call(&log, &begin, &end).await;
            }
        });
    }
    tasks.join_all().await;
}

/// What those who wait at a time cost beside the log.
async fn yields(calls: u64) {
    let mut tasks = JoinSet::new();
    for _ in 0..WAITING {
        tasks.spawn(async move {
            for _ in 0..calls / WAITING {
                tokio::task::yield_now().await;
            }
        });
    }
    tasks.join_all().await;
}

/// 5,000 calls a second, in ticks of a millisecond.
async fn paced(log: &AuditLog, time: Duration) {
    let (begin, end) = (Arc::new(begin()), Arc::new(end()));
    let mut beat = tokio::time::interval(Duration::from_millis(1));
    let mut tasks = JoinSet::new();
    for _ in 0..time.as_millis() {
        beat.tick().await;
        for _ in 0..5 {
            let (log, begin, end) = (log.clone(), Arc::clone(&begin), Arc::clone(&end));
            tasks.spawn(async move { call(&log, &begin, &end).await });
        }
        while tasks.try_join_next().is_some() {}
    }
    tasks.join_all().await;
}

const WAITING: u64 = 100; // with 20 ms between commits: 5,000 calls a second

/// Processor time of all threads so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// A closed segment of about 50 MB.
fn long_segment(runtime: &Runtime, folder: &Path) -> (SegmentName, std::path::PathBuf) {
    let log = open(folder, &AuditMetrics::unregistered().unwrap());
    runtime.block_on(calls(&log, 21_000));
    assert!(log.stop(Duration::from_secs(30)));
    let name = segment::list(folder).unwrap().remove(0);
    (name, folder.join(name.to_string()))
}

#[allow(clippy::cast_precision_loss)] // of lengths, for a ratio
pub fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("audit");

    let record = end();
    let json = serde_json::to_vec(&record).unwrap();
    group.throughput(Throughput::Bytes(json.len() as u64));
    let mut written = Vec::with_capacity(4096);
    group.bench_function("serialise", |bencher| {
        bencher.iter(|| {
            written.clear();
            black_box(&record).append_to(&mut written).unwrap();
        });
    });
    let head = Head { seq: 1_234_567, prev: Hash::of_bytes(b"before") };
    let mut lines = Vec::with_capacity(4096);
    group.bench_function("frame_and_hash", |bencher| {
        bencher.iter(|| {
            lines.clear();
            head.splice(black_box(&json), &mut lines)
        });
    });

    let folder = tempfile::tempdir().unwrap();
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(Throughput::Bytes(SEGMENT));
    group.bench_function("verify_50MB", |bencher| {
        let (name, path) = long_segment(&runtime, folder.path());
        bencher.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                let mut verifier = Verifier::new(Vec::new(), BTreeMap::new());
                let started = Instant::now();
                let file = BufReader::with_capacity(256 << 10, File::open(&path).unwrap());
                verifier.segment(name, "it", file).unwrap();
                // The segment is not of that length to the byte.
                took += started.elapsed().mul_f64(SEGMENT as f64 / verifier.finish().unwrap().bytes as f64);
            }
            took
        });
    });

    // Processor time, not time that has passed: most of that is waiting for the disk.
    let metrics = AuditMetrics::unregistered().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), &metrics);
    group.measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(BATCH));
    let measured = |work: &dyn Fn()| {
        let before = processor_time();
        work();
        processor_time().saturating_sub(before)
    };
    group.bench_function("calls_processor_time", |bencher| {
        bencher.iter_custom(|batches| measured(&|| runtime.block_on(calls(&log, batches * BATCH))));
    });
    group.bench_function("calls_processor_time_without_log", |bencher| {
        bencher.iter_custom(|batches| measured(&|| runtime.block_on(yields(batches * BATCH))));
    });
    let (mut syncs, mut seconds) = (0, 0);
    group.throughput(Throughput::Elements(5_000));
    group.bench_function("paced_5000_a_second_processor_time", |bencher| {
        bencher.iter_custom(|iterations| {
            let before = metrics.sync.get_sample_count();
            let took = measured(&|| runtime.block_on(paced(&log, Duration::from_secs(iterations))));
            (syncs, seconds) = (syncs + metrics.sync.get_sample_count() - before, seconds + iterations);
            took
        });
    });
    if let Some(rate) = syncs.checked_div(seconds) {
        println!("audit/paced_5000_a_second: {rate} syncs a second");
    }
    assert!(log.stop(Duration::from_secs(30)));
}

/// Bytes of a segment, about.
const SEGMENT: u64 = 50_000_000;
/// Calls of which the processor time is taken together.
const BATCH: u64 = 5_000;
