//! Key material, ready to stand in a request.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use super::Secret;
use super::locked::LockedBytes;
use crate::audit::OnRecord;
use crate::policy::Permit;

/// Where a key of the Claude API stands.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
pub(super) const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
/// The value of `anthropic-beta` without which the API reads no `Authorization` (official SDKs, `OAUTH_API_BETA_HEADER`).
pub(super) const OAUTH_BETA: &str = "oauth-2025-04-20";
/// Longest key or token.
pub(super) const MAX_KEY: usize = 16 << 10;

/// A key for the upstream. Its material is one allocation, which the header map of every request shares: it is kept out of
/// swap where that is permitted, and wiped when the last of them is gone.
pub struct UpstreamKey {
    id: KeyId,
    name: Arc<str>,
    kind: KeyKind,
    header: HeaderValue,
    /// When it ends by itself.
    ends: Option<SystemTime>,
}

/// Which material of which slot a key is: another after each rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyId {
    pub(super) slot: usize,
    pub(super) rotation: u64,
}

/// How the upstream is shown a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// As `x-api-key`.
    ApiKey,
    /// As `Authorization: Bearer`: a token that federation gave.
    Bearer,
}

/// Why bytes are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Nothing, or white space.
    #[error("is empty")]
    Empty,
    /// Above 16 KiB.
    #[error("is above {MAX_KEY} bytes")]
    TooLong,
    /// No key has them, and some cannot stand in a header.
    #[error("has white space, control characters or other bytes that are not visible ASCII")]
    NotVisible,
}

impl KeyKind {
    /// As metrics label it.
    pub fn label(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Bearer => "federation",
        }
    }
}

impl UpstreamKey {
    /// Makes a key of the API from its secret.
    ///
    /// # Errors
    /// [`KeyFault`], which has nothing of the secret.
    pub fn new(name: &str, secret: &Secret) -> Result<Self, KeyFault> {
        Self::api_key(name.into(), secret.expose())
    }

    pub(super) fn api_key(name: Arc<str>, secret: &[u8]) -> Result<Self, KeyFault> {
        Self::make(name, KeyKind::ApiKey, &[], secret, None)
    }

    /// Makes a key from a token that is good until `ends`.
    pub(super) fn bearer(name: Arc<str>, token: &[u8], ends: SystemTime) -> Result<Self, KeyFault> {
        Self::make(name, KeyKind::Bearer, b"Bearer ", token, Some(ends))
    }

    fn make(
        name: Arc<str>,
        kind: KeyKind,
        scheme: &[u8],
        secret: &[u8],
        ends: Option<SystemTime>,
    ) -> Result<Self, KeyFault> {
        match secret {
            [] => return Err(KeyFault::Empty),
            _ if secret.len() > MAX_KEY => return Err(KeyFault::TooLong),
            _ if !secret.iter().all(u8::is_ascii_graphic) => return Err(KeyFault::NotVisible),
            _ => {}
        }
        let header = header_value(LockedBytes::new(&[scheme, secret])).ok_or(KeyFault::NotVisible)?;
        Ok(Self { id: KeyId::default(), name, kind, header, ends })
    }

    /// The same key as the material with this id.
    pub(super) fn with_id(self, id: KeyId) -> Self {
        Self { id, ..self }
    }

    /// Another holder of the same material, in another slot.
    pub(super) fn copied(&self, id: KeyId) -> Self {
        Self { id, name: Arc::clone(&self.name), kind: self.kind, header: self.header.clone(), ends: self.ends }
    }

    /// Which material of which slot it is.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The name in the configuration; safe to show.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the upstream is shown it.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Whether it has ended by itself at `now`.
    pub(super) fn has_ended(&self, now: SystemTime) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }

    /// Whether both have the same material.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.header == other.header
    }

    /// Puts the key on a request that policy has allowed and that is on record, in the header that the Claude API reads. A token of federation
    /// brings the value of `anthropic-beta` that it needs; the client's own stay.
    ///
    /// # Errors
    /// Only when the header map is full.
    pub fn inject(&self, _: &Permit, _: &OnRecord, request: &mut RequestHeader) -> pingora::Result<()> {
        match self.kind {
            KeyKind::ApiKey => request.insert_header(API_KEY, self.header.clone()),
            KeyKind::Bearer => {
                if !has_oauth_beta(&request.headers) {
                    request.append_header(BETA, HeaderValue::from_static(OAUTH_BETA))?;
                }
                request.insert_header(AUTHORIZATION, self.header.clone())
            }
        }
    }

    /// Puts the key on a request of the proxy's own, which no caller has a part in.
    pub fn authenticate(&self, headers: &mut HeaderMap) {
        match self.kind {
            KeyKind::ApiKey => headers.insert(API_KEY, self.header.clone()),
            KeyKind::Bearer => {
                headers.append(BETA, HeaderValue::from_static(OAUTH_BETA));
                headers.insert(AUTHORIZATION, self.header.clone())
            }
        };
    }
}

