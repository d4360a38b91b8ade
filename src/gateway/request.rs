//! The request that goes upstream: made anew from what is known to be wanted, not cut down from what the client sent.

use http::{HeaderName, header};
use pingora::Result;
use pingora::http::RequestHeader;

use crate::claude::BodyRule;

/// What the new head is made from.
pub(super) struct Parts<'a> {
    /// The client's head.
    pub(super) client: &'a RequestHeader,
    /// The path as the upstream knows it.
    pub(super) path: &'a str,
    /// The query, without its question mark.
    pub(super) query: Option<&'a str>,
    /// The host of the upstream.
    pub(super) host: &'a str,
    /// What is done with the body.
    pub(super) body: BodyRule,
    /// The length of a body that was judged.
    pub(super) body_length: u64,
    /// The caller's token, which must not be in any header that goes on.
    pub(super) token: &'a [u8],
}

/// The head that goes upstream, still without a key.
pub(super) fn build(parts: &Parts<'_>) -> Result<RequestHeader> {
    let client = parts.client;
    let target = match parts.query {
        Some(query) => format!("{}?{query}", parts.path),
        None => parts.path.to_owned(),
    };
    let mut request = RequestHeader::build(client.method.clone(), target.as_bytes(), Some(24))?;
    request.insert_header(header::HOST, parts.host)?;
    for (name, value) in &client.headers {
        if passes(name) && memchr::memmem::find(value.as_bytes(), parts.token).is_none() {
            request.append_header(name.clone(), value.clone())?;
        }
    }
    // Usage is read beside the relay, from plain text.
    request.insert_header(header::ACCEPT_ENCODING, "identity")?;
    match parts.body {
        BodyRule::Judged(_) => request.insert_header(header::CONTENT_LENGTH, parts.body_length.to_string())?,
        BodyRule::Streamed => match client.headers.get(header::CONTENT_LENGTH) {
            Some(length) => request.insert_header(header::CONTENT_LENGTH, length.clone())?,
            None => request.insert_header(header::TRANSFER_ENCODING, "chunked")?,
        },
        BodyRule::Absent => {}
    }
    Ok(request)
}

/// Headers that go on. The list is of what the API reads (API reference, SDK sources), so everything else ends here by
/// itself: credentials, cookies, hop-by-hop headers and whatever `Connection` names (RFC 9110 section 7.6.1),
/// forwarding headers, `Origin` (the API refuses browsers' calls with some keys) and baggage.
fn passes(name: &HeaderName) -> bool {
    matches!(*name, header::ACCEPT | header::CONTENT_TYPE | header::USER_AGENT)
        || name.as_str().starts_with("x-stainless-")
        || name.as_str().starts_with("anthropic-") && name != "anthropic-dangerous-direct-browser-access"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::Shape;

    fn built(headers: &[(&'static str, &str)], body: BodyRule) -> RequestHeader {
        let mut client = RequestHeader::build("POST", b"/claude/messages?beta=true", None).unwrap();
        for (name, value) in headers {
            client.append_header(*name, *value).unwrap();
        }
        build(&Parts {
            client: &client,
            path: "/v1/messages",
            query: client.uri.query(),
            host: "api.anthropic.com",
            body,
            body_length: 7,
            token: b"a.b.c",
        })
        .unwrap()
    }

    #[test]
    fn what_the_api_reads_goes_on_and_nothing_else() {
        let request = built(
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
                ("transfer-encoding", "chunked"),
                ("accept-encoding", "gzip"),
                ("host", "gateway.internal"),
            ],
            BodyRule::Judged(Shape::Message),
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
    fn uploads_keep_their_length_or_go_chunked() {
        assert_eq!(built(&[("content-length", "9")], BodyRule::Streamed).headers.get("content-length").unwrap(), "9");
        assert_eq!(built(&[], BodyRule::Streamed).headers.get("transfer-encoding").unwrap(), "chunked");
    }
}
