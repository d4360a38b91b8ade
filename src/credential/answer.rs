//! What an answer of the upstream says of the limits of the key that it was asked with.

use std::time::{Duration, SystemTime};

use http::header::{HeaderMap, RETRY_AFTER};
use http::{HeaderName, StatusCode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How long a key is taken for limited when the upstream does not say.
const DEFAULT: Duration = Duration::from_secs(10);
/// The longest that one answer can make a key limited for.
const MAX: Duration = Duration::from_secs(3600);

/// What is left of each limit, and when it is whole again (API reference, "Rate limits", response headers).
static LIMITS: [(HeaderName, HeaderName); 4] = [
    (
        HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
        HeaderName::from_static("anthropic-ratelimit-requests-reset"),
    ),
    (
        HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
        HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
    ),
    (
        HeaderName::from_static("anthropic-ratelimit-input-tokens-remaining"),
        HeaderName::from_static("anthropic-ratelimit-input-tokens-reset"),
    ),
    (
        HeaderName::from_static("anthropic-ratelimit-output-tokens-remaining"),
        HeaderName::from_static("anthropic-ratelimit-output-tokens-reset"),
    ),
];

/// Until when the key is limited, if it is: after a 429 for as long as `retry-after` says, in whole seconds; after any
/// answer that leaves nothing of a limit, until that one is reset. A 529 says that the upstream is overloaded, and nothing
/// of the key.
pub(super) fn limited_until(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    let told = (status == StatusCode::TOO_MANY_REQUESTS).then(|| retry_after(headers, now)).flatten();
    let until = told.or_else(|| last_reset(headers, now));
    match status {
        StatusCode::TOO_MANY_REQUESTS => Some(until.unwrap_or(now + DEFAULT)),
        _ => until,
    }
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(now + Duration::from_secs(seconds).min(MAX))
}

/// The last reset, still to come, of a limit of which nothing is left.
fn last_reset(headers: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    let exhausted = LIMITS.iter().filter(|(remaining, _)| headers.get(remaining).is_some_and(|left| left == "0"));
    let resets = exhausted.filter_map(|(_, reset)| {
        let reset = OffsetDateTime::parse(headers.get(reset)?.to_str().ok()?, &Rfc3339).ok()?;
        Some(SystemTime::from(reset).min(now + MAX))
    });
    resets.filter(|&reset| reset > now).max()
}

#[cfg(test)]
mod tests {
    use super::super::tests::at;
    use super::*;

    fn seconds(status: u16, headers: &[(&'static str, &str)]) -> Option<u64> {
        let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let until = limited_until(StatusCode::from_u16(status).unwrap(), &headers.collect(), at(0))?;
        Some(until.duration_since(at(0)).unwrap().as_secs())
    }

    #[test]
    fn a_429_limits_for_as_long_as_it_says() {
        assert_eq!(seconds(429, &[("retry-after", "17")]), Some(17));
        assert_eq!(seconds(429, &[]), Some(10));
        assert_eq!(seconds(429, &[("retry-after", "soon")]), Some(10));
        assert_eq!(seconds(429, &[("retry-after", "86400")]), Some(3600));
        assert_eq!(seconds(429, &[("retry-after", "18446744073709551615")]), Some(3600));
    }

    #[test]
    fn a_limit_of_which_nothing_is_left_limits_until_its_reset() {
        let left = [
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2027-01-15T08:00:20Z"),
            ("anthropic-ratelimit-output-tokens-remaining", "0"),
            ("anthropic-ratelimit-output-tokens-reset", "2027-01-15T09:00:40+01:00"),
            ("anthropic-ratelimit-input-tokens-remaining", "1000"),
            ("anthropic-ratelimit-input-tokens-reset", "2027-01-15T08:00:55Z"),
        ];
        assert_eq!(seconds(200, &left), Some(40));
        assert_eq!(seconds(429, &left), Some(40), "better than a guess");
        let with_time: Vec<_> = left.iter().copied().chain([("retry-after", "3")]).collect();
        assert_eq!(seconds(429, &with_time), Some(3), "what it says of this call counts first");
        assert_eq!(seconds(200, &left[4..]), None);
    }

    #[test]
    fn resets_that_mean_nothing_limit_nothing() {
        for (reset, limited) in [
            ("2027-01-15T07:59:59Z", None),
            ("tomorrow", None),
            ("-9999-01-01T00:00:00Z", None),
            ("9999-12-31T23:59:59Z", Some(3600)),
        ] {
            let left = [("anthropic-ratelimit-tokens-remaining", "0"), ("anthropic-ratelimit-tokens-reset", reset)];
            assert_eq!(seconds(200, &left), limited, "{reset}");
        }
        assert_eq!(seconds(200, &[("anthropic-ratelimit-tokens-remaining", "0")]), None);
    }

    #[test]
    fn an_overloaded_upstream_says_nothing_of_the_key() {
        assert_eq!(seconds(529, &[("retry-after", "5")]), None);
        assert_eq!(seconds(503, &[("retry-after", "5")]), None);
    }
}
