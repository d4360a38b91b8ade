//! `[privacy]`: which personal data and secrets are looked for, and what becomes of what is found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::reader::Section;
use crate::credential::Secret;
use crate::privacy::{Action, Allowed, Custom, Detectors, Kind, Masker, Privacy, PromptRule, Prompts, TagKey};

/// Reads the section; a tag key that it does not name is looked for in `state`.
pub(super) fn read(section: &Section<'_>, state: Option<&Path>) -> Option<Privacy> {
    let (key, unkept) = tag_key(section, state)?;
    let mut detectors = Detectors { allow: allowed(section), ..Detectors::default() };
    let mut sound = true;
    for (custom, action) in section.tables("custom", custom).into_iter().map(|read| read.ok_or(())).filter_map(|read| {
        sound &= read.is_ok();
        read.ok()
    }) {
        if detectors.custom.iter().any(|other: &Custom| other.kind() == custom.kind()) {
            section.fault("custom", format!("{} is there twice", custom.kind().name()), "name each pattern");
        }
        detectors.actions.insert(custom.kind(), action);
        detectors.custom.push(custom);
    }
    let own: Vec<Kind> = detectors.custom.iter().map(Custom::kind).collect();
    actions(section, &own, &mut detectors);
    let prompts = prompts(section, &own, &detectors);
    let masker = Masker::new(detectors, key);
    sound.then(|| Privacy::new(masker, prompts, unkept))
}

/// The key of the tags; where the host has none yet, one that is kept when the proxy starts.
fn tag_key(section: &Section<'_>, state: Option<&Path>) -> Option<(TagKey, Option<PathBuf>)> {
    if section.has("tag_key") {
        let secret = section.secret("tag_key")?;
        if secret.expose().len() < SHORTEST_KEY {
            section.fault("tag_key", "is shorter than 16 bytes", "make one: openssl rand -hex 32");
            return None;
        }
        return Some((TagKey::new(&secret), None));
    }
    let path = state?.join("privacy.key");
    match std::fs::read(&path).map(Secret::new) {
        Ok(secret) if secret.expose().len() < SHORTEST_KEY => {
            let problem = format!("{} is shorter than 16 bytes", path.display());
            section.fault("tag_key", problem, "delete that file; another is made");
            None
        }
        Ok(secret) => Some((TagKey::new(&secret), None)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = TagKey::random().map_err(|error| error.to_string());
            Some((section.usable("tag_key", key)?, Some(path)))
        }
        Err(error) => section.usable("tag_key", Err(format!("cannot read {}: {error}", path.display()))),
    }
}

/// Bytes of a key that cannot be guessed.
const SHORTEST_KEY: usize = 16;

fn allowed(section: &Section<'_>) -> Vec<Allowed> {
    let what = "values, networks such as \"10.0.0.0/8\" and patterns such as \"*@example.com\"";
    section.parsed_list("allow", what)
}

fn custom(section: &Section<'_>) -> Option<(Custom, Action)> {
    let (name, pattern) = (section.required_text("name"), section.required_text("pattern"));
    let action = section.parsed("action", ACTIONS);
    let made = Custom::new(&name?, &pattern?);
    let custom =
        made.map_err(|problem| section.fault("pattern", problem, "docs/privacy.md tells what patterns may be")).ok()?;
    Some((custom, action.unwrap_or_default()))
}

const ACTIONS: &str = "\"mask\", \"flag\" or \"off\"";

fn actions(section: &Section<'_>, own: &[Kind], detectors: &mut Detectors) {
    if section.has("detectors") {
        let wanted = kinds(section, "detectors", own);
        if wanted.is_empty() {
            section.fault("detectors", "names nothing", "list some, or take it out to mean all");
        }
        for kind in Kind::all().filter(|kind| !wanted.contains(kind)) {
            detectors.actions.insert(kind, Action::Off);
        }
    }
    for kind in kinds(section, "disable", own) {
        detectors.actions.insert(kind, Action::Off);
    }
    let named = section.members("actions", "a detector with \"mask\", \"flag\" or \"off\"", |name, value| {
        Some((named(name, own)?, value.as_str()?.parse::<Action>().ok()?))
    });
    for (kinds, action) in named {
        detectors.actions.extend(kinds.into_iter().map(|kind| (kind, action)));
    }
}

fn prompts(section: &Section<'_>, own: &[Kind], detectors: &Detectors) -> PromptRule {
    let prompts: Prompts = section.parsed("prompts", "\"off\", \"flag\" or \"block\"").unwrap_or_default();
    let block = kinds(section, "block", own);
    if prompts == Prompts::Block && block.is_empty() {
        section.fault("block", "names nothing, and prompts = \"block\"", "list detectors, or write prompts = \"flag\"");
    }
    if prompts != Prompts::Block && !block.is_empty() {
        section.fault("block", "is not in force", "write prompts = \"block\", or take it out");
    }
    for kind in block.iter().filter(|kind| detectors.actions.get(kind) == Some(&Action::Off)) {
        section.fault("block", format!("{} is not looked for", kind.name()), "switch that detector on");
    }
    PromptRule { prompts, block }
}

