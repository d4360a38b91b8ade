//! `[[upstream.key]]`: the keys for the upstream, and whom they serve.

use std::str::FromStr;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::reader::Section;
use crate::credential::{Federation, NamedKey, Origin, UpstreamKey};

/// Reads the keys of `[upstream]`; `grants` are the names that they may list.
pub(super) fn read(upstream: &Section<'_>, grants: &[&str]) -> Option<Vec<NamedKey>> {
    let mut keys: Vec<NamedKey> = Vec::new();
    let read: Vec<Option<()>> = upstream.tables("key", |section| {
        let key = key(section, grants)?;
        refuse_twins(section, &key, &keys);
        keys.push(key);
        Some(())
    });
    if read.is_empty() {
        upstream.fault("key", "is missing", "add [[upstream.key]] with a name and a secret");
        return None;
    }
    read.into_iter().collect::<Option<()>>().map(|()| keys)
}

fn key(section: &Section<'_>, grants: &[&str]) -> Option<NamedKey> {
    let name = section.required_text("name");
    let teams = named(section, "teams");
    let named_grants = named(section, "grants");
    // Where there are none, what is wrong with them has been told.
    for unknown in named_grants.iter().filter(|grant| !grants.is_empty() && !grants.contains(&grant.as_str())) {
        section.fault(
            "grants",
            format!("{unknown} is no [[grant]]'s name"),
            format!("write one of {}", grants.join(", ")),
        );
    }
    let not_after = section.parsed::<Timestamp>("not_after", "a time in quotes such as \"2026-12-31T00:00:00Z\"");
    let origin = match (section.has("secret"), section.has("federation")) {
        (true, false) => secret(section, name.as_deref().unwrap_or_default()),
        (false, true) => section.table("federation", federation).map(Origin::Federation),
        (has_both, _) => {
            let problem = if has_both { "has both secret and federation" } else { "has no secret" };
            section.fault("", problem, "give one of secret = { file = \"...\" } and federation = { ... }");
            None
        }
    };
    Some(NamedKey {
        name: name?,
        origin: origin?,
        teams,
        grants: named_grants,
        not_after: not_after.map(|Timestamp(time)| time),
    })
}

/// A list of whom a key serves; nobody is a slip, for without the list it serves everyone.
fn named(section: &Section<'_>, key: &'static str) -> Vec<String> {
    if section.is_empty_list(key) {
        section.fault(key, "names nobody", "list at least one, or take the key out");
    }
    section.texts(key)
}

fn secret(section: &Section<'_>, name: &str) -> Option<Origin> {
    let (secret, source) = section.secret_and_source("secret")?;
    let made = UpstreamKey::new(name, &secret).map_err(|fault| fault.to_string());
    Some(Origin::Secret(section.usable("secret", made)?, source))
}

fn federation(section: &Section<'_>) -> Option<Federation> {
    section.required("token");
    let token = section.secret_and_source("token").map(|(_, source)| source);
    let rule = section.required_text("rule");
    if rule.as_ref().is_some_and(|rule| !is_id(rule, "fdrl_")) {
        section.fault("rule", "is no federation rule", "write its id, fdrl_...; the Console shows it");
    }
    section.required("organization");
    let organization = section.parsed::<Uuid>("organization", "a UUID, which is how organizations are named");
    let service_account = section.text("service_account");
    if service_account.as_ref().is_some_and(|account| !is_id(account, "")) {
        section.fault("service_account", "is no id", "write the id that the Console shows");
    }
    let workspace = section.text("workspace");
    if workspace.as_ref().is_some_and(|workspace| workspace != "default" && !is_id(workspace, "wrkspc_")) {
        section.fault("workspace", "is no workspace", "write its id, wrkspc_..., or \"default\"");
    }
    Some(Federation { token: token?, rule: rule?, organization: organization?.to_string(), service_account, workspace })
}

/// Whether `text` is spelled like an id of the API: letters, digits and underscores after its prefix.
fn is_id(text: &str, prefix: &str) -> bool {
    let rest = text.strip_prefix(prefix).unwrap_or_default();
    !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Two keys must differ in name and in material: what is known of one would not be known of the other.
fn refuse_twins(section: &Section<'_>, key: &NamedKey, others: &[NamedKey]) {
    if others.iter().any(|other| other.name == key.name) {
        section.fault("name", format!("{} is another key's name too", key.name), "give each key a name of its own");
    }
    let Origin::Secret(secret, _) = &key.origin else { return };
    let is_same = |other: &&NamedKey| matches!(&other.origin, Origin::Secret(other, _) if other.is_same_as(secret));
    if let Some(twin) = others.iter().find(is_same) {
        section.fault(
            "secret",
            format!("is the secret of {} too", twin.name),
            "take one of them out, or list all teams and grants in one",
        );
    }
}

/// A time of RFC 3339.
struct Timestamp(SystemTime);

impl FromStr for Timestamp {
    type Err = time::error::Parse;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        OffsetDateTime::parse(text, &Rfc3339).map(|time| Self(time.into()))
    }
}

#[cfg(test)]
mod tests;
