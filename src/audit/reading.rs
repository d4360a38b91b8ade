//! A line of the log as readers see it: members by their names, whatever version wrote them.

use std::net::SocketAddr;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A parsed line. A member that is missing or of another type is `None`.
#[derive(Debug, Clone)]
pub struct Reading {
    members: Map<String, Value>,
    hash: [u8; 32],
}

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum RequestOutcome {
    /// It was let through, or answered here, and came to its end without an error.
    Allowed,
    /// It was refused here.
    Denied,
    /// It was let through and ended early or with an error, or its client left before there was a decision.
    Failed,
}

impl Reading {
    /// Parses a line, without its newline.
    ///
    /// # Errors
    /// When it is no JSON object with an `event`.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let members: Map<String, Value> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if !members.get("event").is_some_and(Value::is_string) {
            return Err("it has no event".to_owned());
        }
        Ok(Self { members, hash: Sha256::new().chain_update([0]).chain_update(line).finalize().into() })
    }

    /// The member `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// Text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.as_u64()
    }

    /// `true` or `false`; `false` when it is missing.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A list's texts.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// A count of `usage`.
    pub fn usage(&self, name: &str) -> Option<u64> {
        self.get("usage")?.get(name)?.as_u64()
    }

    /// All input tokens: the API's own `input_tokens` leaves out those of the prompt cache.
    pub fn all_input_tokens(&self) -> Option<u64> {
        let counts = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];
        counts.into_iter().filter_map(|name| self.usage(name)).reduce(u64::saturating_add)
    }

    /// One of `timings`, in milliseconds.
    pub fn timing(&self, name: &str) -> Option<f64> {
        self.get("timings")?.get(name)?.as_f64()
    }

    /// What the line tells.
    pub fn event(&self) -> &str {
        self.text("event").unwrap_or_default()
    }

    /// Whether it tells of a request, and not of the log itself.
    pub fn is_request(&self) -> bool {
        matches!(self.event(), "begin" | "end" | "refused" | "answered" | "left")
    }

    /// When the request arrived, or the line was made.
    pub fn time(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(self.text("time")?, &Rfc3339).ok()
    }

    /// The upstream's address.
    pub fn upstream(&self) -> Option<SocketAddr> {
        self.text("upstream")?.parse().ok()
    }

    /// The model that answered, else the first that was asked for.
    pub fn model(&self) -> Option<&str> {
        self.text("answered_by").or_else(|| self.texts("models").next())
    }

    /// What the request came to; `None` of a line that does not end one.
    pub fn outcome(&self) -> Option<RequestOutcome> {
        match self.event() {
            "refused" => Some(RequestOutcome::Denied),
            "left" => Some(RequestOutcome::Failed),
            "end" | "answered" => {
                let is_error = self.number("status").is_some_and(|status| status >= 400);
                let is_well = self.flag("complete") && !is_error && self.text("error_type").is_none();
                Some(if is_well { RequestOutcome::Allowed } else { RequestOutcome::Failed })
            }
            _ => None,
        }
    }

    /// The line's hash, which the next line has as its `prev`: lower-case hex.
    pub fn hash(&self) -> String {
        use std::fmt::Write;
        self.hash.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::sample::{full, line, minimal};
    use crate::audit::{Event, Record};

    fn reading(record: &Record) -> Reading {
        Reading::parse(line(record).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn outcomes_are_those_of_the_requests() {
        let served = Record { status: Some(200), ..minimal(Event::End) };
        for (record, outcome) in [
            (minimal(Event::Begin), None),
            (served.clone(), Some(RequestOutcome::Allowed)),
            (Record { status: Some(529), ..served.clone() }, Some(RequestOutcome::Failed)),
            (
                Record { error_type: Some("overloaded_error".to_owned()), ..served.clone() },
                Some(RequestOutcome::Failed),
            ),
            (Record { complete: false, ..served }, Some(RequestOutcome::Failed)),
            (minimal(Event::Refused), Some(RequestOutcome::Denied)),
            (minimal(Event::Answered), Some(RequestOutcome::Allowed)),
            (minimal(Event::Left), Some(RequestOutcome::Failed)),
        ] {
            assert_eq!(reading(&record).outcome(), outcome, "{record:?}");
        }
    }

    #[test]
    fn input_tokens_count_those_of_the_cache() {
        assert_eq!(reading(&full()).all_input_tokens(), Some(420));
        assert_eq!(reading(&minimal(Event::End)).all_input_tokens(), None);
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for line in ["", "[]", "{}", "{\"event\":1}", "{\"event\":\"begin\""] {
            assert!(Reading::parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
