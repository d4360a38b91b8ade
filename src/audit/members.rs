//! Writes a record's JSON member by member, on the way of every request: keys as they stand in the program, texts in one
//! copy where nothing in them needs an escape. What comes out is what serde writes, to the byte; a test holds the two
//! together.

use std::io::Write;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::record::{Digests, LimitLeft, Record, Timings};

/// A member's key, with the comma before it and the colon behind.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}

impl Record {
    /// Appends the record as a JSON object, on one line.
    ///
    /// # Errors
    /// A time beyond the year 9999, which RFC 3339 cannot tell.
    pub fn append_to(&self, json: &mut Vec<u8>) -> std::io::Result<()> {
        json.extend_from_slice(b"{\"event\":\"");
        json.extend_from_slice(self.event.name().as_bytes());
        json.push(b'"');
        let mut members = Members(json);
        members.number(key!("version"), self.version.into());
        members.time(key!("time"), self.time.into())?;
        members.text(key!("request_id"), &self.request_id);
        members.some_text(key!("trace_id"), self.trace_id.as_deref());
        members.key(key!("client"));
        match self.client {
            Some(client) => write!(members.0, "\"{client}\"")?,
            None => members.0.extend_from_slice(b"null"),
        }
        members.some_text(key!("issuer"), self.issuer.as_deref());
        members.some_text(key!("subject"), self.subject.as_deref());
        members.some_text(key!("token_id"), self.token_id.as_deref());
        members.texts(key!("teams"), &self.teams);
        members.some_text(key!("certificate"), self.certificate.as_deref());
        members.some_text(key!("session_id"), self.session_id.as_deref());
        members.some_text(key!("agent_id"), self.agent_id.as_deref());
        members.some_text(key!("parent_agent_id"), self.parent_agent_id.as_deref());
        members.text(key!("method"), &self.method);
        members.text(key!("path"), &self.path);
        members.some_text(key!("endpoint"), self.endpoint);
        members.texts(key!("models"), &self.models);
        members.some_text(key!("answered_by"), self.answered_by.as_deref());
        members.flag(key!("stream"), self.stream);
        members.some_number(key!("max_tokens"), self.max_tokens);
        members.texts(key!("tools"), &self.tools);
        members.some_text(key!("prompt_hash"), self.prompt_hash.as_deref());
        members.some_text(key!("response_hash"), self.response_hash.as_deref());
        if !self.findings.is_empty() {
            members.value(key!("findings"), &self.findings)?;
        }
        members.some_text(key!("prompt"), self.prompt.as_deref());
        members.some_text(key!("response"), self.response.as_deref());
        members.text(key!("decision"), self.decision.name());
        members.some_text(key!("rule"), self.rule.as_deref());
        members.some_text(key!("reason"), self.reason);
        members.some_text(key!("detail"), self.detail.as_deref());
        members.limits(&self.limits);
        members.some_text(key!("key"), self.key.as_deref());
        members.some_number(key!("attempts"), self.attempts.map(|attempts| attempts as u64));
        members.some_text(key!("upstream"), self.upstream.as_deref());
        members.some_text(key!("upstream_request_id"), self.upstream_request_id.as_deref());
        members.some_number(key!("status"), self.status.map(u64::from));
        members.flag(key!("complete"), self.complete);
        members.some_text(key!("error_type"), self.error_type.as_deref());
        members.some_text(key!("stop_reason"), self.stop_reason.as_deref());
        if let Some(usage) = &self.usage {
            members.value(key!("usage"), usage)?;
        }
        members.some_number(key!("cost_micro_usd"), self.cost_micro_usd);
        members.some_number(key!("partial_deltas"), self.partial_deltas);
        members.number(key!("request_bytes"), self.request_bytes);
        members.number(key!("response_bytes"), self.response_bytes);
        members.digests(&self.sha256);
        members.some_text(key!("closed_by"), self.closed_by.map(super::record::Closer::name));
        members.timings(&self.timings)?;
        json.push(b'}');
        Ok(())
    }
}

/// The members of an object that has one already.
struct Members<'j>(&'j mut Vec<u8>);

