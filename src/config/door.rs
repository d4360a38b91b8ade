//! `[door]`: how much comes in from one address before anything is judged.

use std::time::Duration;

use super::reader::Section;
use crate::limit::{DoorBound, Rate, Unit};

/// How much comes in from one address. A bound that is `None` is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoorConfig {
    /// Requests.
    pub requests: Option<DoorBound>,
    /// Tokens that were refused.
    pub refused_tokens: Option<DoorBound>,
}

/// What no client does by itself, also not many behind one address.
const REQUESTS: Rate = Rate { amount: 10_000, unit: Unit::Second };
const REFUSED_TOKENS: Rate = Rate { amount: 6_000, unit: Unit::Minute };

pub(super) fn read(section: &Section<'_>) -> DoorConfig {
    DoorConfig {
        requests: bound(section, "requests", REQUESTS),
        refused_tokens: bound(section, "refused_tokens", REFUSED_TOKENS),
    }
}

/// `"off"` takes the bound away: what stands before this proxy may keep one.
fn bound(section: &Section<'_>, key: &'static str, default: Rate) -> Option<DoorBound> {
    if section.text(key).as_deref() == Some("off") {
        return None;
    }
    let rate = section.parsed(key, "a rate such as \"100/s\" (s, min, hour, day), or \"off\"").unwrap_or(default);
    let seconds = match rate.unit {
        Unit::Second => 1,
        Unit::Minute => 60,
        Unit::Hour => 3_600,
        Unit::Day => 86_400,
        Unit::Month => {
            section.fault(key, "has no window of a fixed length", "use s, min, hour or day");
            return None;
        }
    };
    Some(DoorBound { events: rate.amount, interval: Duration::from_secs(seconds) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::reader::Document;
    use super::*;

    fn parse(toml: &str) -> Result<DoorConfig, String> {
        let document = Document::new(Path::new("portcullis.toml"), format!("[door]\n{toml}"));
        document.read(|root| Some(root.table("door", read))).map_err(|faults| faults.to_string())
    }

    #[test]
    fn bounds_have_defaults_and_may_be_taken_away() {
        let door = parse("requests = \"off\"").unwrap();
        assert_eq!((door.requests, door.refused_tokens.unwrap().events), (None, 6_000));
        let door = parse("refused_tokens = \"5/h\"").unwrap();
        assert_eq!(door.refused_tokens, Some(DoorBound { events: 5, interval: Duration::from_secs(3600) }));
        assert_eq!(door.requests.unwrap().interval, Duration::from_secs(1));
        for bad in ["requests = 7", "requests = \"7\"", "requests = \"7/month\"", "request = \"7/s\""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
