//! W3C Trace Context, levels 1 and 2: what a caller says of the trace that its request is part of. What breaks the rules is as
//! good as absent.

use http::header::GetAll;
use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{SpanId, TraceFlags, TraceId};

/// Level 2: the last 56 bits of the trace id are random.
pub(super) const RANDOM: u8 = 2;

/// The parent that `traceparent` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The caller's span.
    pub span: SpanId,
    /// Those flags that this version knows.
    pub flags: TraceFlags,
}

impl TraceParent {
    /// Parses the value of `traceparent` (section 3.2): of version 00 to the letter, of a later one what it has in common
    /// with 00, of `ff` never.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(value).ok()?.splitn(5, '-');
        let mut field = |digits| fields.next().and_then(|field| lower_hex(field, digits));
        let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        let has_more = fields.next().is_some();
        if version == 0xff || (version == 0 && has_more) || trace == 0 || span == 0 {
            return None;
        }
        Some(Self {
            trace: TraceId::from(trace),
            span: SpanId::from(u64::try_from(span).ok()?),
            flags: TraceFlags::new(u8::try_from(flags).ok()? & (TraceFlags::SAMPLED.to_u8() | RANDOM)),
        })
    }

    /// Takes it from a request with exactly one `traceparent`.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        Self::parse(value.as_bytes())
    }
}

/// A number of so many lower-case hex digits.
fn lower_hex(text: &str, digits: usize) -> Option<u128> {
    let fits = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Most members of a `tracestate` (section 3.3.1.1).
const MAX_MEMBERS: usize = 32;
/// Its longest length that must be passed on (section 3.3.1.5); a longer one is dropped.
const MAX_STATE: usize = 512;
/// Longest key, and longest value.
const MAX_WORD: usize = 256;

/// The lines of `tracestate` as one; `None` when there is none, or when one member breaks the rules: then all of it is to be
/// dropped, and `traceparent` holds all the same.
pub(super) fn trace_state(lines: &GetAll<'_, HeaderValue>) -> Option<String> {
    let mut keys: Vec<&[u8]> = Vec::new();
    let mut state = Vec::new();
    for member in lines.iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b',')) {
        let member = trim(member);
        if member.is_empty() {
            continue;
        }
        let at = memchr::memchr(b'=', member)?;
        let (key, value) = (member.get(..at)?, member.get(at + 1..)?);
        if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MAX_MEMBERS {
            return None;
        }
        keys.push(key);
        if !state.is_empty() {
            state.push(b',');
        }
        state.extend_from_slice(member);
        if state.len() > MAX_STATE {
            return None;
        }
    }
    String::from_utf8(state).ok().filter(|state| !state.is_empty())
}

fn trim(mut member: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = member {
        member = rest;
    }
    member
}

/// Level 2, section 3.3.1.3.1, of which level 1's keys are a part.
fn is_key(key: &[u8]) -> bool {
    let is_start = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    key.len() <= MAX_WORD
        && key.first().is_some_and(is_start)
        && key.iter().all(|byte| is_start(byte) || b"_-*/@".contains(byte))
}

