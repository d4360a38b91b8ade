//! What keeps the keys of a ring current, in one future.

use bytes::Bytes;
use futures_util::future::{join_all, join4};
use http::{Request, Response};

use super::{KeyRing, expiry, renewal, rotation, trial};

impl KeyRing {
    /// Follows the files of keys, renews the tokens of federation, tries keys that the upstream has refused, and warns of
    /// those that end soon; for as long as the future is polled.
    ///
    /// `send` takes a request of the proxy's own to the upstream, by the same way as those of callers. The request has a
    /// method, a path and the headers that say what is asked; `send` adds `host`. It should not take an answer above 1 MiB.
    /// Its errors are logged.
    pub async fn upkeep<S, F>(&self, send: S)
    where
        S: Fn(Request<Bytes>) -> F,
        F: Future<Output = Result<Response<Bytes>, String>>,
    {
        let trials = join_all(self.slots.iter().map(|slot| trial::keep(slot, &send)));
        let renewals = join_all(self.slots.iter().map(|slot| renewal::keep(slot, &send)));
        join4(rotation::follow(&self.slots), trials, renewals, expiry::warn(&self.slots)).await;
    }
}

#[cfg(test)]
mod tests;
