//! Trials: whether the upstream still takes a key, asked by a request of the proxy's own.
//!
//! Callers can bring about a 403, for a model that the workspace lacks, and maybe a 401. So a refusal of theirs only makes
//! a key suspect, and the trial decides. A key that was set aside is tried again and again, and is used again when the
//! upstream takes it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use super::slot::Slot;
use super::{KeyId, KeyKind, UpstreamKey};

/// Shortest time between two trials of one key.
const SPACING: Duration = Duration::from_secs(5);
/// Time to the next trial of a key after the first one that did not show it good; doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(30);
const MAX_BACKOFF: Duration = Duration::from_secs(600);
/// Bound on one trial.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a wait may be before the clock is read again.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// What a trial shows.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The upstream takes the key.
    Good,
    /// The upstream refuses it.
    Refused(StatusCode),
    /// Neither, and why.
    Unclear(String),
}

/// When the trials of one slot are due.
#[derive(Debug, Default)]
struct Trials {
    key: KeyId,
    last: Option<SystemTime>,
    /// Trials in a row that did not show the key good.
    failed: u32,
}

impl Trials {
    /// How long the next trial, of `key`, has to wait.
    fn wait(&mut self, key: KeyId, now: SystemTime) -> Duration {
        if self.key != key {
            *self = Self { key, failed: 0, ..*self };
        }
        let Some(last) = self.last else { return Duration::ZERO };
        let pause = match self.failed.checked_sub(1) {
            None => SPACING,
            Some(doublings) => FIRST_BACKOFF.saturating_mul(1 << doublings.min(16)).min(MAX_BACKOFF),
        };
        // Where the clock was set back, no longer than the pause.
        pause.saturating_sub(now.duration_since(last).unwrap_or_default())
    }

    fn ended(&mut self, verdict: &Verdict, began: SystemTime) {
        self.last = Some(began);
        self.failed = if *verdict == Verdict::Good { 0 } else { self.failed.saturating_add(1) };
    }
}

/// Tries the key of `slot` whenever that is due.
pub(super) async fn keep<S, F>(slot: &Slot, send: &S)
where
    S: Fn(Request<Bytes>) -> F,
    F: Future<Output = Result<Response<Bytes>, String>>,
{
    let mut trials = Trials::default();
    loop {
        let wait = next(slot, &mut trials, send, SystemTime::now()).await;
        let _ = tokio::time::timeout(wait, slot.suspected.notified()).await;
    }
}

/// Makes the trial that is due at `now`, if one is; how long to wait for the next.
async fn next<S, F>(slot: &Slot, trials: &mut Trials, send: &S, now: SystemTime) -> Duration
where
    S: Fn(Request<Bytes>) -> F,
    F: Future<Output = Result<Response<Bytes>, String>>,
{
    let wanted = |key: &Arc<UpstreamKey>| slot.wants_trial(now) && !key.has_ended(now);
    let Some(key) = Option::clone(&slot.key()).filter(wanted) else { return MAX_WAIT };
    let wait = trials.wait(key.id(), now);
    if !wait.is_zero() {
        return wait.min(MAX_WAIT);
    }
    slot.take_suspicion(); // what comes while the trial is under way counts anew
    let answer = tokio::time::timeout(TIMEOUT, send(key.trial())).await;
    let verdict = verdict(answer.unwrap_or_else(|_| Err("no answer in time".to_owned())));
    trials.ended(&verdict, now);
    heed(slot, &key, &verdict, now);
    Duration::ZERO
}

impl UpstreamKey {
    /// The request that shows whether the upstream takes the key. It asks for little, and nothing that costs.
    pub fn trial(&self) -> Request<Bytes> {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = http::Uri::from_static("/v1/models?limit=1");
        let headers = request.headers_mut();
        headers.insert("anthropic-version", http::HeaderValue::from_static("2023-06-01"));
        self.authenticate(headers);
        request
    }
}

fn verdict(answer: Result<Response<Bytes>, String>) -> Verdict {
    match answer.map(|answer| answer.status()) {
        Ok(status) if status.is_success() => Verdict::Good,
        Ok(status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => Verdict::Refused(status),
        Ok(status) => Verdict::Unclear(format!("status {status}")),
        Err(error) => Verdict::Unclear(error),
    }
}

fn heed(slot: &Slot, key: &UpstreamKey, verdict: &Verdict, now: SystemTime) {
    if !slot.holds(key.id()) {
        return; // it has been replaced meanwhile
    }
    let key = key.name();
    match verdict {
        Verdict::Good if slot.is_set_aside() => {
            slot.restore();
            tracing::info!(key, "the upstream takes this key again; it is in use");
        }
        Verdict::Good => tracing::debug!(key, "the upstream takes this key; what it refused was the request"),
        Verdict::Refused(status) => {
            slot.set_aside(now);
            if slot.kind == KeyKind::Bearer {
                slot.renewal.notify_one(); // another token may do
            }
            tracing::error!(key, %status, "the upstream refuses this key; it is set aside and serves only where no other can");
        }
        Verdict::Unclear(why) => {
            slot.suspect();
            tracing::warn!(key, why, "whether the upstream takes this key cannot be told; it is tried again");
        }
    }
}

#[cfg(test)]
mod tests;
