//! Audit records, as an auditor would read them.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use jsonschema::Validator;
use serde_json::Value;

use super::Sandbox;

/// Longest wait for a record: it is written when the request has ended, which a client cannot see.
const PATIENCE: Duration = Duration::from_secs(20);

/// The record of what became of each request, of all segments in an audit folder: neither `begin` lines nor what the log
/// says of itself.
pub fn records_of(directory: &Path) -> Vec<Value> {
    let is_outcome = |line: &Value| matches!(line["event"].as_str(), Some("end" | "refused" | "answered" | "left"));
    lines_of(directory).into_iter().filter(is_outcome).collect()
}

/// Every line of all segments in an audit folder, in their order.
pub fn lines_of(directory: &Path) -> Vec<Value> {
    let log = log_of(directory);
    // The last line may be in the middle of being written.
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The text of all segments in an audit folder, in their order.
pub fn log_of(directory: &Path) -> String {
    segments_of(directory).iter().map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect()
}

/// The segments in an audit folder, in their order.
pub fn segments_of(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_str().unwrap().starts_with("audit-")));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    paths
}

/// The records, each of which is as the published schema says.
pub fn held_to_schema(records: Vec<Value>) -> Vec<Value> {
    for record in &records {
        let faults: Vec<_> =
            SCHEMA.iter_errors(record).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(faults.is_empty(), "a record is not as docs/audit.schema.json says: {faults:#?}\n{record:#}");
    }
    records
}

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(include_str!("../../../docs/audit.schema.json")).unwrap();
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
});

impl Sandbox {
    /// All records that are written.
    pub fn records(&self) -> Vec<Value> {
        held_to_schema(records_of(&self.ready.audit_directory))
    }

    /// The record of the request with our id `request_id`.
    pub async fn record(&self, request_id: &str) -> Value {
        let records =
            self.records_when(|records| records.iter().any(|record| record["request_id"] == request_id)).await;
        let mut matching = records.into_iter().filter(|record| record["request_id"] == request_id);
        let record = matching.next().unwrap();
        assert!(matching.next().is_none(), "two records of {request_id}");
        record
    }

    /// The records once `enough` holds of them.
    pub async fn records_when(&self, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let records = records_of(&self.ready.audit_directory);
            if enough(&records) {
                return held_to_schema(records);
            }
            assert!(Instant::now() < deadline, "not the records that were waited for: {records:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline: files have no other sign
        }
    }
}
