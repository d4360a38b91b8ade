//! The upstream's keys, each tried by the request that the proxy tries them by.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};

use super::clock::Reading;
use super::finding::{Check, Finding, until};
use super::way::Way;
use crate::credential::{Federation, NamedKey, Origin, SecretSource, UpstreamKey};
use crate::expiry::When;
use crate::upstream::Direct;

/// Bound on all that is asked for one key.
const WITHIN: Duration = Duration::from_secs(5);

/// Asks the upstream, at the first address that answers.
pub(super) struct Asker<'a> {
    direct: &'a Direct,
    addresses: Vec<SocketAddr>,
    /// Why there is no address.
    without: &'static str,
    /// The upstream's clock, as its first answer shows it.
    clock: OnceCell<Reading>,
}

impl<'a> Asker<'a> {
    /// Asks at the ends of those ways that are good.
    pub(super) fn new(direct: &'a Direct, ways: &[Way]) -> Self {
        // The failure that came furthest is the next to mend.
        let without = ways.iter().filter_map(Way::fails_at).max().map_or("dns", Check::label);
        Self { direct, addresses: ways.iter().filter_map(Way::address).collect(), without, clock: OnceCell::new() }
    }

    /// The upstream's clock, if it has answered with a `Date`.
    pub(super) fn clock(&self) -> Option<Reading> {
        self.clock.get().copied()
    }

    async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let mut faults = Vec::new();
        for &address in &self.addresses {
            let asked = SystemTime::now();
            match self.direct.send(address, request.clone(), WITHIN).await {
                Ok(answer) => {
                    if let Some(reading) = Reading::of_answer(&answer, (asked, SystemTime::now())) {
                        let _ = self.clock.set(reading); // the first one stays
                    }
                    return Ok(answer);
                }
                Err(fault) => faults.push(format!("{address}: {fault}")),
            }
        }
        Err(faults.join(", "))
    }
}

/// A line for each key.
pub(super) async fn examine(keys: &[NamedKey], asker: &Asker<'_>, now: SystemTime) -> Vec<Finding> {
    join_all(keys.iter().map(|key| check(key, asker, now))).await
}

async fn check(key: &NamedKey, asker: &Asker<'_>, now: SystemTime) -> Finding {
    let name = &key.name;
    if let Some(end) = key.not_after.filter(|end| *end <= now) {
        let mend = "put another key beside it, and take this one out; or correct its not_after";
        return Check::Key.fails(name, format!("is past its not_after, {}, and used no longer", When(end)), mend);
    }
    if asker.addresses.is_empty() {
        return Check::Key.skips(name, format!("not tried: {} fails", asker.without));
    }
    let tried = async {
        match &key.origin {
            Origin::Secret(material, source) => attempt(key, material, &place(source), asker, now).await,
            Origin::Federation(federation) => exchange(key, federation, asker, now).await,
        }
    };
    let late = || Check::Key.fails(name, "no answer in time", NO_ANSWER);
    tokio::time::timeout(WITHIN, tried).await.unwrap_or_else(|_| late())
}

/// Exchanges the workload's identity token, and tries what comes of it.
async fn exchange(key: &NamedKey, federation: &Federation, asker: &Asker<'_>, now: SystemTime) -> Finding {
    let mend = format!(
        "see that {} holds this workload's identity token, and that rule, organization, service_account and workspace are \
         as the Console shows them",
        place(&federation.token)
    );
    match federation.try_once(&key.name, |request| asker.ask(request), now).await {
        Ok(token) => attempt(key, &token, "the federation rule", asker, now).await,
        Err(fault) => Check::Key.fails(&key.name, fault, mend),
    }
}

async fn attempt(key: &NamedKey, material: &UpstreamKey, origin: &str, asker: &Asker<'_>, now: SystemTime) -> Finding {
    match asker.ask(material.trial()).await {
        Ok(answer) => judge(key, answer.status(), origin, now),
        Err(fault) => Check::Key.fails(&key.name, fault, NO_ANSWER),
    }
}

const NO_ANSWER: &str = "see the upstream's log: the connection is good, and no whole answer comes over it";

/// What an answer says of the key. An upstream that is in trouble says nothing of it.
fn judge(key: &NamedKey, status: StatusCode, origin: &str, now: SystemTime) -> Finding {
    let name = &key.name;
    let end = key.not_after.map_or_else(String::new, |end| format!(", {}", until(end, now)));
    match status.as_u16() {
        200 => Check::Key.passes(name, format!("the upstream takes it{end}")),
        // Limits are an organization's: the upstream knows whose key this is.
        429 => Check::Key.passes(name, format!("the upstream knows it, and limits it now (429){end}")),
        401 | 403 => Check::Key.fails(
            name,
            format!("the upstream refuses it ({})", status.as_u16()),
            format!("put a key that the Console shows as active where the configuration points: {origin}"),
        ),
        500.. => {
            Check::Key.skips(name, format!("not judged: the upstream is in trouble ({}); try again", status.as_u16()))
        }
        other => Check::Key.fails(
            name,
            format!("an answer that the Claude API does not give to it ({other})"),
            "see that upstream.endpoints lead to the Claude API",
        ),
    }
}

/// Where a secret is, and nothing of what it is.
fn place(source: &SecretSource) -> String {
    match source {
        SecretSource::File(path) => path.display().to_string(),
        SecretSource::Environment(name) => format!("the variable {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::lines;
    use super::*;
    use crate::credential::Secret;

    #[test]
    fn an_answer_says_whether_the_key_is_taken_or_nothing() {
        let source = SecretSource::Environment("EDGE_KEY".to_owned());
        let material = UpstreamKey::new("prod", &Secret::new(b"sk-ant-real".to_vec())).unwrap();
        let now = SystemTime::now();
        let key = NamedKey {
            name: "prod".to_owned(),
            origin: Origin::Secret(material, source.clone()),
            teams: Vec::new(),
            grants: Vec::new(),
            not_after: Some(now + Duration::from_secs(10 * 24 * 3600 + 9)),
        };
        for (status, outcome, words) in [
            (200, "pass", "10 day(s) are left"),
            (429, "pass", "limits it now"),
            (401, "fail", "points: the variable EDGE_KEY"),
            (403, "fail", "refuses it (403)"),
            (404, "fail", "lead to the Claude API"),
            (302, "fail", "(302)"),
            (500, "skip", "not judged"),
            (529, "skip", "in trouble (529)"),
        ] {
            let finding = judge(&key, StatusCode::from_u16(status).unwrap(), &place(&source), now);
            let line = lines(&[finding]);
            assert!(line.contains(&format!("\"outcome\":\"{outcome}\"")) && line.contains(words), "{line}");
        }
    }
}
