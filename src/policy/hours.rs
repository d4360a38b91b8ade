//! Hours of the week in which a rule holds.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// Windows of the day on days of the week, on a clock with a fixed distance from UTC. Default: always.
///
/// A window that ends before it begins goes on over midnight, and belongs to the day on which it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// When on a day; empty: all day.
    pub windows: Vec<Window>,
    /// On which days.
    pub days: Days,
    /// The clock.
    pub offset: UtcOffset,
}

impl Default for Hours {
    fn default() -> Self {
        Self { windows: Vec::new(), days: Days::ALL, offset: UtcOffset::UTC }
    }
}

/// From one minute of the day up to but not including another, written `"08:00-18:00"`; `24:00` ends a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from: u64,
    to: u64,
}

/// Days of the week, written `"mon-fri"` or `"sat"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

/// Seconds east of UTC, written `"+01:00"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UtcOffset(i64);

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Hours {
    /// Whether `now` is within them.
    pub fn include(&self, now: SystemTime) -> bool {
        if self.are_always() {
            return true;
        }
        // A clock that stands before 1970 is no clock to open anything by.
        let Ok(since) = now.duration_since(UNIX_EPOCH) else { return false };
        let Some(local) = since.as_secs().checked_add_signed(self.offset.0) else { return false };
        let (day, second) = (local / DAY, local % DAY);
        let today = self.days.have(day);
        if self.windows.is_empty() {
            return today;
        }
        let yesterday = day.checked_sub(1).is_some_and(|day| self.days.have(day));
        self.windows.iter().any(|&Window { from, to }| {
            if from < to {
                today && (from..to).contains(&second)
            } else {
                today && second >= from || yesterday && second < to
            }
        })
    }

    /// Whether they leave out nothing.
    pub fn are_always(&self) -> bool {
        self.windows.is_empty() && self.days == Days::ALL
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.are_always() {
            return f.write_str("always");
        }
        let days: Vec<&str> =
            (0_u64..).zip(NAMES).filter(|(day, _)| self.days.0 >> day & 1 == 1).map(|(_, name)| name).collect();
        let windows: Vec<String> = self.windows.iter().map(ToString::to_string).collect();
        let (sign, offset) = if self.offset.0 < 0 { ('-', -self.offset.0) } else { ('+', self.offset.0) };
        let windows = if windows.is_empty() { "all day".to_owned() } else { windows.join(",") };
        write!(f, "{} {windows} UTC{sign}{:02}:{:02}", days.join(","), offset / 3600, offset / 60 % 60)
    }
}

impl Serialize for Hours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0x7f);

    /// All days of `each`; of none, every day.
    pub fn of(each: &[Self]) -> Self {
        if each.is_empty() { Self::ALL } else { Self(each.iter().fold(0, |all, days| all | days.0)) }
    }

    /// Whether the day that is `day` days after 1970-01-01, a Thursday, is one of them.
    fn have(self, day: u64) -> bool {
        self.0 >> ((day + 3) % 7) & 1 == 1
    }
}

impl FromStr for Days {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let day = |name: &str| NAMES.iter().position(|known| *known == name).ok_or(());
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(text)?, day(text)?),
        };
        let length = (last + 7 - first) % 7;
        Ok(Self((0..=length).fold(0, |days, after| days | 1 << ((first + after) % 7))))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hour = |second: u64| second / 3600;
        let minute = |second: u64| second / MINUTE % 60;
        write!(f, "{:02}:{:02}-{:02}:{:02}", hour(self.from), minute(self.from), hour(self.to), minute(self.to))
    }
}

impl FromStr for Window {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (from, to) = text.split_once('-').ok_or(())?;
        let (from, to) = (second_of_day(from)?, second_of_day(to)?);
        // From and to the same moment could mean all or nothing.
        if from == to || from == DAY { Err(()) } else { Ok(Self { from, to }) }
    }
}

impl UtcOffset {
    /// UTC itself.
    pub const UTC: Self = Self(0);
}

