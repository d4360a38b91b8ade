//! Audit records, as an auditor would read them.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use jsonschema::Validator;
use serde_json::Value;

use super::Sandbox;

/// Longest wait for a record: it is written when the request has ended, which a client cannot see.
const PATIENCE: Duration = Duration::from_secs(20);

/// All records in an audit folder.
pub fn records_of(directory: &Path) -> Vec<Value> {
    let log = std::fs::read_to_string(directory.join("audit.jsonl")).unwrap_or_default();
    // The last line may be in the middle of being written.
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(record_of).collect()
}

/// A line of the log, which is as the published schema says.
pub fn record_of(line: &str) -> Value {
    let record: Value = serde_json::from_str(line).unwrap();
    // Polls read the same lines again and again.
    if !SEEN.lock().unwrap().insert(line.to_owned()) {
        return record;
    }
    let faults: Vec<_> =
        SCHEMA.iter_errors(&record).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(faults.is_empty(), "a record is not as docs/audit.schema.json says: {faults:#?}\n{record:#}");
    record
}

static SEEN: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(include_str!("../../../docs/audit.schema.json")).unwrap();
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
});

impl Sandbox {
    /// All records that are written.
    pub fn records(&self) -> Vec<Value> {
        records_of(&self.ready.audit_directory)
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
            let records = self.records();
            if enough(&records) {
                return records;
            }
            assert!(Instant::now() < deadline, "not the records that were waited for: {records:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline: files have no other sign
        }
    }
}