/// The kinds that the names of a list stand for.
fn kinds(section: &Section<'_>, key: &'static str, own: &[Kind]) -> BTreeSet<Kind> {
    let mut kinds = BTreeSet::new();
    for name in section.texts(key) {
        match named(&name, own) {
            Some(named) => kinds.extend(named),
            None => {
                section.fault(key, format!("{name} is no detector"), format!("known: personal, secrets, {}", known()));
            }
        }
    }
    kinds
}

fn named(name: &str, own: &[Kind]) -> Option<Vec<Kind>> {
    match name {
        "personal" => Some(Kind::PERSONAL.to_vec()),
        "secrets" => Some(Kind::SECRETS.to_vec()),
        _ => Kind::named(name).or_else(|| own.iter().copied().find(|kind| kind.name() == name)).map(|kind| vec![kind]),
    }
}

fn known() -> String {
    Kind::all().map(Kind::name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::reader::Document;
    use super::*;

    fn parse(text: &str, state: &Path) -> Result<Privacy, String> {
        Document::new(Path::new("portcullis.toml"), text.to_owned())
            .read(|root| root.table("privacy", |section| read(section, Some(state))))
            .map_err(|faults| faults.to_string())
    }

    #[test]
    fn one_person_stays_one_tag_over_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let masked = || parse("", state.path()).unwrap().keep_key().unwrap().masker().mask("ann@example.com").text;
        assert_eq!(masked(), masked());
        let other = tempfile::tempdir().unwrap();
        assert_ne!(masked(), parse("", other.path()).unwrap().masker().mask("ann@example.com").text);
    }

    #[test]
    fn detectors_are_chosen_allowed_and_added() {
        let state = tempfile::tempdir().unwrap();
        let privacy = parse(
            r#"[privacy]
            disable = ["IP_ADDRESS"]
            allow = ["*@example.com", "10.0.0.0/8"]
            prompts = "block"
            block = ["US_SSN", "CASE"]
            actions = { EMAIL = "flag" }
            [[privacy.custom]]
            name = "CASE"
            pattern = "CASE-[0-9]{4}"
            "#,
            state.path(),
        )
        .unwrap();
        let found = |text| privacy.masker().mask(text).findings;
        let blocked_by = |text| privacy.prompt_rule().blocked_by(&found(text)).map(Kind::name);
        assert_eq!(found("ann@example.com, 192.0.2.7").len(), 0);
        assert_eq!((found("bob@example.org")[&Kind::EMAIL], blocked_by("bob@example.org")), (1, None));
        assert_eq!((blocked_by("of CASE-0042"), blocked_by("078-05-1121")), (Some("CASE"), Some("US_SSN")));
        assert_eq!(privacy.masker().mask("bob@example.org").text, "bob@example.org");
        assert_eq!(parse("", state.path()).unwrap().prompt_rule().prompts, Prompts::Off);
    }

    #[test]
    fn faults_name_their_mend() {
        let state = tempfile::tempdir().unwrap();
        for (text, expected) in [
            ("detectors = []", "privacy.detectors: names nothing"),
            ("disable = [\"MAIL\"]", "privacy.disable: MAIL is no detector; known: personal, secrets, EMAIL"),
            ("prompts = \"block\"", "privacy.block: names nothing"),
            ("block = [\"EMAIL\"]", "privacy.block: is not in force"),
            ("prompts = \"block\"\nblock = [\"JWT\"]\ndisable = [\"secrets\"]", "privacy.block: JWT is not looked for"),
            ("allow = [\"*\"]", "privacy.allow: is not a list of values"),
            ("actions = { EMAIL = \"drop\" }", "privacy.actions.EMAIL: is not a detector with"),
            ("tag_key = \"hunter2\"", "privacy.tag_key: is a value"),
            ("[[privacy.custom]]\nname = \"X\"\npattern = \"a*\"", "can match nothing"),
            ("[[privacy.custom]]\nname = \"X\"\npattern = \"a+\"", "can match more than 256 bytes"),
            ("[[privacy.custom]]\nname = \"X\"\npattern = \"(\"", "does not parse"),
            ("[[privacy.custom]]\nname = \"EMAIL\"\npattern = \"a\"", "is a built-in detector's name"),
        ] {
            let faults = parse(&format!("[privacy]\n{text}"), state.path()).err().unwrap_or_default();
            assert!(faults.contains(expected), "{text}: {faults}");
        }
    }
}
