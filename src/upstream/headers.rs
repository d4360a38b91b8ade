//! Headers of the company's own that every call upstream carries.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Such headers, checked.
#[derive(Debug, Clone, Default)]
pub struct OwnHeaders(HeaderMap);

impl OwnHeaders {
    /// Adds one; `None` when the name or the value is none, or the proxy itself sets the header.
    pub fn add(&mut self, name: &str, value: &str) -> Option<()> {
        let name = HeaderName::try_from(name).ok().filter(may_be_set)?;
        let value = HeaderValue::try_from(value).ok()?;
        self.0.insert(name, value);
        Some(())
    }

    /// Whether calls carry this header whatever the client sent.
    pub fn has(&self, name: &HeaderName) -> bool {
        self.0.contains_key(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter()
    }
}

/// Credentials come from the key ring, and what frames a message is nobody's choice.
fn may_be_set(name: &HeaderName) -> bool {
    !matches!(
        *name,
        header::AUTHORIZATION
            | header::HOST
            | header::ACCEPT_ENCODING
            | header::CONTENT_ENCODING
            | header::CONTENT_LENGTH
            | header::CONTENT_TYPE
            | header::TRANSFER_ENCODING
            | header::CONNECTION
            | header::UPGRADE
            | header::EXPECT
            | header::TE
            | header::TRAILER
            | header::COOKIE
    ) && !["x-api-key", "keep-alive", "proxy-connection"].contains(&name.as_str())
        && !name.as_str().starts_with("proxy-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_framing_are_not_for_the_configuration() {
        let mut headers = OwnHeaders::default();
        for wrong in ["Authorization", "x-api-key", "Host", "content-length", "proxy-authorization", "a b", ""] {
            assert_eq!(headers.add(wrong, "x"), None, "{wrong}");
        }
        assert_eq!(headers.add("x-team", "a\r\nb: c"), None);
        assert_eq!(headers.add("Anthropic-Workspace-Id", "wrkspc_1"), Some(()));
        assert!(headers.has(&HeaderName::from_static("anthropic-workspace-id")));
        assert_eq!(headers.iter().count(), 1);
    }
}
