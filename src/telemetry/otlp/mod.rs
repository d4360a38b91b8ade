//! Sends audit records and spans to a collector, by OTLP over HTTP: each line of the audit log is one log record, each
//! request that is sampled a few spans.
//!
//! What is sent is a copy for those who watch; of records the log on disk is the truth. It never slows the log's writer or
//! a request, what it loses it counts, and it tells of trouble once and not for every batch.

mod client;
mod logs;
mod queue;
mod record;
mod semconv;
mod span;
mod traces;
mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

use self::client::Client;
pub use self::logs::{LogExport, LogTap};
pub use self::traces::{SpanExport, SpanTap};
use self::worker::{Line, Stopping, Words};
use super::OtlpMetrics;
use crate::config::OtlpConfig;

/// Whose records and spans these are.
pub struct Origin {
    resource: Resource,
}

impl Origin {
    /// This process, as the configuration describes it.
    pub fn of(config: &OtlpConfig) -> Self {
        // Not from /proc, of which a hardened service sees its own processes alone.
        let host = crate::audit::host();
        let own = [
            KeyValue::new(semconv::SERVICE_NAME, config.service_name.clone()),
            KeyValue::new(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
            KeyValue::new(semconv::SERVICE_INSTANCE_ID, uuid::Uuid::new_v4().to_string()),
        ];
        let resource = Resource::builder_empty()
            .with_attributes(own)
            .with_attribute(KeyValue::new(semconv::HOST_NAME, host))
            .with_attributes(config.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone())))
            .build();
        Self { resource }
    }
}

/// A client for the collector, and what counts the batches.
fn connect(config: &OtlpConfig, words: Words, metrics: OtlpMetrics, stop: Stopping) -> Result<(Client, Line), String> {
    let rejected = Arc::<AtomicU64>::default();
    let client = Client::new(config, stop.clone(), Arc::clone(&rejected))?;
    Ok((client, Line { words, metrics, rejected, stop, is_failing: false }))
}

#[cfg(test)]
mod tests;