impl FromStr for UtcOffset {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (sign, clock) = match text.split_at_checked(1).ok_or(())? {
            ("+", clock) => (1, clock),
            ("-", clock) => (-1, clock),
            _ => return Err(()),
        };
        let seconds = i64::try_from(second_of_day(clock)?).map_err(|_| ())?;
        if seconds > 14 * 3600 { Err(()) } else { Ok(Self(sign * seconds)) }
    }
}

/// Reads `"HH:MM"`, from 00:00 to 24:00.
fn second_of_day(clock: &str) -> Result<u64, ()> {
    let (hour, minute) = clock.split_once(':').ok_or(())?;
    let number = |text: &str| -> Result<u64, ()> {
        if text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            text.parse().map_err(|_| ())
        } else {
            Err(())
        }
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let second = (hour * 60 + minute) * MINUTE;
    if minute < 60 && second <= DAY { Ok(second) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hours(windows: &[&str], days: &[&str], offset: &str) -> Hours {
        let days: Vec<Days> = days.iter().map(|days| days.parse().unwrap()).collect();
        Hours {
            windows: windows.iter().map(|window| window.parse().unwrap()).collect(),
            days: Days::of(&days),
            offset: offset.parse().unwrap(),
        }
    }

    /// A moment of the week that began on Monday, 2026-11-23.
    fn at(day: u64, clock: &str) -> SystemTime {
        const MONDAY: u64 = 1_795_392_000;
        UNIX_EPOCH + Duration::from_secs(MONDAY + day * DAY + second_of_day(clock).unwrap())
    }

    #[test]
    fn windows_hold_on_their_days_and_by_their_clock() {
        let office = hours(&["08:00-12:00", "13:00-18:00"], &["mon-fri"], "+01:00");
        for (day, clock, open) in [
            (0, "06:59", false),
            (0, "07:00", true),
            (0, "11:00", false),
            (0, "12:00", true),
            (4, "16:59", true),
            (4, "17:00", false),
            (5, "10:00", false),
            (6, "10:00", false),
        ] {
            assert_eq!(office.include(at(day, clock)), open, "{day} {clock}");
        }
        assert_eq!(office.to_string(), "mon,tue,wed,thu,fri 08:00-12:00,13:00-18:00 UTC+01:00");
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_began() {
        let night = hours(&["22:00-06:00"], &["fri-sat"], "+00:00");
        for (day, clock, open) in [
            (4, "05:00", false),
            (4, "22:00", true),
            (5, "05:59", true),
            (5, "06:00", false),
            (6, "05:00", true),
            (6, "22:00", false),
        ] {
            assert_eq!(night.include(at(day, clock)), open, "{day} {clock}");
        }
        // East of UTC the week begins earlier.
        assert!(hours(&[], &["mon"], "+14:00").include(at(6, "10:00")));
        assert!(!hours(&[], &["mon"], "-05:30").include(at(0, "05:29")));
    }

    #[test]
    fn without_a_word_they_are_always_and_before_1970_only_then() {
        let long_ago = UNIX_EPOCH - Duration::from_secs(1);
        assert!(Hours::default().include(long_ago) && Hours::default().are_always());
        assert!(!hours(&["00:00-24:00"], &[], "+00:00").include(long_ago));
        assert!(hours(&["00:00-24:00"], &[], "+00:00").include(at(3, "23:59")));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_none() {
        for bad in ["", "08:00", "8:00-9:00", "08:00-08:00", "24:00-08:00", "08:60-09:00", "25:00-26:00", "08:00-24:01"]
        {
            assert!(bad.parse::<Window>().is_err(), "{bad}");
        }
        for bad in ["", "Mon", "monday", "mon-", "mon,tue"] {
            assert!(bad.parse::<Days>().is_err(), "{bad}");
        }
        for bad in ["", "01:00", "+1:00", "+15:00", "\u{2212}01:00", "Z"] {
            assert!(bad.parse::<UtcOffset>().is_err(), "{bad}");
        }
        assert_eq!("sat-mon".parse::<Days>(), Ok(Days(0b110_0001)));
    }
}
