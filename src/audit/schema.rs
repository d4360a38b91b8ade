//! The published schema of the log, docs/audit.schema.json, against what is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::sample::{HEAD, full, line, minimal};
use super::{Closer, Decision, Event, Record};

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../docs/audit.schema.json")).unwrap());
static VALIDATOR: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::options().should_validate_formats(true).build(&SCHEMA).unwrap());

fn faults(line: &Value) -> Vec<String> {
    VALIDATOR.iter_errors(line).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Every name of a member in `value`, as `a.b`; of lists the elements' names.
fn names(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                // The names in `findings` are those of detectors.
                if path != "findings" {
                    names(value, &path, found);
                }
                found.insert(path);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| names(element, path, found)),
        _ => {}
    }
}

/// The same of a schema.
fn described(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(target) = schema["$ref"].as_str() {
        described(&SCHEMA["$defs"][target.strip_prefix("#/$defs/").unwrap()], path, found);
    }
    if let Some(properties) = schema["properties"].as_object() {
        assert_eq!(schema["additionalProperties"], false, "{path} is open");
        for (name, schema) in properties {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            described(schema, &path, found);
            found.insert(path);
        }
    }
    if schema["items"].is_object() {
        described(&schema["items"], path, found);
    }
}

#[test]
fn the_schema_and_the_record_have_the_same_members() {
    let (mut written, mut published) = (BTreeSet::new(), BTreeSet::new());
    names(&line(&full()), "", &mut written);
    described(&SCHEMA["$defs"]["request"], "", &mut published);
    assert_eq!(written, published);
}

#[test]
fn each_event_has_the_members_that_it_must_have_and_no_others() {
    for event in [Event::Begin, Event::End, Event::Refused, Event::Answered, Event::Left] {
        let good = line(&minimal(event));
        assert_eq!(faults(&good), Vec::<String>::new(), "{good}");
        let required = SCHEMA["$defs"]["request"]["required"].as_array().unwrap();
        for name in required.iter().map(|name| name.as_str().unwrap()) {
            let mut lacking = good.clone();
            lacking.as_object_mut().unwrap().remove(name);
            assert!(!faults(&lacking).is_empty(), "{event:?} without {name}");
        }
        let mut more = good.clone();
        more["password"] = "x".into();
        assert!(!faults(&more).is_empty());
    }
    assert_eq!(faults(&line(&full())), Vec::<String>::new());
    let begin = Record { status: Some(200), ..minimal(Event::Begin) };
    assert!(!faults(&line(&begin)).is_empty(), "a begin line has no outcome");
    let denied = Record { decision: Decision::Allowed, ..minimal(Event::Refused) };
    assert!(!faults(&line(&denied)).is_empty(), "what was refused was not allowed");
    let broken = Record { complete: false, ..minimal(Event::End) };
    assert!(!faults(&line(&broken)).is_empty(), "what did not complete has a reason");
}

#[test]
fn wrong_values_are_told() {
    for (name, value) in [
        ("version", json!(1)),
        ("time", json!("yesterday")),
        ("time", json!("2026-11-24T10:00:00+02:00")),
        ("client", json!("edge-1")),
        ("prev", json!("00")),
        ("reason", json!("because")),
        ("status", json!(42)),
        ("request_id", json!("req_1")),
        ("tools", json!(["a", "a"])),
        ("sha256", json!({ "request_received": "00" })),
        ("findings", json!({})),
        ("cost_micro_usd", json!(0.5)),
    ] {
        let mut wrong = line(&full());
        wrong[name] = value.clone();
        assert!(!faults(&wrong).is_empty(), "{name} {value}");
    }
}

#[test]
fn lines_of_the_log_itself_are_described() {
    for good in super::sample::own_lines() {
        assert_eq!(faults(&good), Vec::<String>::new(), "{good}");
        for name in good.as_object().unwrap().keys() {
            if name == "to" {
                continue; // a refusal has none
            }
            let mut lacking = good.clone();
            lacking.as_object_mut().unwrap().remove(name);
            assert!(!faults(&lacking).is_empty(), "{} without {name}", good["event"]);
        }
    }
    let unknown = json!({ "seq": 1, "prev": HEAD, "event": "other", "version": 2, "time": "2026-11-24T10:00:00Z" });
    assert!(!faults(&unknown).is_empty());
}

#[test]
fn every_reason_is_listed() {
    let listed: BTreeSet<_> = SCHEMA["$defs"]["request"]["properties"]["reason"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| reason.as_str().unwrap())
        .collect();
    let known: BTreeSet<_> = crate::denial::reasons().into_iter().chain(["client_left"]).collect();
    assert_eq!(listed, known);
}

proptest! {
    #[test]
    fn whatever_a_request_brings_its_record_fits(
        texts in proptest::collection::vec(any::<String>(), 6),
        numbers in proptest::array::uniform4(any::<u32>()),
        address in any::<std::net::IpAddr>(),
        seconds in 0..4_000_000_000_u64,
        closer in prop_oneof![Just(None), Just(Some(Closer::Client)), Just(Some(Closer::Upstream)), Just(Some(Closer::Proxy))],
        millis in 0.0..1e9_f64,
    ) {
        let [subject, team, path, model, tool, text] = texts.try_into().unwrap();
        let mut record = Record {
            subject: Some(subject),
            teams: vec![team],
            path,
            models: vec![model],
            tools: vec![tool],
            prompt: Some(text.clone()),
            detail: Some(text),
            client: Some(address),
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            max_tokens: Some(numbers[0].into()),
            cost_micro_usd: Some(numbers[1].into()),
            request_bytes: numbers[2].into(),
            findings: BTreeMap::from([("email", u64::from(numbers[3]) + 1)]),
            closed_by: closer,
            ..full()
        };
        record.timings.total_ms = Some(millis);
        prop_assert_eq!(faults(&line(&record)), Vec::<String>::new());
    }
}
