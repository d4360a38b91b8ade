//! This host's clock beside those of others.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Response;
use http::header::DATE;

use super::finding::{Check, Finding};

/// What another clock has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// The times that it may have shown: HTTP tells whole seconds.
    shown: (SystemTime, SystemTime),
    /// The times by our own between which it did.
    between: (SystemTime, SystemTime),
}

/// How this host's clock stands to another, at the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Apart {
    /// No difference shows.
    Nothing,
    Behind(Duration),
    Ahead(Duration),
}

/// How far clocks may differ.
const MOST: Duration = Duration::from_secs(5);

impl Reading {
    /// A clock that showed `time`, asked and answered `between` these times by our own.
    pub(super) fn of(time: SystemTime, between: (SystemTime, SystemTime)) -> Self {
        Self { shown: (time, time), between }
    }

    /// That of an answer's `Date` (RFC 9110 section 6.6.1); `None` where it has none.
    pub(super) fn of_answer(answer: &Response<Bytes>, between: (SystemTime, SystemTime)) -> Option<Self> {
        let date = httpdate::parse_http_date(answer.headers().get(DATE)?.to_str().ok()?).ok()?;
        Some(Self { shown: (date, date + Duration::from_secs(1)), between })
    }

    fn apart(&self) -> Apart {
        let ((earliest, latest), (asked, answered)) = (self.shown, self.between);
        match (earliest.duration_since(answered), asked.duration_since(latest)) {
            (Ok(behind), _) if !behind.is_zero() => Apart::Behind(behind),
            (_, Ok(ahead)) if !ahead.is_zero() => Apart::Ahead(ahead),
            _ => Apart::Nothing,
        }
    }
}

/// Whether this host's clock and the one of `whose` agree. Tokens, certificates and records depend on it.
pub(super) fn judge(whose: &str, reading: Option<Reading>, without: &str) -> Finding {
    let Some(reading) = reading else { return Check::Clock.skips(whose, without) };
    let (apart, word) = match reading.apart() {
        Apart::Nothing => (Duration::ZERO, ""),
        Apart::Behind(apart) => (apart, "behind"),
        Apart::Ahead(apart) => (apart, "ahead of"),
    };
    if apart <= MOST {
        return Check::Clock.passes(whose, format!("this host's clock is within {} s of its clock", MOST.as_secs()));
    }
    Check::Clock.fails(
        whose,
        format!("this host's clock is {} s {word} its clock", apart.as_secs()),
        "set this host's clock by NTP (`chronyc tracking` shows how it stands); tokens, certificates and records need it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_000 + millis)
    }

    fn apart(shown: (u64, u64), between: (u64, u64)) -> Apart {
        Reading { shown: (at(shown.0), at(shown.1)), between: (at(between.0), at(between.1)) }.apart()
    }

    #[test]
    fn only_a_difference_that_is_sure_counts() {
        let seconds = Duration::from_secs;
        assert_eq!(apart((10_000, 11_000), (10_400, 10_900)), Apart::Nothing);
        assert_eq!(apart((10_000, 11_000), (4_000, 10_000)), Apart::Nothing, "a slow answer says little");
        assert_eq!(apart((10_000, 11_000), (3_500, 4_000)), Apart::Behind(seconds(6)));
        assert_eq!(apart((10_000, 11_000), (17_000, 17_100)), Apart::Ahead(seconds(6)));
    }

    #[test]
    fn more_than_five_seconds_are_a_fault() {
        for (theirs, ours, fault) in [(10, 15, false), (10, 16, true), (15, 10, false), (16, 10, true)] {
            let reading = Reading::of(at(theirs * 1000), (at(ours * 1000), at(ours * 1000)));
            assert_eq!(judge("store", Some(reading), "").is_fault(), fault, "{theirs} {ours}");
        }
        assert!(!judge("upstream", None, "it has not answered").is_fault());
    }

    #[test]
    fn an_answer_tells_the_second_or_nothing() {
        let now = (at(0), at(1));
        let answer = |date| Response::builder().header("date", date).body(Bytes::new()).unwrap();
        let reading = Reading::of_answer(&answer("Fri, 15 Jan 2027 08:00:00 GMT"), now).unwrap();
        assert_eq!((reading.shown, reading.apart()), ((at(0), at(1000)), Apart::Nothing));
        assert_eq!(Reading::of_answer(&answer("today"), now), None);
        assert_eq!(Reading::of_answer(&Response::new(Bytes::new()), now), None);
    }
}