impl Members<'_> {
    fn key(&mut self, key: &[u8]) {
        self.0.extend_from_slice(key);
    }

    fn text(&mut self, key: &[u8], text: &str) {
        self.key(key);
        append_text(text, self.0);
    }

    fn some_text(&mut self, key: &[u8], text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    fn texts(&mut self, key: &[u8], texts: &[String]) {
        if texts.is_empty() {
            return;
        }
        self.key(key);
        let mut before = b'[';
        for text in texts {
            self.0.push(before);
            append_text(text, self.0);
            before = b',';
        }
        self.0.push(b']');
    }

    fn number(&mut self, key: &[u8], number: u64) {
        self.key(key);
        self.0.extend_from_slice(super::line::itoa(number, &mut [0; 20]));
    }

    fn some_number(&mut self, key: &[u8], number: Option<u64>) {
        if let Some(number) = number {
            self.number(key, number);
        }
    }

    fn flag(&mut self, key: &[u8], flag: bool) {
        self.key(key);
        self.0.extend_from_slice(if flag { b"true" } else { b"false" });
    }

    fn time(&mut self, key: &[u8], time: OffsetDateTime) -> std::io::Result<()> {
        self.key(key);
        self.0.push(b'"');
        time.format_into(self.0, &Rfc3339).map_err(std::io::Error::other)?;
        self.0.push(b'"');
        Ok(())
    }

    /// What is rare, or has a layout of its own.
    fn value(&mut self, key: &[u8], value: &impl Serialize) -> std::io::Result<()> {
        self.key(key);
        Ok(serde_json::to_writer(&mut *self.0, value)?)
    }

    /// An object of members that may all be absent: the first has no comma.
    fn object(&mut self, key: &[u8], members: impl FnOnce(&mut Self) -> std::io::Result<()>) -> std::io::Result<()> {
        self.key(key);
        self.0.push(b'{');
        let start = self.0.len();
        members(self)?;
        if self.0.len() > start {
            self.0.remove(start);
        }
        self.0.push(b'}');
        Ok(())
    }

    fn limits(&mut self, limits: &[LimitLeft]) {
        if limits.is_empty() {
            return;
        }
        self.key(key!("limits"));
        let mut before = b'[';
        for limit in limits {
            self.0.push(before);
            self.0.extend_from_slice(b"{\"name\":");
            append_text(&limit.name, self.0);
            self.text(key!("measure"), limit.measure);
            self.number(key!("remaining"), limit.remaining);
            self.0.push(b'}');
            before = b',';
        }
        self.0.push(b']');
    }

    fn digests(&mut self, digests: &Digests) {
        let Digests { request_received, request_sent, response_received, response_sent } = digests;
        let written = self.object(key!("sha256"), |members| {
            members.some_text(key!("request_received"), request_received.as_deref());
            members.some_text(key!("request_sent"), request_sent.as_deref());
            members.some_text(key!("response_received"), response_received.as_deref());
            members.some_text(key!("response_sent"), response_sent.as_deref());
            Ok(())
        });
        debug_assert!(written.is_ok(), "texts can be written");
    }

    fn timings(&mut self, timings: &Timings) -> std::io::Result<()> {
        let &Timings { decided_ms, recorded_ms, connected_ms, first_byte_ms, first_token_ms, total_ms } = timings;
        self.object(key!("timings"), |members| {
            for (key, time) in [
                (key!("decided_ms"), decided_ms),
                (key!("recorded_ms"), recorded_ms),
                (key!("connected_ms"), connected_ms),
                (key!("first_byte_ms"), first_byte_ms),
                (key!("first_token_ms"), first_token_ms),
                (key!("total_ms"), total_ms),
            ] {
                if let Some(time) = time {
                    members.value(key, &time)?;
                }
            }
            Ok(())
        })
    }
}

/// Appends a JSON string.
fn append_text(text: &str, json: &mut Vec<u8>) {
    // Counted to the end, and not only to the first: the loop is one over vectors this way.
    let escapes = text.bytes().filter(|&byte| byte < b' ' || byte == b'"' || byte == b'\\').count();
    if escapes == 0 {
        json.reserve(text.len() + 2);
        json.push(b'"');
        json.extend_from_slice(text.as_bytes());
        json.push(b'"');
    } else {
        let written = serde_json::to_writer(json, text);
        debug_assert!(written.is_ok(), "a text can be written to memory");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sample;
    use super::*;
    use crate::audit::Event;

    /// What serde writes, and what is written here.
    fn both(record: &Record) -> (String, String) {
        let mut json = Vec::new();
        record.append_to(&mut json).unwrap();
        (serde_json::to_string(record).unwrap(), String::from_utf8(json).unwrap())
    }

    #[test]
    fn a_record_is_written_as_serde_writes_it() {
        let mut records = vec![sample::full(), Record::new(String::new(), std::time::SystemTime::UNIX_EPOCH)];
        records.extend([Event::Begin, Event::End, Event::Refused, Event::Answered, Event::Left].map(sample::minimal));
        for record in records {
            let (serde, ours) = both(&record);
            assert_eq!(ours, serde);
        }
    }

    proptest! {
        #[test]
        fn so_is_any_text(text in any::<String>(), texts in proptest::collection::vec(".*", 0..4)) {
            let mut record = sample::minimal(Event::Begin);
            record.detail = Some(text.clone());
            record.request_id = text;
            record.tools = texts;
            let (serde, ours) = both(&record);
            prop_assert_eq!(ours, serde);
        }

        #[test]
        fn so_is_any_number(tokens in any::<u64>(), time in any::<f64>(), bytes in any::<u64>()) {
            let mut record = sample::minimal(Event::End);
            record.max_tokens = Some(tokens);
            record.timings.total_ms = Some(time);
            record.request_bytes = bytes;
            let (serde, ours) = both(&record);
            prop_assert_eq!(ours, serde);
        }
    }
}
