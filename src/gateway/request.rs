//! The request that goes upstream: made anew from what is known to be wanted, not cut down from what the client sent.

use http::{HeaderName, Version, header};
use pingora::Result;
use pingora::http::RequestHeader;

use crate::claude::{BodyRule, Match, ModelPage};
use crate::upstream::OwnHeaders;

/// What the new head is made from.
pub(super) struct Parts<'a> {
    /// The client's head.
    pub(super) client: &'a RequestHeader,
    /// The endpoint and the path as the upstream knows it.
    pub(super) found: &'a Match,
    /// The host of the upstream.
    pub(super) host: &'a str,
    /// What the connection to it speaks.
    pub(super) version: Version,
    /// What the company adds; a client's headers of these names end here.
    pub(super) own: &'a OwnHeaders,
    /// The length of a body that was judged.
    pub(super) body_length: usize,
    /// The caller's token, which must not be in any header that goes on.
    pub(super) token: &'a [u8],
}

/// The head that goes upstream, still without a key.
pub(super) fn build(parts: &Parts<'_>) -> Result<RequestHeader> {
    let Parts { client, found, .. } = parts;
    let target = match client.uri.query() {
        query if found.endpoint.lists_models() => {
            format!("{}?{}", found.path, ModelPage::whole_list(query.unwrap_or_default()))
        }
        Some(query) => format!("{}?{query}", found.path),
        None => found.path.clone(),
    };
    let mut request = RequestHeader::build(client.method.clone(), target.as_bytes(), Some(24))?;
    let is_http2 = parts.version == Version::HTTP_2;
    if is_http2 {
        request.set_version(Version::HTTP_2); // Pingora panics at any other on such a connection
    }
    request.insert_header(header::HOST, parts.host)?;
    for (name, value) in &client.headers {
        if passes(name) && !parts.own.has(name) && memchr::memmem::find(value.as_bytes(), parts.token).is_none() {
            request.append_header(name.clone(), value.clone())?;
        }
    }
    for (name, value) in parts.own.iter() {
        request.insert_header(name.clone(), value.clone())?;
    }
    // Usage is read beside the relay, from plain text.
    request.insert_header(header::ACCEPT_ENCODING, "identity")?;
    match found.endpoint.body {
        BodyRule::Judged(_) => request.insert_header(header::CONTENT_LENGTH, parts.body_length.to_string())?,
        BodyRule::Streamed => match client.headers.get(header::CONTENT_LENGTH) {
            Some(length) => request.insert_header(header::CONTENT_LENGTH, length.clone())?,
            None if is_http2 => {} // RFC 9113 section 8.2.2: a stream has its own end
            None => request.insert_header(header::TRANSFER_ENCODING, "chunked")?,
        },
        BodyRule::Absent => {}
    }
    Ok(request)
}

/// Headers that go on. The list is of what the API reads (API reference, SDK sources), so everything else ends here by
/// itself: credentials, cookies, hop-by-hop headers and whatever `Connection` names (RFC 9110 section 7.6.1),
/// forwarding headers, `Origin` (the API refuses browsers' calls with some keys) and baggage. So does the workspace: who
/// pays is the key's and the configuration's to say, and a caller who could name one would call on another's bill.
fn passes(name: &HeaderName) -> bool {
    matches!(*name, header::ACCEPT | header::CONTENT_TYPE | header::USER_AGENT)
        || name.as_str().starts_with("x-stainless-")
        || name.as_str().starts_with("anthropic-")
            && !["anthropic-dangerous-direct-browser-access", "anthropic-workspace-id", "anthropic-organization-id"]
                .contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude;

    fn built(path: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
        built_for(Version::HTTP_11, path, headers)
    }

    fn built_for(version: Version, path: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut client = RequestHeader::build("POST", format!("{path}?beta=true").as_bytes(), None).unwrap();
        for (name, value) in headers {
            client.append_header(*name, *value).unwrap();
        }
        let found = &claude::find(&http::Method::POST, path).unwrap();
        let mut own = OwnHeaders::default();
        own.add("anthropic-workspace-id", "wrkspc_company").unwrap();
        let (client, host) = (&client, "api.anthropic.com");
        let parts = Parts { client, found, host, version, own: &own, body_length: 7, token: b"a.b.c" };
        build(&parts).unwrap()
    }

    #[test]
    fn what_the_api_reads_goes_on_and_nothing_else() {
        let request = built(
            "/claude/messages",
            &[
                ("anthropic-version", "2023-06-01"),
                ("anthropic-beta", "one"),
                ("anthropic-beta", "two"),
                ("x-stainless-lang", "python"),
                ("content-type", "application/json"),
                ("user-agent", "Anthropic/Python 2.12.0"),
                ("authorization", "Bearer a.b.c"),
                ("x-api-key", "a.b.c"),
                ("cookie", "session=1"),
                ("connection", "keep-alive, x-api-key, anthropic-version"),
                ("proxy-authorization", "Basic x"),
                ("te", "trailers"),
                ("origin", "https://evil.example"),
                ("x-forwarded-for", "1.1.1.1"),
                ("baggage", "team=secret"),
                ("anthropic-trick", "xx a.b.c xx"),
                ("anthropic-workspace-id", "wrkspc_another"),
                ("transfer-encoding", "chunked"),
                ("accept-encoding", "gzip"),
                ("host", "gateway.internal"),
            ],
        );
        let mut lines: Vec<_> =
            request.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "accept-encoding: identity",
                "anthropic-beta: one",
                "anthropic-beta: two",
                "anthropic-version: 2023-06-01",
                "anthropic-workspace-id: wrkspc_company",
                "content-length: 7",
                "content-type: application/json",
                "host: api.anthropic.com",
                "user-agent: Anthropic/Python 2.12.0",
                "x-stainless-lang: python",
            ]
        );
        assert_eq!(request.raw_path(), b"/v1/messages?beta=true");
    }

    #[test]
    fn no_caller_names_the_workspace_that_pays() {
        for name in ["anthropic-workspace-id", "anthropic-organization-id"] {
            assert!(!passes(&HeaderName::from_static(name)), "{name}");
        }
        assert!(passes(&HeaderName::from_static("anthropic-beta")));
    }

    #[test]
    fn uploads_keep_their_length_or_go_chunked() {
        assert_eq!(built("/v1/files", &[("content-length", "9")]).headers.get("content-length").unwrap(), "9");
        assert_eq!(built("/v1/files", &[]).headers.get("transfer-encoding").unwrap(), "chunked");
    }
    #[test]
    fn a_request_is_of_the_version_that_the_connection_speaks() {
        let request = built_for(Version::HTTP_2, "/v1/files", &[]);
        assert_eq!((request.version, request.headers.get("transfer-encoding")), (Version::HTTP_2, None));
        let request = built_for(Version::HTTP_2, "/v1/files", &[("content-length", "9")]);
        assert_eq!(request.headers.get("content-length").unwrap(), "9");
        assert_eq!(built("/v1/files", &[]).version, Version::HTTP_11);
    }
}
