//! Renewal of the tokens of federation: ahead of their end, so that no request waits for one.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};

use super::slot::Slot;

/// How long before its end a token is renewed; half of its life if that is less (official SDKs,
/// `ADVISORY_REFRESH_SECONDS`).
const AHEAD: Duration = Duration::from_secs(120);
/// Time to the next exchange after one that failed; doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// Shortest time between two exchanges that have succeeded, however often the upstream refuses what they give.
const SPACING: Duration = Duration::from_secs(30);
/// How long a wait may be before the clock is read again.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// When the next exchange of one slot is due.
#[derive(Debug, Default)]
struct Renewals {
    /// When the last one began, and how long it is to the next.
    last: Option<(SystemTime, Duration)>,
    /// Exchanges in a row that have failed.
    failed: u32,
}

impl Renewals {
    fn wait(&self, now: SystemTime) -> Duration {
        let Some((last, pause)) = self.last else { return Duration::ZERO };
        // Where the clock was set back, at once: what is left of the token is not known.
        now.duration_since(last).map_or(Duration::ZERO, |since| pause.saturating_sub(since))
    }

    fn succeeded(&mut self, began: SystemTime, life: Duration) {
        *self = Self { last: Some((began, life.saturating_sub(AHEAD.min(life / 2)))), failed: 0 };
    }

    fn failed(&mut self, began: SystemTime) {
        let pause = FIRST_BACKOFF.saturating_mul(1 << self.failed.min(16)).min(MAX_BACKOFF);
        *self = Self { last: Some((began, pause)), failed: self.failed.saturating_add(1) };
    }

    /// The upstream refuses the token.
    fn hasten(&mut self) {
        if let Some((_, pause)) = &mut self.last {
            *pause = SPACING.min(*pause);
        }
    }
}

/// Renews the token of `slot` whenever that is due; ends at once for a slot that is none of federation.
pub(super) async fn keep<S, F>(slot: &Slot, send: &S)
where
    S: Fn(Request<Bytes>) -> F,
    F: Future<Output = Result<Response<Bytes>, String>>,
{
    let mut renewals = Renewals::default();
    while slot.federation.is_some() {
        let now = SystemTime::now();
        let wait = if slot.is_past(now) { MAX_WAIT } else { renewals.wait(now) };
        if wait.is_zero() {
            renew(slot, &mut renewals, send, now).await;
        } else if tokio::time::timeout(wait.min(MAX_WAIT), slot.renewal.notified()).await.is_ok() {
            renewals.hasten();
        }
    }
}

/// Makes one exchange and puts what it gives in force. The old token stays so until its end.
async fn renew<S, F>(slot: &Slot, renewals: &mut Renewals, send: &S, now: SystemTime)
where
    S: Fn(Request<Bytes>) -> F,
    F: Future<Output = Result<Response<Bytes>, String>>,
{
    let Some(federation) = &slot.federation else { return };
    let key = &*slot.name;
    match federation.exchange(&slot.name, send, now).await {
        Ok(issued) => {
            let life = issued.life.as_secs();
            if renewals.failed > 0 || slot.key().is_none() {
                tracing::info!(key, life, "the token endpoint has given a token");
            }
            renewals.succeeded(now, issued.life);
            slot.renew(issued.key);
            slot.set_faulty(false);
        }
        Err(fault) => {
            renewals.failed(now);
            slot.set_faulty(true);
            let failed = renewals.failed;
            if slot.key().as_ref().is_some_and(|token| !token.has_ended(now)) {
                tracing::warn!(key, failed, %fault, "the token could not be renewed; the old one serves until its end");
            } else {
                tracing::error!(key, failed, %fault, "there is no token; the key cannot serve");
            }
        }
    }
}

#[cfg(test)]
mod tests;
