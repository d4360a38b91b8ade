//! Sends audit records to a collector: each line of the log is one log record of OpenTelemetry.
//!
//! The log on disk is the truth. This is a copy for those who watch: it never slows the log's writer, what it loses it
//! counts, and it tells of trouble once and not for every batch.

mod client;
mod queue;
mod record;
mod semconv;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::logs::{Logger, LoggerProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{LogExporter, Protocol, RetryPolicy, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, SdkLogRecord, SdkLogger, SdkLoggerProvider};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout_at};

use self::client::Client;
pub use self::queue::LogTap;
use self::queue::{Group, Groups, queue};
use super::OtlpMetrics;
use crate::audit::Reading;
use crate::config::{OtlpConfig, TelemetryConfig};

/// Most records of a batch.
const BATCH: usize = 512;
/// How long the first record of a batch waits for others.
const LINGER: Duration = Duration::from_millis(500);

/// The export of audit records, on a thread of its own.
pub struct LogExport {
    stop: watch::Sender<Option<Instant>>,
    ended: Mutex<std_mpsc::Receiver<()>>,
}

impl LogExport {
    /// Starts it, if the configuration has it; the tap is for the audit log's writer.
    ///
    /// # Errors
    /// When there can be no client or no thread.
    pub fn start(config: &TelemetryConfig, metrics: OtlpMetrics) -> Result<Option<(Self, LogTap)>, String> {
        let Some(config) = config.otlp.as_ref().filter(|otlp| otlp.logs) else { return Ok(None) };
        let (stop, stopping) = watch::channel(None);
        let (tap, groups) = queue(config.queue, metrics.clone());
        let rejected = Arc::<AtomicU64>::default();
        let client = Client::new(config, stopping.clone(), Arc::clone(&rejected))?;
        let url = config.endpoint.join("v1/logs").map_err(|error| error.to_string())?;
        let mut exporter = LogExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url.as_str())
            .with_http_client(client)
            .with_retry_policy(RetryPolicy::disabled()) // the client's, which ends them at the stop
            .build()
            .map_err(|error| error.to_string())?;
        exporter.set_resource(&resource(config));
        let worker = Worker {
            exporter,
            logger: SdkLoggerProvider::builder().build().logger("portcullis.audit"),
            scope: InstrumentationScope::builder("portcullis.audit")
                .with_version(env!("CARGO_PKG_VERSION"))
                .with_schema_url(semconv::SCHEMA_URL)
                .build(),
            metrics,
            rejected,
            stop: stopping,
            is_failing: false,
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let (end, ended) = std_mpsc::channel();
        let run = move || {
            runtime.block_on(worker.run(groups));
            // A lookup of a name may still hang; it ends with the process.
            runtime.shutdown_background();
            drop(end);
        };
        std::thread::Builder::new().name("otlp".to_owned()).spawn(run).map_err(|error| error.to_string())?;
        Ok(Some((Self { stop, ended: Mutex::new(ended) }, tap)))
    }

    /// Sends what waits, `within` at most; what is left then is dropped and counted. Blocks: not for async code.
    pub fn stop(&self, within: Duration) {
        let first = self.stop.send_if_modified(|deadline| {
            let is_first = deadline.is_none();
            *deadline = deadline.or(Some(Instant::now() + within));
            is_first
        });
        if first {
            // The thread ends by dropping its end; a grace for the last counts.
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = ended.recv_timeout(within + Duration::from_millis(200));
        }
    }
}

struct Worker {
    exporter: LogExporter,
    logger: SdkLogger,
    scope: InstrumentationScope,
    metrics: OtlpMetrics,
    rejected: Arc<AtomicU64>,
    stop: watch::Receiver<Option<Instant>>,
    is_failing: bool,
}

impl Worker {
    async fn run(mut self, mut groups: Groups) {
        while let Some(first) = self.first(&mut groups).await {
            let gathered = self.gather(first, &mut groups).await;
            self.send(gathered).await;
            let deadline = *self.stop.borrow();
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
        }
        groups.close();
    }

