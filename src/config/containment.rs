//! `[[containment]]`: what follows an alarm.

use std::collections::HashSet;
use std::time::Duration;

use super::reader::Section;
use crate::anomaly::Signal;
use crate::claude::Family;
use crate::containment::{Action, Mode, Of, Rule};
use crate::limit::{Rate, Unit};

/// Longer is no containment but a decision, for which there are grants and revocations.
const LONGEST: Duration = Duration::from_secs(86_400);

/// The rules, each with another name. `alarms`: there are signals to follow.
pub(super) fn read(root: &Section<'_>, alarms: bool) -> Option<Vec<Rule>> {
    let mut names = HashSet::new();
    let rules: Vec<Option<Rule>> = root.tables("containment", |section| {
        let rule = rule(section)?;
        if !names.insert(rule.name.clone()) {
            section.fault("name", "another containment is called so too", "name each: records tell of it by its name");
            return None;
        }
        Some(rule)
    });
    if !rules.is_empty() && !alarms {
        root.fault("containment", "has no signals to follow", "take out [anomaly] enabled = false");
    }
    rules.into_iter().collect()
}

fn rule(section: &Section<'_>) -> Option<Rule> {
    let name = section.required_text("name");
    let mode = section.parsed::<Mode>("mode", "observe or enforce").unwrap_or(Mode::Observe);
    let words: Vec<&str> = Signal::ALL.iter().map(|signal| signal.name()).collect();
    section.required("signals");
    let signals = section.parsed_list::<Signal>("signals", &words.join(", "));
    if section.is_empty_list("signals") {
        section.fault("signals", "names nothing", "list at least one");
    }
    section.required("of");
    let of = section.parsed::<Of>("of", "subject or team: nothing contains everybody, a family or an address");
    for signal in &signals {
        let about = match signal {
            Signal::Findings | Signal::RefusedTokens => None,
            Signal::FirstUse | Signal::ManyAddresses => Some(Of::Subject),
            Signal::Requests | Signal::Tokens | Signal::Cost | Signal::Denials => of,
        };
        if of.is_some() && about != of {
            section.fault(
                "signals",
                format!("{} is never about a {}", signal.name(), if of == Some(Of::Team) { "team" } else { "subject" }),
                "take it out; docs/anomalies.md says whom each signal is about",
            );
        }
    }
    let patterns = section.texts("names");
    if section.is_empty_list("names") {
        section.fault("names", "names nobody", "leave it out when the rule is for all");
    }
    let action = action(section);
    section.required("for");
    let lasts = section.nonzero_duration("for");
    if lasts.is_some_and(|lasts| lasts > LONGEST) {
        section.fault("for", "is too long", "write at most \"1d\"; for longer there are grants and revocations");
    }
    Some(Rule { name: name?, mode, signals, of: of?, names: patterns, action: action?, lasts: lasts? })
}