/// A value that shares the memory of `owner`.
fn header_value(owner: impl AsRef<[u8]> + Send + 'static) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(owner)).ok()?;
    value.set_sensitive(true); // prints as `Sensitive`, and HTTP/2 does not index it
    Some(value)
}

fn has_oauth_beta(headers: &HeaderMap) -> bool {
    let mut betas = headers.get_all(BETA).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    betas.any(|beta| beta.trim_ascii() == OAUTH_BETA.as_bytes())
}

impl fmt::Debug for UpstreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamKey").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::tests::permit;
    use super::*;

    static_assertions::assert_not_impl_any!(UpstreamKey: fmt::Display, Clone, serde::Serialize);

    fn key(secret: &str) -> Result<UpstreamKey, KeyFault> {
        UpstreamKey::new("one", &Secret::new(secret.as_bytes().to_vec()))
    }

    fn token() -> UpstreamKey {
        UpstreamKey::bearer("two".into(), b"sk-ant-oat-real", SystemTime::UNIX_EPOCH).unwrap()
    }

    fn injected(key: &UpstreamKey, betas: &[&str]) -> RequestHeader {
        let mut request = RequestHeader::build("POST", b"/v1/messages", None).unwrap();
        for beta in betas {
            request.append_header("anthropic-beta", *beta).unwrap();
        }
        key.inject(&permit(&["any"]), &OnRecord::for_test(), &mut request).unwrap();
        request
    }

    fn betas(request: &RequestHeader) -> Vec<&str> {
        request.headers.get_all(BETA).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn a_key_stands_where_the_api_reads_keys() {
        let request = injected(&key("sk-ant-real").unwrap(), &["a"]);
        assert_eq!(request.headers["x-api-key"], "sk-ant-real");
        assert!(request.headers["x-api-key"].is_sensitive());
        assert!(!request.headers.contains_key("authorization"));
        assert_eq!(betas(&request), ["a"]);
    }

    #[test]
    fn a_token_brings_the_beta_that_it_needs_once() {
        let request = injected(&token(), &["a,b", "c"]);
        assert_eq!(request.headers["authorization"], "Bearer sk-ant-oat-real");
        assert!(request.headers["authorization"].is_sensitive());
        assert!(!request.headers.contains_key("x-api-key"));
        assert_eq!(betas(&request), ["a,b", "c", OAUTH_BETA]);
        for sent in [vec!["a, oauth-2025-04-20 ,b"], vec!["a", "oauth-2025-04-20"]] {
            assert_eq!(betas(&injected(&token(), &sent)), sent);
        }
        assert_eq!(betas(&injected(&token(), &["oauth-2025-04-20-x"])), ["oauth-2025-04-20-x", OAUTH_BETA]);
    }

    #[test]
    fn requests_of_our_own_bear_the_same() {
        let mut headers = HeaderMap::new();
        key("sk-ant-real").unwrap().authenticate(&mut headers);
        assert_eq!(headers.remove("x-api-key").unwrap(), "sk-ant-real");
        assert!(headers.is_empty());
        token().authenticate(&mut headers);
        assert_eq!(
            (&headers["authorization"], &headers[BETA]),
            (&"Bearer sk-ant-oat-real".parse().unwrap(), &OAUTH_BETA.parse().unwrap())
        );
    }

    #[test]
    fn what_no_key_looks_like_is_none() {
        for (secret, fault) in [
            ("", KeyFault::Empty),
            (&"k".repeat(MAX_KEY + 1), KeyFault::TooLong),
            ("sk ant", KeyFault::NotVisible),
            ("sk-ant\nsk-ant", KeyFault::NotVisible),
            ("sk-ant-\u{e9}", KeyFault::NotVisible),
        ] {
            assert_eq!(key(secret).unwrap_err(), fault);
        }
        assert_eq!(key(&"k".repeat(MAX_KEY)).unwrap().header.len(), MAX_KEY);
    }

    #[test]
    fn requests_share_the_material_and_the_last_one_wipes_it() {
        struct Owner(Vec<u8>, Arc<AtomicBool>);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        impl Drop for Owner {
            fn drop(&mut self) {
                self.1.store(true, Ordering::Relaxed);
            }
        }
        let dropped = Arc::<AtomicBool>::default();
        let material = b"sk-ant-real".to_vec();
        let place = material.as_ptr();
        let header = header_value(Owner(material, Arc::clone(&dropped))).unwrap();
        let key = UpstreamKey { header, ..key("x").unwrap() };
        let request = injected(&key, &[]);
        assert_eq!(request.headers["x-api-key"].as_bytes().as_ptr(), place);
        drop(key);
        assert!(!dropped.load(Ordering::Relaxed), "a request under way has it");
        drop(request);
        assert!(dropped.load(Ordering::Relaxed));
    }

    #[test]
    fn neither_debug_output_nor_faults_have_anything_of_the_secret() {
        let request = injected(&key("sk-ant-real").unwrap(), &[]);
        let shown = format!("{:?} {:?} {:?} {:?}", key("sk-ant-real"), token(), request.headers, key("sk-ant-real x"));
        assert!(!shown.contains("real"), "{shown}");
    }
}