    /// The first lines of a batch; `None` at the end.
    async fn first(&mut self, groups: &mut Groups) -> Option<Group> {
        if self.stop.borrow_and_update().is_none() {
            tokio::select! {
                group = groups.next() => return group,
                _ = self.stop.changed() => {}
            }
        }
        groups.next_now()
    }

    /// Enough lines for a batch, or those that come within [`LINGER`].
    async fn gather(&mut self, first: Group, groups: &mut Groups) -> Vec<Group> {
        let until = tokio::time::Instant::now() + LINGER;
        let mut count = first.len();
        let mut gathered = vec![first];
        while count < BATCH {
            let is_stopping = self.stop.borrow_and_update().is_some();
            let next = tokio::select! {
                biased;
                next = timeout_at(until, groups.next()), if !is_stopping => next.ok().flatten(),
                _ = self.stop.changed(), if !is_stopping => groups.next_now(),
                else => groups.next_now(),
            };
            let Some(next) = next else { break };
            count += next.len();
            gathered.push(next);
        }
        gathered
    }

    /// Sends the lines in batches. They hold their room in the queue until then.
    async fn send(&mut self, groups: Vec<Group>) {
        let observed = SystemTime::now();
        let mut batch = Vec::with_capacity(BATCH);
        for line in groups.iter().flat_map(Group::lines) {
            match Reading::parse(line) {
                Ok(line) => {
                    let mut record = self.logger.create_log_record();
                    record::fill(&mut record, &line, observed);
                    batch.push(record);
                }
                Err(_) => self.metrics.failed.inc(),
            }
            if batch.len() == BATCH {
                self.send_batch(&mut batch).await;
            }
        }
        if !batch.is_empty() {
            self.send_batch(&mut batch).await;
        }
    }

    async fn send_batch(&mut self, batch: &mut Vec<SdkLogRecord>) {
        let count = batch.len() as u64;
        let records: Vec<_> = batch.iter().map(|record| (record, &self.scope)).collect();
        self.rejected.store(0, Ordering::Relaxed);
        let sent = tokio::select! {
            sent = self.exporter.export(LogBatch::new(&records)) => sent.map_err(|error| error.to_string()),
            () = deadline(self.stop.clone()) => Err("no time was left at the stop".to_owned()),
        };
        batch.clear();
        let rejected = self.rejected.load(Ordering::Relaxed).min(count);
        match sent {
            Ok(()) => {
                self.metrics.sent.inc_by(count - rejected);
                self.metrics.failed.inc_by(rejected);
                self.told((rejected > 0).then_some("it took batches in part"));
            }
            Err(error) => {
                self.metrics.failed.inc_by(count);
                self.told(Some(&error));
            }
        }
    }

    /// Tells when trouble begins and when it is over.
    fn told(&mut self, trouble: Option<&str>) {
        match (trouble, self.is_failing) {
            (Some(error), false) => {
                tracing::warn!(
                    error,
                    "audit records do not reach the collector; they are in the audit log all the same"
                );
            }
            (None, true) => tracing::info!("audit records reach the collector again"),
            (Some(_), true) | (None, false) => {}
        }
        self.is_failing = trouble.is_some();
    }
}

/// Ready when the time after a stop is over.
async fn deadline(mut stop: watch::Receiver<Option<Instant>>) {
    loop {
        let deadline = *stop.borrow_and_update();
        if let Some(deadline) = deadline {
            return sleep_until(deadline.into()).await;
        }
        if stop.changed().await.is_err() {
            // Whoever could stop us is gone: there is no deadline.
            return std::future::pending().await;
        }
    }
}

fn resource(config: &OtlpConfig) -> Resource {
    // Not from /proc, of which a hardened service sees its own processes alone.
    let host = crate::audit::host();
    let own = [
        KeyValue::new(semconv::SERVICE_NAME, config.service_name.clone()),
        KeyValue::new(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
        KeyValue::new(semconv::SERVICE_INSTANCE_ID, uuid::Uuid::new_v4().to_string()),
    ];
    Resource::builder_empty()
        .with_attributes(own)
        .with_attribute(KeyValue::new(semconv::HOST_NAME, host))
        .with_attributes(config.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone())))
        .build()
}

#[cfg(test)]
mod tests;