fn action(section: &Section<'_>) -> Option<Action> {
    let rate = section.parsed::<Rate>("rate", "a rate such as \"6/min\" (s, min, hour, day)");
    let rate = rate.filter(|rate| {
        let fits = rate.unit != Unit::Month;
        if !fits {
            section.fault(
                "rate",
                "is of a month, and no containment lasts so long",
                "write a rate by s, min, hour or day",
            );
        }
        fits
    });
    let families: Vec<Option<Family>> = section.texts("families").iter().map(|label| Family::labelled(label)).collect();
    if families.contains(&None) {
        section.fault("families", "has a name that is no family", "write haiku, sonnet, opus, fable, mythos or other");
    }
    section.required("action")?;
    let word = section.text("action")?;
    for (key, of) in [("rate", "throttle"), ("families", "restrict")] {
        if section.has(key) && word != of {
            section.fault(key, format!("is of action = \"{of}\" alone"), "take it out, or change the action");
        }
    }
    match word.as_str() {
        "refuse" => Some(Action::Refuse),
        "throttle" => {
            section.required("rate")?;
            rate.map(Action::Throttle)
        }
        "restrict" => {
            section.required("families")?;
            if families.is_empty() {
                section.fault("families", "names nothing", "use action = \"refuse\" when nothing is to be left");
                return None;
            }
            families.into_iter().collect::<Option<_>>().map(Action::Restrict)
        }
        _ => {
            section.fault("action", "is no action", "write throttle, restrict or refuse");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::reader::Document;
    use super::*;

    fn parse(toml: &str) -> Result<Vec<Rule>, String> {
        let document = Document::new(Path::new("portcullis.toml"), toml.to_owned());
        document.read(|root| read(root, true)).map_err(|faults| faults.to_string())
    }

    #[test]
    fn a_throttle_of_a_month_is_a_fault() {
        let rule = "[[containment]]\nname = \"n\"\nsignals = [\"requests\"]\nof = \"subject\"\naction = \"throttle\"\nfor = \"1h\"";
        assert!(parse(&format!("{rule}\nrate = \"300/day\"")).is_ok());
        let faults = parse(&format!("{rule}\nrate = \"300/month\"")).unwrap_err();
        assert!(faults.contains("rate") && faults.contains("day"), "{faults}");
    }

    #[test]
    fn a_rule_only_observes_unless_it_says_otherwise() {
        let rules = parse(
            r#"
            [[containment]]
            name = "slow down"
            signals = ["requests", "cost"]
            of = "subject"
            action = "throttle"
            rate = "6/min"
            for = "15m"
            [[containment]]
            name = "small models"
            mode = "enforce"
            signals = ["tokens"]
            of = "team"
            names = ["okta/red", "okta/blue-*"]
            action = "restrict"
            families = ["haiku"]
            for = "1h""#,
        )
        .unwrap();
        assert_eq!(
            (rules[0].mode, rules[0].of, rules[0].lasts),
            (Mode::Observe, Of::Subject, Duration::from_secs(900))
        );
        assert_eq!((rules[1].mode, &rules[1].action), (Mode::Enforce, &Action::Restrict(vec![Family::Haiku])));
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn faults_name_their_mend() {
        let good = "name = \"a\"\nsignals = [\"requests\"]\nof = \"subject\"\naction = \"refuse\"\nfor = \"15m\"";
        assert!(parse(&format!("[[containment]]\n{good}")).is_ok());
        for (from, to, expected) in [
            ("of = \"subject\"", "of = \"everyone\"", "nothing contains everybody"),
            ("of = \"subject\"", "", "containment[0].of: is missing"),
            ("for = \"15m\"", "for = \"9d\"", "is too long"),
            ("for = \"15m\"", "", "containment[0].for: is missing"),
            ("action = \"refuse\"", "action = \"throttle\"", "containment[0].rate: is missing"),
            ("action = \"refuse\"", "action = \"restrict\"\nfamilies = [\"gpt\"]", "is no family"),
            ("action = \"refuse\"", "action = \"refuse\"\nrate = \"1/s\"", "is of action = \"throttle\" alone"),
            ("action = \"refuse\"", "action = \"drop\"", "is no action"),
            ("[\"requests\"]", "[\"findings\"]", "findings is never about a subject"),
            ("[\"requests\"]", "[]", "names nothing"),
            ("[\"requests\"]", "[\"noise\"]", "is not a list of requests, tokens"),
            ("name = \"a\"", "name = \"a\"\nmode = \"on\"", "is not observe or enforce"),
            ("name = \"a\"", "name = \"a\"\nnames = []", "names nobody"),
        ] {
            let faults = parse(&format!("[[containment]]\n{}", good.replace(from, to))).unwrap_err();
            assert!(faults.contains(expected), "{to}: {faults}");
        }
        let twice = format!("[[containment]]\n{good}\n[[containment]]\n{good}");
        assert!(parse(&twice).unwrap_err().contains("is called so too"));
    }
}
