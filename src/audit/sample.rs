//! Records for tests: what each event has at least, and one that has everything.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Closer, Decision, Digests, Event, LimitLeft, Record, Timings, VERSION};
use crate::claude::{CacheCreation, Iteration, OutputDetails, ServerToolUse, Usage};

/// A hash.
pub(crate) const HEAD: &str = "00000000000000000000000000000000000000000000000000000000000000ff";

/// The record's line, parsed.
pub(crate) fn line(record: &Record) -> Value {
    let mut line = json!({ "seq": 7, "prev": HEAD });
    let Value::Object(members) = serde_json::to_value(record).unwrap() else { unreachable!() };
    line.as_object_mut().unwrap().extend(members);
    line
}

/// What a record of `event` has at least.
pub(crate) fn minimal(event: Event) -> Record {
    let (decision, reason) = match event {
        Event::Begin | Event::End => (Decision::Allowed, None),
        Event::Refused => (Decision::Denied, Some("model_forbidden")),
        Event::Answered => (Decision::Answered, None),
        Event::Left => (Decision::Undecided, Some("client_left")),
    };
    let permitted = decision == Decision::Allowed;
    Record {
        event,
        version: VERSION,
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_514_400_250),
        request_id: "pcl_0199c0ffee00700080000000000000aa".to_owned(),
        trace_id: None,
        client: Some(Ipv4Addr::new(10, 1, 2, 3).into()),
        issuer: permitted.then(|| "okta".to_owned()),
        subject: permitted.then(|| "alice".to_owned()),
        token_id: None,
        teams: Vec::new(),
        certificate: None,
        session_id: None,
        agent_id: None,
        parent_agent_id: None,
        method: "POST".to_owned(),
        path: "/v1/messages".to_owned(),
        endpoint: None,
        models: Vec::new(),
        answered_by: None,
        stream: false,
        max_tokens: None,
        tools: Vec::new(),
        prompt_hash: None,
        response_hash: None,
        findings: BTreeMap::new(),
        prompt: None,
        response: None,
        decision,
        rule: permitted.then(|| "claude:opus".to_owned()),
        reason,
        detail: (event == Event::Refused).then(|| "no grant of the caller covers the model".to_owned()),
        limits: Vec::new(),
        key: None,
        attempts: None,
        upstream: None,
        upstream_request_id: None,
        status: None,
        complete: matches!(event, Event::End | Event::Answered),
        error_type: None,
        stop_reason: None,
        usage: None,
        cost_micro_usd: None,
        partial_deltas: None,
        request_bytes: 120,
        response_bytes: 0,
        sha256: Digests::default(),
        closed_by: None,
        timings: Timings { total_ms: Some(1.25), ..Timings::default() },
    }
}

/// A record that has every member.
pub(crate) fn full() -> Record {
    let digest = || Some(HEAD.to_owned());
    let text = |text: &str| Some(text.to_owned());
    Record {
        trace_id: text("4bf92f3577b34da6a3ce929d0e0e4736"),
        token_id: text("jti-1"),
        teams: vec!["red".to_owned()],
        certificate: digest(),
        session_id: text("session-1"),
        agent_id: text("agent-2"),
        parent_agent_id: text("agent-1"),
        endpoint: Some("messages"),
        models: vec!["claude-opus-5".to_owned()],
        answered_by: text("claude-opus-5-20261001"),
        stream: true,
        max_tokens: Some(1024),
        tools: vec!["web_search".to_owned(), "bash".to_owned()],
        prompt_hash: text("0123456789abcdef0123456789abcdef"),
        response_hash: text("fedcba9876543210fedcba9876543210"),
        findings: BTreeMap::from([("email", 2)]),
        prompt: text("Write to [EMAIL:7f3a]"),
        response: text("Done"),
        reason: Some("upstream_failed"),
        detail: text("the upstream failed: reset"),
        limits: vec![LimitLeft { name: "daily".to_owned(), measure: "cost_usd", remaining: 12_500_000 }],
        key: text("prod-2026-11"),
        attempts: Some(2),
        upstream: text("10.9.8.7:443"),
        upstream_request_id: text("req_011"),
        status: Some(200),
        complete: false,
        error_type: text("overloaded_error"),
        stop_reason: text("end_turn"),
        usage: Some(usage()),
        cost_micro_usd: Some(4_250),
        partial_deltas: Some(3),
        response_bytes: 4096,
        sha256: Digests {
            request_received: digest(),
            request_sent: digest(),
            response_received: digest(),
            response_sent: digest(),
        },
        closed_by: Some(Closer::Upstream),
        timings: Timings {
            decided_ms: Some(0.25),
            recorded_ms: Some(0.75),
            connected_ms: Some(1.0),
            first_byte_ms: Some(210.0),
            first_token_ms: Some(250.5),
            total_ms: Some(1875.5),
        },
        ..minimal(Event::End)
    }
}

