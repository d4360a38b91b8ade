//! Which records are shown.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use crate::audit::{Reading, RequestOutcome};

/// What a record must be like; a filter that is given several times takes any of its values.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Filter {
    /// The caller's subject
    #[arg(long)]
    subject: Vec<String>,
    /// A team of the caller
    #[arg(long)]
    team: Vec<String>,
    /// A model that was asked for, or that answered; with a * at the end, how it begins
    #[arg(long)]
    model: Vec<String>,
    /// Requests that arrived at this time or later: 2026-11-24 or 2026-11-24T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<OffsetDateTime>,
    /// Requests that arrived before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<OffsetDateTime>,
    /// What lines tell: begin, end, refused, answered, left, or started, stopped, gap, checkpoint
    #[arg(long, value_parser = EVENTS)]
    event: Vec<String>,
    /// What requests came to
    #[arg(long, value_enum)]
    outcome: Vec<RequestOutcome>,
    /// Why they were refused or failed: a reason of docs/metrics.md
    #[arg(long)]
    reason: Vec<String>,
    /// Ours, as in an answer's x-portcullis-request-id
    #[arg(long)]
    request_id: Vec<String>,
}

const EVENTS: [&str; 12] = [
    "begin",
    "end",
    "refused",
    "answered",
    "left",
    "started",
    "configured",
    "stopped",
    "gap",
    "contained",
    "released",
    "checkpoint",
];

impl Filter {
    /// Whether a line is asked for. Lines of the log itself are only where nothing is asked of requests.
    pub(super) fn fits(&self, line: &Reading) -> bool {
        let any = |wanted: &[String], value: Option<&str>| {
            wanted.is_empty() || value.is_some_and(|value| wanted.iter().any(|wanted| wanted == value))
        };
        let time = line.time();
        any(&self.subject, line.text("subject"))
            && (self.team.is_empty() || line.texts("teams").any(|team| any(&self.team, Some(team))))
            && (self.model.is_empty()
                || line
                    .texts("models")
                    .chain(line.text("answered_by"))
                    .any(|model| self.model.iter().any(|wanted| is_like(model, wanted))))
            && self.since.is_none_or(|since| time.is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| time.is_some_and(|time| time < until))
            && any(&self.event, Some(line.event()))
            && (self.outcome.is_empty() || line.outcome().is_some_and(|outcome| self.outcome.contains(&outcome)))
            && any(&self.reason, line.text("reason"))
            && any(&self.request_id, line.text("request_id"))
    }

    /// Whether lines are chosen by what they tell, so that each is a row of its own.
    pub(super) fn asks_for_events(&self) -> bool {
        !self.event.is_empty()
    }
}

fn is_like(model: &str, wanted: &str) -> bool {
    wanted.strip_suffix('*').map_or(model == wanted, |start| model.starts_with(start))
}

/// A time (RFC 3339), or the beginning of a day in UTC.
fn moment(text: &str) -> Result<OffsetDateTime, &'static str> {
    let day = || Date::parse(text, format_description!("[year]-[month]-[day]")).map(|day| day.midnight().assume_utc());
    OffsetDateTime::parse(text, &Rfc3339).or_else(|_| day()).map_err(|_| "write 2026-11-24 or 2026-11-24T10:00:00Z")
}
