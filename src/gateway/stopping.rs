//! Ends requests under way when the process ends.

use std::time::Duration;

use pingora::ErrorType;

use super::Gateway;
use crate::denial::Denial;

/// Carries the end of the process through Pingora's error type, from the session that noticed it to `fail_to_proxy`.
const STOPPING: ErrorType = ErrorType::new("Stopping");
/// The same, from a session that was writing: nothing more can be told after half a piece.
const STOPPING_MID_WRITE: ErrorType = ErrorType::new("StoppingMidWrite");

/// Longest time for the last words to a client that may take none.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(500);

/// The error that ends an exchange between two pieces of its answer, or in the middle of one.
pub(super) fn stopping(mid_write: bool) -> ErrorType {
    if mid_write { STOPPING_MID_WRITE } else { STOPPING }
}

/// Whether an error is of the process's end, and if so whether it came in the middle of a piece.
pub(super) fn is_stopping(kind: &ErrorType) -> Option<bool> {
    [false, true].into_iter().find(|mid_write| stopping(*mid_write) == *kind)
}

impl Gateway {
    /// Does `work`, unless the process ends before it is done. For work that leaves nothing behind when it is dropped.
    pub(super) async fn unless_stopping<T>(&self, work: impl Future<Output = T>) -> Result<T, Denial> {
        let mut watch = self.in_flight.watch();
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = watch.cut() => Err(Denial::Stopping),
        }
    }
}
