//! Spans: of each request that is sampled one of the request and one of each attempt upstream.

use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::trace::SpanExporter as _;

use super::queue::{Group, Tap, queue};
use super::worker::{BATCH, Line, Running, Signal, Words};
use super::{Origin, semconv, span};
use crate::config::OtlpConfig;
use crate::telemetry::OtlpMetrics;
use crate::telemetry::trace::Ended;

const WORDS: Words = Words { trouble: "spans do not reach the collector", over: "spans reach the collector again" };

/// The export of spans, on a thread of its own.
pub struct SpanExport(Running);

/// The end that requests have.
pub struct SpanTap(Tap<Box<Ended>>);

impl SpanExport {
    /// Starts it; the tap is for the tracer.
    ///
    /// # Errors
    /// When there can be no client or no thread.
    pub fn start(config: &OtlpConfig, origin: &Origin, metrics: OtlpMetrics) -> Result<(Self, SpanTap), String> {
        let (stop, stopping) = Running::stop_signal();
        let (tap, groups) = queue(config.queue, metrics.clone());
        let (client, line) = super::connect(config, WORDS, metrics, stopping)?;
        let url = config.endpoint.join("v1/traces").map_err(|error| error.to_string())?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url.as_str())
            .with_http_client(client)
            .with_retry_policy(RetryPolicy::disabled()) // the client's, which ends them at the stop
            .build()
            .map_err(|error| error.to_string())?;
        exporter.set_resource(&origin.resource);
        let scope = InstrumentationScope::builder("portcullis")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(semconv::SCHEMA_URL)
            .build();
        let running = Running::start("otlp spans", Traces { exporter, scope }, line, groups, stop)?;
        Ok((Self(running), SpanTap(tap)))
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

impl SpanTap {
    /// Takes a request that has ended. One that there is no room for is dropped, and its spans are counted. Never blocks.
    pub fn offer(&self, ended: Ended) {
        let (count, bytes) = (ended.spans(), ended.bytes());
        let (room, room_bytes) = self.0.room();
        if count > room || bytes > room_bytes {
            return self.0.lost(count);
        }
        self.0.put(Box::new(ended), count, bytes);
    }
}

struct Traces {
    exporter: SpanExporter,
    scope: InstrumentationScope,
}

impl Signal for Traces {
    type Content = Box<Ended>;

    async fn send(&mut self, groups: &[Group<Box<Ended>>], line: &mut Line) {
        let mut batch = Vec::with_capacity(BATCH);
        for group in groups {
            span::of(group.content(), &self.scope, &mut batch);
            if batch.len() >= BATCH {
                line.sent(batch.len(), self.exporter.export(std::mem::take(&mut batch))).await;
            }
        }
        if !batch.is_empty() {
            line.sent(batch.len(), self.exporter.export(batch)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::MAX_WAITING;
    use super::*;
    use crate::telemetry::Metrics;
    use crate::telemetry::trace::sample;

    #[test]
    fn spans_are_bounded_in_bytes_and_in_number() {
        let metrics = Metrics::new().unwrap().otlp_spans;
        let bytes = sample::ended(1).bytes();
        let (tap, mut groups) = queue(bytes * 2, metrics.clone());
        let tap = SpanTap(tap);
        (0..3).for_each(|_| tap.offer(sample::ended(1)));
        assert_eq!((metrics.queued.get(), metrics.dropped.get()), (4, 2), "of each two spans");
        assert_eq!(metrics.queued_bytes.get(), i64::try_from(bytes * 2).unwrap());
        drop(groups.next_now());
        tap.offer(sample::ended(1));
        assert_eq!((metrics.queued.get(), metrics.dropped.get()), (4, 2));

        let (tap, _groups) = queue(usize::MAX, Metrics::new().unwrap().otlp_spans);
        let tap = SpanTap(tap);
        (0..=MAX_WAITING / 2).for_each(|_| tap.offer(sample::ended(1)));
        assert_eq!(tap.0.room().0, 0);
    }
}
