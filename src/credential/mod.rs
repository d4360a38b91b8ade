//! The upstream's key: held as a [`Secret`], put on a request that has a [`Permit`], and nowhere else.

mod process;
mod secret;
mod source;

use http::HeaderValue;
use pingora::http::RequestHeader;

pub use process::keep_from_core_dumps;
pub use secret::Secret;
pub use source::SecretSource;

use crate::policy::Permit;

/// A key for the upstream, by the name that records and logs know it by.
pub struct UpstreamKey {
    name: String,
    header: HeaderValue,
}

impl UpstreamKey {
    /// Makes a key from its secret; `None` if the secret cannot stand in a header.
    pub fn new(name: String, secret: &Secret) -> Option<Self> {
        let mut header = HeaderValue::from_bytes(secret.expose()).ok()?;
        header.set_sensitive(true); // prints as `Sensitive`, and HTTP/2 does not index it
        Some(Self { name, header })
    }

    /// The name in the configuration; safe to show.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts the key on a request that policy has allowed, in the header that the Claude API reads.
    ///
    /// # Errors
    /// Only when the header map is full.
    pub fn inject(&self, _: &Permit, request: &mut RequestHeader) -> pingora::Result<()> {
        request.insert_header("x-api-key", self.header.clone())
    }
}

impl std::fmt::Debug for UpstreamKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamKey").field("name", &self.name).finish_non_exhaustive()
    }
}
