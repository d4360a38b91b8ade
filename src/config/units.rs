//! Durations and sizes as people write them: `"30s"`, `"32MiB"`.

use std::time::Duration;

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

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_a_unit() {
        assert_eq!(duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("1 h"), Some(Duration::from_secs(3600)));
        assert_eq!(size("32MiB"), Some(32 << 20));
        assert_eq!(size("7B"), Some(7));
        for bad in ["", "30", "s", "-1s", "1.5s", "30 seconds", "99999999999999999d"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        for bad in ["", "32", "32MB", "MiB", "99999999999999999GiB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
