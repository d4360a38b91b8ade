//! Audit records: each line of the log is one log record.

use std::time::{Duration, SystemTime};

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{Logger, LoggerProvider};
use opentelemetry_otlp::{LogExporter, Protocol, RetryPolicy, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, SdkLogRecord, SdkLogger, SdkLoggerProvider};

use super::queue::{Group, Tap, queue};
use super::worker::{BATCH, Line, Running, Signal, Words};
use super::{Origin, record, semconv};
use crate::audit::Reading;
use crate::config::OtlpConfig;
use crate::telemetry::OtlpMetrics;

const WORDS: Words = Words {
    trouble: "audit records do not reach the collector; they are in the audit log all the same",
    over: "audit records reach the collector again",
};

/// The export of audit records, on a thread of its own.
pub struct LogExport(Running);

/// The end that the writer of the audit log has.
pub struct LogTap(Tap<Vec<u8>>);

impl LogExport {
    /// Starts it; the tap is for the audit log's writer.
    ///
    /// # Errors
    /// When there can be no client or no thread.
    pub fn start(config: &OtlpConfig, origin: &Origin, metrics: OtlpMetrics) -> Result<(Self, LogTap), String> {
        let (stop, stopping) = Running::stop_signal();
        let (tap, groups) = queue(config.queue, metrics.clone());
        let (client, line) = super::connect(config, WORDS, metrics, stopping)?;
        let url = config.endpoint.join("v1/logs").map_err(|error| error.to_string())?;
        let mut exporter = LogExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url.as_str())
            .with_http_client(client)
            .with_retry_policy(RetryPolicy::disabled()) // the client's, which ends them at the stop
            .build()
            .map_err(|error| error.to_string())?;
        exporter.set_resource(&origin.resource);
        let signal = Logs {
            exporter,
            logger: SdkLoggerProvider::builder().build().logger("portcullis.audit"),
            scope: InstrumentationScope::builder("portcullis.audit")
                .with_version(env!("CARGO_PKG_VERSION"))
                .with_schema_url(semconv::SCHEMA_URL)
                .build(),
        };
        Ok((Self(Running::start("otlp", signal, line, groups, stop)?), LogTap(tap)))
    }

    /// Has it send what waits, `within` at most; what is left then is dropped and counted.
    pub fn ask_to_stop(&self, within: Duration) {
        self.0.ask_to_stop(within);
    }

    /// Waits for the end that was asked for. Blocks: not for async code.
    pub fn wait(&self) {
        self.0.wait();
    }
}

impl LogTap {
    /// Takes whole lines, each with its newline. What there is no room for is dropped and counted. Never blocks.
    pub fn offer(&self, lines: &[u8]) {
        let (room, room_bytes) = self.0.room();
        let (mut taken, mut count, mut end) = (0, 0, 0);
        for newline in memchr::memchr_iter(b'\n', lines) {
            end += 1;
            if end <= room && newline < room_bytes {
                (taken, count) = (newline + 1, end);
            }
        }
        if let Some(text) = lines.get(..taken).filter(|text| !text.is_empty()) {
            self.0.put(text.to_vec(), count, taken);
        }
        self.0.lost(end - count);
    }
}

/// The lines without their newlines.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

struct Logs {
    exporter: LogExporter,
    logger: SdkLogger,
    scope: InstrumentationScope,
}

impl Logs {
    async fn send_batch(&mut self, batch: &mut Vec<SdkLogRecord>, line: &mut Line) {
        let records: Vec<_> = batch.iter().map(|record| (record, &self.scope)).collect();
        line.sent(records.len(), self.exporter.export(LogBatch::new(&records))).await;
        batch.clear();
    }
}

impl Signal for Logs {
    type Content = Vec<u8>;

    async fn send(&mut self, groups: &[Group<Vec<u8>>], line: &mut Line) {
        let observed = SystemTime::now();
        let mut batch = Vec::with_capacity(BATCH);
        for text in groups.iter().flat_map(|group| lines(group.content())) {
            match Reading::parse(text) {
                Ok(reading) => {
                    let mut record = self.logger.create_log_record();
                    record::fill(&mut record, &reading, observed);
                    batch.push(record);
                }
                Err(_) => line.metrics.failed.inc(),
            }
            if batch.len() == BATCH {
                self.send_batch(&mut batch, line).await;
            }
        }
        if !batch.is_empty() {
            self.send_batch(&mut batch, line).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::MAX_WAITING;
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn what_there_is_no_room_for_is_counted_and_room_comes_back() {
        let metrics = Metrics::new().unwrap().otlp;
        let (tap, mut groups) = queue(20, metrics.clone());
        let tap = LogTap(tap);
        tap.offer(b"one\ntwo\nthree\n");
        assert_eq!((metrics.queued.get(), metrics.queued_bytes.get(), metrics.dropped.get()), (3, 14, 0));
        tap.offer(b"four\nfive\n"); // six bytes are left
        assert_eq!((metrics.queued.get(), metrics.dropped.get()), (4, 1));
        let group = groups.next_now().unwrap();
        assert_eq!(lines(group.content()).collect::<Vec<_>>(), [b"one".as_slice(), b"two", b"three"]);
        drop(group);
        assert_eq!((metrics.queued.get(), metrics.queued_bytes.get()), (1, 5));
        groups.close();
        assert_eq!((metrics.queued.get(), metrics.dropped.get()), (0, 2));
        tap.offer(b"late\n");
        assert_eq!((metrics.queued.get(), metrics.dropped.get()), (0, 3));
    }

    #[test]
    fn lines_are_bounded_in_number_too() {
        let metrics = Metrics::new().unwrap().otlp;
        let (tap, _groups) = queue(1 << 30, metrics.clone());
        LogTap(tap).offer(&b"x\n".repeat(MAX_WAITING + 5));
        assert_eq!((metrics.queued.get(), metrics.dropped.get()), (16_384, 5));
    }
}
