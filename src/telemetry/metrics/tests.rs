//! The whole text, held against Prometheus's conventions and against docs/metrics.md.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::telemetry::metrics::register::Family as Described;

const PAGE: &str = include_str!("../../../docs/metrics.md");

fn described() -> Vec<Described> {
    Metrics::new().unwrap().catalogue.families()
}

#[test]
fn every_metric_registers_and_shows() {
    let metrics = Metrics::new().unwrap();
    metrics.denied(&Denial::CredentialMissing);
    metrics.used(Family::Opus, &Usage { input_tokens: Some(7), ..Usage::default() }, Some(0.25));
    metrics.used(Family::Other, &Usage { cache_read_input_tokens: Some(3), ..Usage::default() }, None);
    metrics.caller("okta", "alice", &["research".to_owned(), "ops".to_owned()], 0.5);
    metrics.connected(false, Duration::from_millis(3));
    metrics.connected(true, Duration::ZERO);
    metrics.state.jwks_fetch_failures.with_label_values(&["okta"]).set(2);
    let stream = metrics.stream();
    let text = || String::from_utf8(metrics.text()).unwrap();
    for line in [
        "portcullis_denied_total{reason=\"credential_missing\"} 1",
        "portcullis_denied_total{reason=\"audit_unavailable\"} 0",
        "portcullis_tokens_total{kind=\"input\",model_family=\"opus\"} 7",
        "portcullis_tokens_total{kind=\"cache_read\",model_family=\"other\"} 3",
        "portcullis_cost_usd_total{model_family=\"opus\"} 0.25",
        "portcullis_subject_cost_usd_total{issuer=\"okta\",subject=\"alice\"} 0.5",
        "portcullis_team_requests_total{issuer=\"okta\",team=\"ops\"} 1",
        "portcullis_team_requests_total{issuer=\"\",team=\"other\"} 0",
        "portcullis_upstream_connections_total{kind=\"opened\"} 1",
        "portcullis_upstream_connections_total{kind=\"reused\"} 1",
        "portcullis_upstream_connect_seconds_count 1",
        "# TYPE portcullis_jwks_fetch_failures_total counter",
        "portcullis_jwks_fetch_failures_total{issuer=\"okta\"} 2",
        "portcullis_streams_in_flight 1",
        "portcullis_requests_in_flight 0",
    ] {
        assert!(text().contains(line), "{line}\n{}", text());
    }
    assert!(!text().contains("portcullis_store_up"), "there is no store");
    drop(stream);
    assert!(text().contains("portcullis_streams_in_flight 0"));
}

#[test]
fn names_and_units_are_prometheus() {
    let metrics = Metrics::new().unwrap();
    let text = String::from_utf8(metrics.text()).unwrap();
    let types: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for Described { name, help, labels } in metrics.catalogue.families() {
        assert!(name.starts_with("portcullis_") || name.starts_with("process_"), "{name}");
        assert!(help.len() > 10 && !help.ends_with('.'), "{name}: {help}");
        let words = || name.split('_');
        for unit in ["ms", "milliseconds", "minutes", "hours", "kilobytes", "percent", "count", "sum", "bucket"] {
            assert!(words().all(|word| word != unit), "{name}: {unit} is no base unit, or taken");
        }
        // A word of a unit stands at the end, before `_total` and after `_timestamp`.
        let without_total = name.strip_suffix("_total").unwrap_or(&name);
        for unit in ["seconds", "bytes", "usd"] {
            let inside = words().any(|word| word == unit);
            assert!(!inside || without_total.ends_with(unit), "{name}: {unit} is no suffix");
        }
        if let Some(kind) = types.get(name.as_str()) {
            assert_eq!(name.ends_with("_total"), *kind == "counter", "{name} is a {kind}");
            assert!(*kind != "histogram" || name.ends_with("_seconds"), "{name}");
        }
        for label in &labels {
            assert!(!["path", "user", "request_id", "prompt", "address_client", "token"].contains(&label.as_str()));
        }
    }
}

/// Every metric is in docs/metrics.md with its labels, and nothing else is.
#[test]
fn the_page_describes_every_metric_and_no_other() {
    let mut page = BTreeMap::new();
    for row in PAGE.lines().filter(|line| line.starts_with("| `")) {
        let names = row.split('|').nth(1).unwrap();
        for name in names.split('`').skip(1).step_by(2).filter(|name| is_metric(name)) {
            let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
            let labels: BTreeSet<&str> = labels.trim_end_matches('}').split(',').filter(|l| !l.is_empty()).collect();
            assert!(page.insert(name, labels).is_none(), "{name} twice");
        }
    }
    let families = described();
    let made: BTreeMap<&str, BTreeSet<&str>> = families
        .iter()
        .map(|family| (family.name.as_str(), family.labels.iter().map(String::as_str).collect()))
        .collect();
    for (name, labels) in &made {
        assert_eq!(page.get(name), Some(labels), "{name} as docs/metrics.md has it");
    }
    let only_there: Vec<_> = page.keys().filter(|name| !made.contains_key(*name)).collect();
    assert!(only_there.is_empty(), "no such metric: {only_there:?}");
}

fn is_metric(name: &str) -> bool {
    name.starts_with("portcullis_") || name.starts_with("process_")
}
