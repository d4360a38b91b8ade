//! Durations, sizes and rates as people write them: `"30s"`, `"32MiB"`, `"60/min"`, `"2.50/day"`.

use std::str::FromStr;
use std::time::Duration;

use crate::limit::{Rate, Unit};

/// Parses a whole number with one of the units `ms`, `s`, `m`, `h`, `d`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// Parses a whole number of bytes with one of the units `B`, `KiB`, `MiB`, `GiB`.
pub fn size(text: &str) -> Option<usize> {
    let (number, unit) = split(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    usize::try_from(number.checked_mul(bytes)?).ok()
}

/// A budget: nano-dollars in an hour, a day or a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DollarRate {
    /// How much, in nano-dollars.
    pub amount: u64,
    /// In which period.
    pub unit: Unit,
}

/// A whole number from 1 and a window: `60/min`.
impl FromStr for Rate {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, unit) = text.split_once('/').ok_or(())?;
        let amount = digits(number.trim()).filter(|&amount| amount > 0).ok_or(())?;
        Ok(Self { amount, unit: Unit::parse(unit.trim()).ok_or(())? })
    }
}

/// US dollars, with up to nine decimals, and a period: `2.50/day`.
impl FromStr for DollarRate {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, unit) = text.split_once('/').ok_or(())?;
        let unit = Unit::parse(unit.trim()).filter(|unit| matches!(unit, Unit::Hour | Unit::Day | Unit::Month));
        let amount = nano_dollars(number.trim()).filter(|&amount| amount > 0);
        Ok(Self { amount: amount.ok_or(())?, unit: unit.ok_or(())? })
    }
}

fn nano_dollars(number: &str) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let decimals = u32::try_from(fraction.len()).ok().filter(|&decimals| decimals <= 9)?;
    let nanos = digits(fraction)?.checked_mul(10_u64.pow(9 - decimals))?;
    digits(whole)?.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// A number of ASCII digits alone: `u64`'s own parser takes a sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_needs_a_unit() {
        assert_eq!(duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("1 h"), Some(Duration::from_secs(3600)));
        assert_eq!(size("32MiB"), Some(32 << 20));
        assert_eq!(size("7B"), Some(7));
        for bad in ["", "30", "s", "-1s", "1.5s", "30 seconds", "99999999999999999d"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        for (text, amount, unit) in [("60/min", 60, Unit::Minute), ("1/s", 1, Unit::Second), ("9 / h", 9, Unit::Hour)] {
            assert_eq!(text.parse(), Ok(Rate { amount, unit }), "{text}");
        }
        for (text, amount, unit) in [
            ("50/day", 50_000_000_000, Unit::Day),
            ("2.50/month", 2_500_000_000, Unit::Month),
            ("0.000000001/hour", 1, Unit::Hour),
        ] {
            assert_eq!(text.parse(), Ok(DollarRate { amount, unit }), "{text}");
        }
        for bad in ["", "60", "60/", "/min", "0/min", "+1/min", "-1/min", "1.5/min", "1/week", "18446744073709551616/s"]
        {
            assert_eq!(bad.parse::<Rate>(), Err(()), "{bad}");
        }
        for bad in
            ["0/day", "0.0/day", ".5/day", "1./day", "1.0000000001/day", "1.+5/day", "5/min", "99999999999999/day"]
        {
            assert_eq!(bad.parse::<DollarRate>(), Err(()), "{bad}");
        }
        for bad in ["", "32", "32MB", "MiB", "99999999999999999GiB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
