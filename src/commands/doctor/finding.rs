//! What a check has found, and how that is shown.

use std::fmt::Write as _;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::json;

use crate::expiry::{Expiry, Urgency, When};

/// What is tried, each of these once for every subject. Those of the way to the upstream come in the order of the way: each
/// needs the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Check {
    Configuration,
    Dns,
    Tcp,
    Tls,
    ClientCertificate,
    Key,
    Jwks,
    Store,
    Audit,
    State,
    Clock,
}

/// How one check went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    check: Check,
    subject: String,
    verdict: Verdict,
    detail: String,
}

/// A fault is never told without its mend.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Pass,
    Skip,
    Fail { mend: String },
}

impl Check {
    /// As lines call it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::ClientCertificate => "client_certificate",
            Self::Key => "key",
            Self::Jwks => "jwks",
            Self::Store => "store",
            Self::Audit => "audit",
            Self::State => "state",
            Self::Clock => "clock",
        }
    }

    pub(super) fn passes(self, subject: impl AsRef<str>, detail: impl AsRef<str>) -> Finding {
        self.found(subject.as_ref(), Verdict::Pass, detail.as_ref())
    }

    /// For a check that cannot be made, or says nothing.
    pub(super) fn skips(self, subject: impl AsRef<str>, why: impl AsRef<str>) -> Finding {
        self.found(subject.as_ref(), Verdict::Skip, why.as_ref())
    }

    pub(super) fn fails(self, subject: impl AsRef<str>, detail: impl AsRef<str>, mend: impl AsRef<str>) -> Finding {
        self.found(subject.as_ref(), Verdict::Fail { mend: one_line(mend.as_ref()) }, detail.as_ref())
    }

    fn found(self, subject: &str, verdict: Verdict, detail: &str) -> Finding {
        Finding { check: self, subject: one_line(subject), verdict, detail: one_line(detail) }
    }
}

/// Text that may have words of a peer in it, such as names of its certificate, without what would break out of a line or
/// speak to a terminal, and with an end.
fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    let mut line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(end);
        line.push_str(" ...");
    }
    line
}

/// Characters of a text that are shown.
const LONGEST: usize = 400;

impl Finding {
    /// Whether it is a fault.
    pub(super) fn is_fault(&self) -> bool {
        matches!(self.verdict, Verdict::Fail { .. })
    }

    fn outcome(&self) -> &'static str {
        match self.verdict {
            Verdict::Pass => "pass",
            Verdict::Skip => "skip",
            Verdict::Fail { .. } => "fail",
        }
    }

    fn mend(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Fail { mend } => Some(mend),
            Verdict::Pass | Verdict::Skip => None,
        }
    }
}

/// For people: a line each, in columns, and the mend below what it mends.
pub(super) fn table(findings: &[Finding]) -> String {
    let width = |of: fn(&Finding) -> &str| findings.iter().map(|finding| of(finding).chars().count()).max();
    let check = width(|finding| finding.check.label()).unwrap_or_default();
    let subject = width(|finding| &finding.subject).unwrap_or_default();
    let mut text = String::new();
    for finding in findings {
        let (outcome, label) = (finding.outcome(), finding.check.label());
        // Writing to text does not fail.
        let _ = writeln!(text, "{outcome}  {label:<check$}  {:<subject$}  {}", finding.subject, finding.detail);
        if let Some(mend) = finding.mend() {
            let _ = writeln!(text, "      {:<check$}  {:<subject$}  mend: {mend}", "", "");
        }
    }
    text
}

/// For machines: an object a line; `mend` is null where nothing is to be mended.
pub(super) fn lines(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let object = json!({
            "check": finding.check,
            "subject": finding.subject,
            "outcome": finding.outcome(),
            "detail": finding.detail,
            "mend": finding.mend(),
        });
        format!("{object}\n")
    };
    findings.iter().map(line).collect()
}

/// Until when something counts, with a word where that is soon.
pub(super) fn until(not_after: SystemTime, now: SystemTime) -> String {
    let days = not_after.duration_since(now).unwrap_or_default().as_secs() / (24 * 3600);
    match Urgency::of(&Expiry { certificate: "", not_after }, now) {
        None => format!("until {}", When(not_after)),
        Some(_) => format!("until {}: {days} day(s) are left, renew it", When(not_after)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn findings() -> [Finding; 3] {
        [
            Check::Dns.passes("api.internal:443", "10.0.0.1"),
            Check::ClientCertificate.fails("10.0.0.1:443", "refused", "have it signed"),
            Check::Key.skips("prod", "not asked"),
        ]
    }

    #[test]
    fn the_table_has_columns_and_the_mend_below_the_fault() {
        let expected = "pass  dns                 api.internal:443  10.0.0.1\n\
                        fail  client_certificate  10.0.0.1:443      refused\n                                            mend: have it signed\n\
                        skip  key                 prod              not asked\n";
        assert_eq!(table(&findings()), expected);
    }

    #[test]
    fn lines_are_objects_and_call_checks_as_the_table_does() {
        let lines = lines(&findings());
        let objects: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            objects[1],
            json!({"check": "client_certificate", "subject": "10.0.0.1:443", "outcome": "fail", "detail": "refused", "mend": "have it signed"})
        );
        assert_eq!((&objects[2]["outcome"], &objects[2]["mend"]), (&json!("skip"), &json!(null)));
        for (object, finding) in objects.iter().zip(findings()) {
            assert_eq!(object["check"], finding.check.label());
        }
    }

    #[test]
    fn words_of_a_peer_stay_on_their_line_and_have_an_end() {
        let line = |detail: &str| table(&[Check::Tls.passes("a", detail)]);
        assert_eq!(line("CN=x\r\nfail  tls \u{1b}[31m"), "pass  tls  a  CN=x fail tls [31m\n");
        assert_eq!(line(&"\u{e9}".repeat(401)), format!("pass  tls  a  {} ...\n", "\u{e9}".repeat(400)));
    }

    #[test]
    fn an_end_that_is_near_is_told() {
        let day = Duration::from_secs(24 * 3600);
        let at = |days: u32| SystemTime::UNIX_EPOCH + day * days;
        assert_eq!(until(at(100), at(1)), "until 1970-04-11T00:00:00Z");
        assert_eq!(until(at(100), at(71)), "until 1970-04-11T00:00:00Z: 29 day(s) are left, renew it");
    }
}
