//! Ends a request under way whose caller's token is revoked.

use std::sync::Arc;

use pingora::ErrorType;
use tokio::sync::watch;

use crate::identity::Caller;
use crate::identity::revocation::Revocations;

/// Carries a revocation through Pingora's error type, from the session that noticed it to `fail_to_proxy`.
pub(super) const REVOKED: ErrorType = ErrorType::new("Revoked");

/// Waits until a caller is revoked.
pub(super) struct RevocationWatch {
    revocations: Arc<Revocations>,
    caller: Caller,
    changes: watch::Receiver<u64>,
    /// The list as of which the caller was good.
    asked: Option<u64>,
}

impl RevocationWatch {
    pub(super) fn new(revocations: &Arc<Revocations>, caller: &Caller) -> Self {
        Self {
            revocations: Arc::clone(revocations),
            caller: caller.clone(),
            changes: revocations.changes(),
            asked: None,
        }
    }

    /// Returns when the caller is revoked. May be dropped and called again.
    pub(super) async fn revoked(&mut self) {
        loop {
            let list = *self.changes.borrow_and_update();
            if self.asked != Some(list) {
                if revoked_by(&self.revocations, &self.caller).is_some() {
                    return;
                }
                self.asked = Some(list);
            }
            if self.changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// What revokes the caller's token, if anything.
pub(super) fn revoked_by(revocations: &Revocations, caller: &Caller) -> Option<&'static str> {
    revocations.revoked(caller.issuer(), caller.subject(), caller.token_id(), caller.issued())
}
