//! `[[limit]]` and `[prices]`: how much.

use std::collections::HashSet;
use std::sync::Arc;

use super::reader::Section;
use super::units::DollarRate;
use crate::claude::{ModelPattern, Prices};
use crate::limit::{Bound, Measure, OnExhausted, OnStoreFailure, Per, Rate, Rule, Span, Unit};

/// The rules, in the order of the file, each with another name.
pub(super) fn read(root: &Section<'_>) -> Option<Vec<Rule>> {
    let mut names = HashSet::new();
    let rules: Option<Vec<Rule>> = root
        .tables("limit", |section| {
            let mut rule = rule(section)?;
            if !section.has("name") {
                // Rules of one kind, with another window say, count one by one.
                let base = Arc::clone(&rule.name);
                let mut number = 2;
                while names.contains(&rule.name) {
                    rule.name = format!("{base} {number}").into();
                    number += 1;
                }
            }
            if !names.insert(Arc::clone(&rule.name)) {
                section.fault(
                    "name",
                    format!("another limit is called {} too", rule.name),
                    "name each: what was used is remembered by the name",
                );
                return None;
            }
            Some(rule)
        })
        .into_iter()
        .collect();
    rules
}

/// The prices that come with the program, with the rows of `[prices] file` over them.
pub(super) fn read_prices(root: &Section<'_>) -> Option<Prices> {
    root.table("prices", |section| {
        let builtin = Prices::builtin();
        if !section.has("file") {
            return Some(builtin);
        }
        let file = section.file("file")?;
        section.usable("file", builtin.overridden(&file))
    })
}

fn rule(section: &Section<'_>) -> Option<Rule> {
    section.required("per");
    let per = section.parsed::<Per>("per", "subject, team, issuer, address, session, agent or everyone");
    let models = section.parsed_list::<ModelPattern>("models", "model patterns such as \"claude-opus-*\"");
    let teams = section.texts("teams");
    for key in ["models", "teams"] {
        let is_empty = if key == "models" { models.is_empty() } else { teams.is_empty() };
        if section.has(key) && is_empty {
            section.fault(key, "names nothing", "leave it out when the limit is for all");
        }
    }
    let on_store_failure = section.parsed::<OnStoreFailure>("on_store_failure", "local, open or closed");
    let on_exhausted = section.parsed::<OnExhausted>("on_exhausted", "finish or cut");
    let bounds = bounds(section);
    let name = section.text("name");
    if name.as_ref().is_some_and(|name| name.is_empty() || name.len() > 64 || name.contains(char::is_control)) {
        section.fault("name", "is empty, or too long for a name", "write at most 64 characters");
    }
    let per = per?;
    let name = name.unwrap_or_else(|| default_name(per, &models, &teams));
    Some(Rule {
        name: name.into(),
        per,
        models,
        teams,
        bounds: bounds?,
        on_store_failure: on_store_failure.unwrap_or_default(),
        on_exhausted: on_exhausted.unwrap_or_default(),
    })
}

/// Whom and what the rule bounds, so that the name stays when rules around it come and go.
fn default_name(per: Per, models: &[ModelPattern], teams: &[String]) -> String {
    let parts = models.iter().map(ModelPattern::as_str).chain(teams.iter().map(String::as_str));
    std::iter::once(per.name()).chain(parts).collect::<Vec<_>>().join(" ")
}