/// Section 3.3.1.3.2: visible ASCII and spaces, but for comma and equals sign.
fn is_value(value: &[u8]) -> bool {
    (1..=MAX_WORD).contains(&value.len()) && value.iter().all(|&byte| matches!(byte, b' '..=b'~') && byte != b'=')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_parent_is_read_to_the_letter() {
        let parent = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((parent.span.to_string().as_str(), parent.flags.is_sampled()), ("00f067aa0ba902b7", true));
        let flags = |value: &str| TraceParent::parse(value.as_bytes()).map(|parent| parent.flags.to_u8());
        assert_eq!(flags(&GOOD.replace("-01", "-00")), Some(0));
        assert_eq!(flags(&GOOD.replace("-01", "-ff")), Some(3), "flags that are not known are zero");
        assert_eq!(flags(&GOOD.replacen("00-", "01-", 1)), Some(1), "a later version");
        assert_eq!(flags(&format!("{}-what-may-come", GOOD.replacen("00-", "cc-", 1))), Some(1));
        for bad in [
            "",
            "00",
            &GOOD.replacen("00-", "ff-", 1),
            &GOOD.to_uppercase(),
            &format!("{GOOD}-"),
            &format!("{GOOD}-00"),
            &format!(" {GOOD}"),
            &format!("{GOOD} "),
            &format!("{}x", GOOD.replacen("00-", "cc-", 1)),
            &GOOD.replacen("00-", "+0-", 1),
            &GOOD.replacen("4bf9", "+bf9", 1),
            &GOOD.replacen("4bf9", "4bfg", 1),
            &GOOD.replacen("4bf9", "4bf", 1),
            &GOOD.replacen('-', "_", 1),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-\u{0661}",
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn two_parents_are_none() {
        let mut headers = HeaderMap::new();
        headers.append("traceparent", GOOD.parse().unwrap());
        assert!(TraceParent::from_headers(&headers).is_some());
        headers.append("traceparent", GOOD.parse().unwrap());
        assert_eq!(TraceParent::from_headers(&headers), None);
    }

    fn state(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("tracestate", HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        trace_state(&headers.get_all("tracestate"))
    }

    #[test]
    fn a_state_is_taken_whole_or_not_at_all() {
        assert_eq!(state(&["a=1, b=2", "", "t1@sys=x y"]).unwrap(), "a=1,b=2,t1@sys=x y");
        assert_eq!(state(&[]), None);
        let many = |count: usize| (0..count).map(|at| format!("k{at}=1")).collect::<Vec<_>>().join(",");
        assert!(state(&[&many(32)]).is_some());
        for bad in
            ["a", "a=", "A=1", "@a=1", "a=1,a=2", "a=b=c", "a=1;b=2, ü=1", &many(33), &format!("a={}", "x".repeat(257))]
        {
            assert_eq!(state(&[bad]), None, "{bad}");
        }
        let long = format!("a={0},b={0},c={0}", "x".repeat(200));
        assert_eq!(state(&[&long]), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_left(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(parent) = TraceParent::parse(&value) {
                prop_assert!(value.len() >= 55);
                prop_assert!(parent.trace != TraceId::INVALID && parent.span != SpanId::INVALID);
            }
        }

        #[test]
        fn what_is_written_is_read_again(trace in 1..u128::MAX, span in 1..u64::MAX, flags in 0..=3_u8) {
            let value = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
            let parent = TraceParent::parse(value.as_bytes()).unwrap();
            prop_assert_eq!(u128::from_be_bytes(parent.trace.to_bytes()), trace);
            prop_assert_eq!(u64::from_be_bytes(parent.span.to_bytes()), span);
            prop_assert_eq!(parent.flags.to_u8(), flags);
        }

        #[test]
        fn one_byte_more_less_or_other_is_no_parent(at in 0..GOOD.len(), byte in any::<u8>()) {
            let mut other = GOOD.as_bytes().to_vec();
            other.remove(at);
            prop_assert_eq!(TraceParent::parse(&other), None);
            other.insert(at, byte);
            let is_hex = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            // A later version is read too; a dash stays a dash.
            let stays = if GOOD.as_bytes()[at] == b'-' { byte == b'-' } else { is_hex };
            prop_assert_eq!(TraceParent::parse(&other).is_some(), stays);
            other.insert(at, byte);
            prop_assert_eq!(TraceParent::parse(&other), None);
        }

        #[test]
        fn a_state_that_is_taken_fits(lines in proptest::collection::vec("[ -~]{0,40}", 0..8)) {
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            if let Some(taken) = state(&lines) {
                prop_assert!(taken.len() <= MAX_STATE);
                prop_assert_eq!(state(&[&taken]), Some(taken));
            }
        }
    }
}
