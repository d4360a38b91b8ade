use std::path::Path;

use clap::Parser;

use super::*;
use crate::audit::sample::{full, line, minimal, own_lines};
use crate::audit::{Event, Record};

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

/// What is shown of `text` with these options, and how many faults were found.
fn show(text: &str, options: &[&str]) -> (String, u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit-0-000000000001.jsonl.zst");
    std::fs::write(&path, zstd::encode_all(text.as_bytes(), 0).unwrap()).unwrap();
    let arguments = ["show", path.to_str().unwrap()].iter().chain(options).copied().collect::<Vec<_>>();
    show_path(&path, &arguments)
}

fn show_path(path: &Path, arguments: &[&str]) -> (String, u64) {
    let Line { arguments } = Line::try_parse_from(arguments).unwrap();
    let (table, totals) = (Table::default(), Totals::default());
    let mut show = Show { arguments: &arguments, output: Vec::new(), table, totals, faults: 0 };
    show.segment(path).unwrap();
    show.end().unwrap();
    (String::from_utf8(show.output).unwrap(), show.faults)
}

fn text(records: &[Record]) -> String {
    records.iter().flat_map(|record| [line(record).to_string(), "\n".to_owned()]).collect()
}

fn called(id: u8, subject: &str) -> [Record; 2] {
    let id = format!("pcl_{id:032x}");
    let begin = Record { request_id: id.clone(), subject: Some(subject.to_owned()), ..minimal(Event::Begin) };
    let end = Record { request_id: id, subject: Some(subject.to_owned()), ..full() };
    [begin, end]
}

#[test]
fn a_call_is_one_row_and_one_that_never_ended_is_told() {
    let [begin, end] = called(1, "alice");
    let [open, _] = called(2, "bob");
    let (shown, faults) = show(&text(&[begin, open, end, minimal(Event::Refused)]), &[]);
    assert_eq!(faults, 0);
    let rows: Vec<Vec<_>> = shown.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["TIME", "EVENT", "SUBJECT"]);
    let row = "2026-11-24T10:00:00.25Z end alice claude-opus-5-20261001 200 upstream_failed 420 50 $0.004250 1.875s";
    assert_eq!(rows[1].join(" "), row);
    assert_eq!(rows[2][1..3], ["refused", "-"]);
    assert_eq!(rows[3][1..4], ["never", "ended", "bob"]);
    assert_eq!(rows.len(), 4);
}

#[test]
fn filters_leave_what_is_asked_for() {
    let [begin, end] = called(1, "alice");
    let records = text(&[begin, end, minimal(Event::Refused), minimal(Event::Left), minimal(Event::Answered)]);
    for (options, events) in [
        (&["--subject", "alice"][..], &["begin", "end"][..]),
        (&["--subject", "nobody"], &[]),
        (&["--team", "red"], &["end"]),
        (&["--model", "claude-opus-*"], &["end"]),
        (&["--model", "claude-opus"], &[]),
        (&["--outcome", "denied"], &["refused"]),
        (&["--outcome", "denied", "--outcome", "allowed"], &["refused", "answered"]),
        (&["--reason", "client_left"], &["left"]),
        (&["--event", "begin"], &["begin"]),
        (&["--request-id", "pcl_00000000000000000000000000000001"], &["begin", "end"]),
        (&["--since", "2026-11-24", "--until", "2026-11-25T00:00:00Z", "--event", "end"], &["end"]),
        (&["--since", "2026-11-25"], &[]),
        (&["--until", "2026-11-24"], &[]),
    ] {
        let (shown, _) = show(&records, &[options, &["--format", "json"]].concat());
        let found: Vec<_> =
            shown.lines().map(|line| Reading::parse(line.as_bytes()).unwrap().event().to_owned()).collect();
        assert_eq!(found, events, "{options:?}");
    }
}

#[test]
fn json_is_the_lines_as_they_are_and_ocsf_events_of_requests() {
    let own: String = own_lines().iter().flat_map(|line| [line.to_string(), "\n".to_owned()]).collect();
    let text = own + &text(&[full()]);
    assert_eq!(show(&text, &["--format", "json"]).0, text);
    let (events, _) = show(&text, &["--format", "ocsf"]);
    let event: serde_json::Value = serde_json::from_str(events.trim_end()).unwrap();
    assert_eq!((&event["class_uid"], &event["metadata"]["log_provider"]), (&6003.into(), &"edge-1/0".into()));
}

#[test]
fn damaged_lines_are_told_and_the_rest_is_shown() {
    let [begin, end] = called(1, "alice");
    let records = format!("{}not json\n{}{{\"seq\":", text(&[begin]), text(&[end]));
    let (shown, faults) = show(&records, &[]);
    assert_eq!((shown.lines().count(), faults), (2, 2), "{shown}");
}

#[test]
fn totals_are_sums() {
    let [begin, end] = called(1, "alice");
    let [open, other] = called(2, "bob");
    let priceless = Record { cost_micro_usd: None, request_id: "pcl_x".to_owned(), ..other };
    let records = text(&[begin, end, open, priceless, minimal(Event::Refused)]);
    let (shown, _) = show(&records, &["--totals", "--format", "json"]);
    let totals: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        totals,
        serde_json::json!({
            "requests": 3,
            "outcomes": { "failed": 2, "denied": 1 },
            "reasons": { "upstream_failed": 2, "model_forbidden": 1 },
            "tokens": { "input": 200, "output": 100, "cache_write": 40, "cache_read": 600 },
            "cost_micro_usd": 4250,
            "answers_without_price": 1,
            "cost_micro_usd_by_subject": { "alice": 4250 },
            "cost_micro_usd_by_model": { "claude-opus-5-20261001": 4250 },
            "never_ended": 1,
            "not_joined": 0,
        })
    );
    let (shown, _) = show(&records, &["--totals"]);
    for expected in ["requests       3 (0 allowed, 1 denied, 2 failed)", "never ended    1", "$0.004250  alice"] {
        assert!(shown.contains(expected), "{shown}");
    }
}

#[test]
fn nothing_in_a_value_moves_the_cursor() {
    let evil = "a\u{1b}[2Jb\rc\u{202e}d\u{9b}1mé";
    let record = Record { subject: Some(evil.to_owned()), ..full() };
    for options in [&[][..], &["--totals"]] {
        let (output, _) = show(&text(std::slice::from_ref(&record)), options);
        assert!(!output.chars().any(|character| character.is_control() && character != '\n'), "{output:?}");
        assert!(output.contains("a\\u{1b}[2Jb\\u{d}c\\u{202e}d\\u{9b}1mé"), "{output}");
    }
}
