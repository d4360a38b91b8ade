//! Keeps clients on this side of the gateway when a batch is done.
//!
//! `results_url` in an answer about a batch is absolute, on the API's own origin, and both SDKs fetch it as it is with
//! the caller's credential: past the gateway, handing the company's token to a stranger. Both take a path as well.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::bytes::Regex;

/// The key, and the scheme and authority of its value, as far as they stand in front of the API's own path.
static ORIGIN: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"("results_url"\s*:\s*")https?:(?:\\?/){2}[^/\\"]*(\\?/v1)"#).ok());

/// `body` with every `results_url` cut down to its path. Answers about batches hold no free text in which the key
/// could stand for anything else.
pub fn relative_results_url(body: &[u8]) -> Cow<'_, [u8]> {
    ORIGIN.as_ref().map_or(Cow::Borrowed(body), |origin| origin.replace_all(body, &b"$1$2"[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_origin_goes() {
        for (body, expected) in [
            (
                r#"{"id":"b","results_url":"https://api.anthropic.com/v1/messages/batches/b/results"}"#,
                r#"{"id":"b","results_url":"/v1/messages/batches/b/results"}"#,
            ),
            (
                r#"{"data":[{"results_url" : "http://x:1/v1/a"},{"results_url":null}]}"#,
                r#"{"data":[{"results_url" : "/v1/a"},{"results_url":null}]}"#,
            ),
            (r#"{"results_url":"https:\/\/api.anthropic.com\/v1\/a"}"#, r#"{"results_url":"\/v1\/a"}"#),
            (r#"{"results_url":"/v1/a","url":"https://x/v1/b"}"#, r#"{"results_url":"/v1/a","url":"https://x/v1/b"}"#),
        ] {
            assert_eq!(String::from_utf8_lossy(&relative_results_url(body.as_bytes())), expected);
        }
    }
}
