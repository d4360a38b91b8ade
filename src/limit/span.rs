//! How long a use counts against a limit.

use std::fmt;
use std::time::{Duration, SystemTime};

/// The length of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// One second.
    Second,
    /// Sixty seconds.
    Minute,
    /// Sixty minutes.
    Hour,
    /// Twenty-four hours.
    Day,
    /// A month of the calendar.
    Month,
}

/// How long a use counts.
///
/// Time is counted in slots. A use belongs to the slot in which it was reserved and counts for as long as any window that
/// ends now may still overlap that slot: so no window of the length, wherever it begins, ever holds more than the bound, and
/// a refusal may come early by one slot at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Span {
    /// Any window of this length; months are only of the calendar.
    Sliding(Unit),
    /// The hour, day or month of the calendar in UTC: what was used is forgotten all at once, at a known time.
    Calendar(Unit),
    /// For as long as the request is under way.
    UnderWay,
}

impl Unit {
    /// As a rate names it: the `min` of `60/min`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// Reads the name of a unit.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "s" | "sec" | "second" => Some(Self::Second),
            "min" | "minute" => Some(Self::Minute),
            "h" | "hour" => Some(Self::Hour),
            "day" => Some(Self::Day),
            "month" => Some(Self::Month),
            _ => None,
        }
    }
}

impl Span {
    /// The slot that `now` (milliseconds since 1970) lies in.
    pub fn slot(self, now: u64) -> u64 {
        match self {
            Self::UnderWay => 0,
            Self::Calendar(Unit::Month) | Self::Sliding(Unit::Month) => month_of(now / DAY),
            Self::Calendar(_) | Self::Sliding(_) => now / self.slot_length(),
        }
    }

    /// How many slots before the current one still count.
    pub fn reach(self) -> u64 {
        match self {
            Self::Sliding(Unit::Second) => 25,
            Self::Sliding(Unit::Minute | Unit::Hour) => 30,
            Self::Sliding(Unit::Day) => 24,
            Self::Sliding(Unit::Month) | Self::Calendar(_) | Self::UnderWay => 0,
        }
    }

    /// When what was used in `slot` no longer counts, in milliseconds since 1970.
    pub fn end_of(self, slot: u64) -> u64 {
        match self {
            Self::UnderWay => 0,
            Self::Calendar(Unit::Month) | Self::Sliding(Unit::Month) => first_day_of(slot.saturating_add(1)) * DAY,
            Self::Calendar(_) | Self::Sliding(_) => (slot + self.reach() + 1).saturating_mul(self.slot_length()),
        }
    }

    /// Milliseconds of a slot. Months differ in length; for them, that of the longest.
    pub fn slot_length(self) -> u64 {
        match self {
            Self::UnderWay => 0,
            Self::Sliding(Unit::Second) => 40,
            Self::Calendar(Unit::Second) => 1_000,
            Self::Sliding(Unit::Minute) => 2_000,
            Self::Calendar(Unit::Minute) => 60_000,
            Self::Sliding(Unit::Hour) => 120_000,
            Self::Sliding(Unit::Day) | Self::Calendar(Unit::Hour) => HOUR,
            Self::Calendar(Unit::Day) => DAY,
            Self::Sliding(Unit::Month) | Self::Calendar(Unit::Month) => 31 * DAY,
        }
    }

    /// Whether uses count for an hour or longer, so that a restart must not forget them.
    pub fn outlives_a_restart(self) -> bool {
        matches!(self, Self::Sliding(Unit::Hour | Unit::Day | Unit::Month) | Self::Calendar(_))
    }

    /// The unit; `None` for requests under way.
    pub fn unit(self) -> Option<Unit> {
        match self {
            Self::Sliding(unit) | Self::Calendar(unit) => Some(unit),
            Self::UnderWay => None,
        }
    }
}

/// As keys and headers name it: `min`, `hour`, `calendar-day`, `now`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sliding(unit) => f.write_str(unit.name()),
            Self::Calendar(unit) => write!(f, "calendar-{}", unit.name()),
            Self::UnderWay => f.write_str("now"),
        }
    }
}

impl std::str::FromStr for Span {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.strip_prefix("calendar-") {
            Some(unit) => Unit::parse(unit).map(Self::Calendar),
            None if text == "now" => Some(Self::UnderWay),
            None => Unit::parse(text).map(Self::Sliding),
        }
        .ok_or(())
    }
}

/// Milliseconds since 1970; 0 for times before.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX / 2).min(u64::MAX / 2)
}

/// The time `millis` milliseconds after 1970.
pub(super) fn time_of(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(SystemTime::UNIX_EPOCH)
}

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

// Days and civil dates after Howard Hinnant, "chrono-compatible low-level date algorithms"; the script in Redis counts the
// same way. Months are numbered from year 0: twelve times the year plus the month from 0.

fn month_of(day: u64) -> u64 {
    let day = day + 719_468;
    let era = day / 146_097;
    let day_of_era = day % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era) * 12 + month_from_march + 2
}

fn first_day_of(month: u64) -> u64 {
    let from_march = month.saturating_sub(2);
    let (year, month_from_march) = (from_march / 12, from_march % 12);
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month_from_march + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn months_are_those_of_the_calendar() {
        let mut date = datetime!(1970-01-01 00:00 UTC);
        while date.year() < 2110 {
            let day = u64::try_from(date.unix_timestamp()).unwrap() / 86_400;
            let expected = u64::try_from(date.year()).unwrap() * 12 + u64::from(u8::from(date.month())) - 1;
            assert_eq!(month_of(day), expected, "{date}");
            if date.day() == 1 {
                assert_eq!(first_day_of(expected), day, "{date}");
            }
            date = date.saturating_add(time::Duration::DAY);
        }
    }

    #[test]
    fn a_use_counts_for_its_window_and_one_slot_more_at_most() {
        for (unit, length) in
            [(Unit::Second, 1_000), (Unit::Minute, 60_000), (Unit::Hour, 3_600_000), (Unit::Day, 86_400_000)]
        {
            let span = Span::Sliding(unit);
            assert_eq!(span.reach() * span.slot_length(), length);
            let now = 1_795_500_123_457;
            let end = span.end_of(span.slot(now));
            assert!(end > now + length - 1 && end <= now + length + span.slot_length(), "{span}");
        }
    }

    #[test]
    fn budgets_end_with_the_calendar() {
        let at = |time: time::OffsetDateTime| u64::try_from(time.unix_timestamp()).unwrap() * 1_000;
        let now = at(datetime!(2028-02-29 23:59:59 UTC));
        for (unit, end) in [
            (Unit::Hour, datetime!(2028-03-01 00:00 UTC)),
            (Unit::Day, datetime!(2028-03-01 00:00 UTC)),
            (Unit::Month, datetime!(2028-03-01 00:00 UTC)),
        ] {
            let span = Span::Calendar(unit);
            assert_eq!(span.end_of(span.slot(now)), at(end), "{span}");
            assert_ne!(span.slot(now), span.slot(at(end)));
        }
    }

    #[test]
    fn names_are_read_back() {
        for unit in [Unit::Second, Unit::Minute, Unit::Hour, Unit::Day, Unit::Month] {
            for span in [Span::Sliding(unit), Span::Calendar(unit), Span::UnderWay] {
                assert_eq!(span.to_string().parse(), Ok(span));
            }
        }
    }
}