fn bounds(section: &Section<'_>) -> Option<Vec<Bound>> {
    let rates = [
        ("requests", Measure::Requests),
        ("input_tokens", Measure::InputTokens),
        ("output_tokens", Measure::OutputTokens),
    ];
    let mut bounds = Vec::new();
    let mut sound = true;
    let mut add = |key: &'static str, measure, amount, span| {
        if amount > Bound::MAX {
            section.fault(key, "is more than can be counted exactly", format!("write at most {}", Bound::MAX));
            sound = false;
        }
        bounds.push(Bound { measure, amount, span });
    };
    for (key, measure) in rates {
        let rate = section.parsed(key, "a rate such as \"60/min\" (s, min, hour, day, month)");
        if let Some(Rate { amount, unit }) = rate {
            add(key, measure, amount, if unit == Unit::Month { Span::Calendar(unit) } else { Span::Sliding(unit) });
        }
    }
    for (key, measure) in [("concurrent", Measure::Concurrent), ("concurrent_streams", Measure::ConcurrentStreams)] {
        if let Some(amount) = section.count(key) {
            add(key, measure, amount, Span::UnderWay);
        }
    }
    let cost = section.parsed("cost_usd", "an amount such as \"2.50/day\" (hour, day, month)");
    if let Some(DollarRate { amount, unit }) = cost {
        add("cost_usd", Measure::Cost, amount, Span::Calendar(unit));
    }
    let keys = ["requests", "input_tokens", "output_tokens", "concurrent", "concurrent_streams", "cost_usd"];
    if !keys.iter().any(|&key| section.has(key)) {
        section.fault("", "bounds nothing", format!("set at least one of {}", keys.join(", ")));
        sound = false;
    }
    sound.then_some(bounds)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::reader::Document;
    use super::*;

    fn parse(text: &str) -> Result<Vec<Rule>, String> {
        Document::new(Path::new("conf/limits.toml"), text.to_owned()).read(read).map_err(|faults| faults.to_string())
    }

    #[test]
    fn a_rule_has_every_bound_that_it_sets() {
        let text = r#"
            [[limit]]
            per = "team"
            models = ["claude-opus-*"]
            requests = "60/min"
            input_tokens = "400000/hour"
            output_tokens = "9/month"
            concurrent = 8
            concurrent_streams = 4
            cost_usd = "2.50/day"
            on_store_failure = "closed"
            on_exhausted = "cut"
            [[limit]]
            name = "house"
            per = "everyone"
            requests = "5/s""#;
        let rules = parse(text).unwrap();
        let bounds: Vec<_> = rules[0].bounds.iter().map(|bound| (bound.measure, bound.amount, bound.span)).collect();
        assert_eq!(
            bounds,
            [
                (Measure::Requests, 60, Span::Sliding(Unit::Minute)),
                (Measure::InputTokens, 400_000, Span::Sliding(Unit::Hour)),
                (Measure::OutputTokens, 9, Span::Calendar(Unit::Month)),
                (Measure::Concurrent, 8, Span::UnderWay),
                (Measure::ConcurrentStreams, 4, Span::UnderWay),
                (Measure::Cost, 2_500_000_000, Span::Calendar(Unit::Day)),
            ]
        );
        assert_eq!((&*rules[0].name, rules[0].per), ("team claude-opus-*", Per::Team));
        assert_eq!((rules[0].on_store_failure, rules[0].on_exhausted), (OnStoreFailure::Closed, OnExhausted::Cut));
        assert_eq!((&*rules[1].name, rules[1].on_store_failure), ("house", OnStoreFailure::Local));
    }

    #[test]
    fn limits_without_a_name_are_told_apart() {
        let rule = "[[limit]]\nper = \"subject\"\nconcurrent = 1\n";
        let names: Vec<_> = parse(&rule.repeat(3)).unwrap().iter().map(|rule| rule.name.to_string()).collect();
        assert_eq!(names, ["subject", "subject 2", "subject 3"]);
    }

    #[test]
    fn faults_name_their_mend() {
        for (rule, expected) in [
            ("requests = \"1/min\"", "limit[0].per: is missing"),
            ("per = \"user\"\nrequests = \"1/min\"", "limit[0].per: is not subject, team, issuer"),
            ("per = \"subject\"", "limit[0]: bounds nothing; set at least one of requests, input_tokens"),
            ("per = \"subject\"\nrequests = 60", "limit[0].requests: is not a rate such as"),
            ("per = \"subject\"\nrequests = \"9999999999999999/min\"", "is more than can be counted exactly"),
            ("per = \"subject\"\ncost_usd = \"5/min\"", "limit[0].cost_usd: is not an amount such as"),
            ("per = \"subject\"\nmodels = []\nconcurrent = 1", "limit[0].models: names nothing"),
            ("per = \"subject\"\nconcurrent = 1\non_exhausted = \"stop\"", "is not finish or cut"),
            (
                "name = \"a\"\nper = \"subject\"\nconcurrent = 1\n[[limit]]\nname = \"a\"\nper = \"subject\"\nconcurrent = 2",
                "limit[1].name: another limit is called a too",
            ),
        ] {
            let faults = parse(&format!("[[limit]]\n{rule}")).unwrap_err();
            assert!(faults.contains(expected), "{rule}: {faults}");
        }
    }
}