fn usage() -> Usage {
    let tokens = Some(1);
    Usage {
        input_tokens: Some(100),
        output_tokens: Some(50),
        cache_creation_input_tokens: Some(20),
        cache_read_input_tokens: Some(300),
        cache_creation: Some(CacheCreation { ephemeral_5m_input_tokens: Some(20), ephemeral_1h_input_tokens: tokens }),
        server_tool_use: Some(ServerToolUse { web_search_requests: tokens, web_fetch_requests: tokens }),
        output_tokens_details: Some(OutputDetails { thinking_tokens: tokens }),
        service_tier: Some("standard".to_owned()),
        speed: Some("standard".to_owned()),
        inference_geo: Some("us".to_owned()),
        iterations: Some(vec![Iteration {
            kind: Some("message".to_owned()),
            model: Some("claude-opus-5".to_owned()),
            input_tokens: tokens,
            output_tokens: tokens,
            cache_creation_input_tokens: tokens,
            cache_read_input_tokens: tokens,
        }]),
    }
}

/// A line of each event of the log itself.
pub(crate) fn own_lines() -> [Value; 7] {
    let time = "2026-11-24T10:00:00.5Z";
    [
        json!({ "seq": 1, "prev": HEAD, "event": "started", "version": VERSION, "time": time, "program": "0.1.0", "pid": 42,
            "log": "edge-1/0", "key": "c0ffee", "configuration": HEAD, "found": { "torn_bytes": 12, "torn_sha256": HEAD },
            "heads": [{ "chain": 1, "seq": 4, "hash": HEAD }] }),
        json!({ "seq": 6, "prev": HEAD, "event": "configured", "version": VERSION, "time": time, "configuration": HEAD,
            "changed": ["grant", "upstream"] }),
        json!({ "seq": 9, "prev": HEAD, "event": "stopped", "version": VERSION, "time": time }),
        json!({ "seq": 5, "prev": HEAD, "event": "gap", "version": VERSION, "time": time, "from": time, "to": time,
            "refused": 3, "lost": 0 }),
        json!({ "seq": 6, "prev": HEAD, "event": "contained", "version": VERSION, "time": time, "containment": "0199c0ff",
            "rule": "slow down", "mode": "enforce", "signal": "requests", "score": 1.5, "kind": "subject", "issuer": "okta",
            "name": "alice", "action": "refuse", "since": time, "until": time }),
        json!({ "seq": 7, "prev": HEAD, "event": "released", "version": VERSION, "time": time, "containment": "0199c0ff",
            "rule": "slow down", "mode": "observe", "signal": "many_addresses", "score": 1.5, "kind": "team", "issuer": "okta",
            "name": "red", "action": "throttle", "to": "6/min", "since": time, "until": time, "cause": "lifted" }),
        json!({ "seq": 8, "prev": HEAD, "event": "checkpoint", "version": VERSION, "size": 7, "root": HEAD, "previous": null,
            "closes": true, "log": "edge-1/0", "key": "c0ffee", "public_key": HEAD, "time": time,
            "signature": HEAD.repeat(2) }),
    ]
}
