//! `[anomaly]`: what is looked for, and from where on it is told.

use std::time::Duration;

use super::reader::Section;
use crate::anomaly::Options;

/// Above that, a beat's work and the metrics of it are no longer small.
const MOST_NAMES: u64 = 1000;

/// The options; `None` when it is off.
pub(super) fn read(section: &Section<'_>) -> Option<Options> {
    let enabled = section.flag("enabled").unwrap_or(true);
    let default = Options::default();
    let beat = section.nonzero_duration("beat").unwrap_or(default.beat);
    if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&beat) {
        section.fault("beat", "is too short or too long", "write a time from \"100ms\" to \"60s\"; 10s is usual");
    }
    let names = |key: &'static str, default: usize| {
        let number = section.number(key);
        if number.is_some_and(|number| number > MOST_NAMES) {
            section.fault(key, "is too many for labels of a metric", format!("write at most {MOST_NAMES}"));
        }
        number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
    };
    let options = Options {
        beat,
        warm_up: section.duration("warm_up").unwrap_or(default.warm_up),
        threshold: within(section, "threshold", 3.0..=20.0).unwrap_or(default.threshold),
        ratio: within(section, "ratio", 1.2..=100.0).unwrap_or(default.ratio),
        top_teams: names("top_teams", default.top_teams),
        top_subjects: names("top_subjects", default.top_subjects),
        refused_tokens: section
            .count("refused_tokens")
            .map_or(default.refused_tokens, |count| u32::try_from(count).unwrap_or(u32::MAX)),
        addresses: section.count("addresses").map_or(default.addresses, |count| {
            if !(2..=32).contains(&count) {
                section.fault("addresses", "cannot be told apart", "write a number from 2 to 32");
            }
            usize::try_from(count).unwrap_or(default.addresses)
        }),
    };
    enabled.then_some(options)
}

fn within(section: &Section<'_>, key: &'static str, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
    let value = section.decimal(key)?;
    if !range.contains(&value) {
        section.fault(key, "is out of range", format!("write a number from {} to {}", range.start(), range.end()));
        return None;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::reader::Document;
    use super::*;

    fn parse(toml: &str) -> Result<Option<Options>, String> {
        let document = Document::new(Path::new("portcullis.toml"), format!("[anomaly]\n{toml}"));
        document.read(|root| Some(root.table("anomaly", read))).map_err(|faults| faults.to_string())
    }

    #[test]
    fn it_is_on_and_may_be_set_or_taken_away() {
        assert_eq!(parse("").unwrap(), Some(Options::default()));
        assert_eq!(parse("enabled = false").unwrap(), None);
        let options = parse("threshold = 5\nratio = 2.5\ntop_subjects = 0\nwarm_up = \"2d\"").unwrap().unwrap();
        assert!((options.threshold - 5.0).abs() < 1e-9 && (options.ratio - 2.5).abs() < 1e-9);
        assert_eq!((options.top_subjects, options.warm_up), (0, Duration::from_secs(172_800)));
        for bad in [
            "threshold = 1",
            "ratio = 0.5",
            "top_teams = 5000",
            "beat = \"5m\"",
            "addresses = 1",
            "refused_tokens = 0",
            "sensitivity = 3",
            "threshold = \"high\"",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
