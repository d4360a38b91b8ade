//! `[address]` and `[[grant]]`: who may ask what.

use ipnet::IpNet;

use super::reader::Section;
use crate::claude::{EndpointGroup, ModelPattern, Pattern};
use crate::policy::{AddressRules, Days, DenyRule, Grant, Holders, Hours, Policy, UtcOffset, Window};

/// What one `[[grant]]` is.
enum Rule {
    Allow(Box<Grant>),
    Deny(Box<DenyRule>),
}

/// Reads the rules; `issuers` are the names that they may list.
pub(super) fn read(root: &Section<'_>, issuers: &[&str]) -> Option<Policy> {
    let addresses = root.table("address", |section| {
        let networks = |key| section.parsed_list::<IpNet>(key, "networks such as \"10.0.0.0/8\"");
        AddressRules::new(networks("allow"), networks("deny"))
    });
    let rules: Option<Vec<Rule>> = root.tables("grant", |section| rule(section, issuers)).into_iter().collect();
    let (mut grants, mut denials) = (Vec::new(), Vec::new());
    for rule in rules? {
        match rule {
            Rule::Allow(grant) => grants.push(*grant),
            Rule::Deny(rule) => denials.push(*rule),
        }
    }
    Some(Policy::new(addresses, grants, denials))
}

fn rule(section: &Section<'_>, issuers: &[&str]) -> Option<Rule> {
    let denies = section.flag("deny").unwrap_or(false);
    let holders = holders(section, issuers);
    let name = section.text("name");
    if name.as_ref().is_some_and(|name| name.is_empty() || name.contains(char::is_whitespace)) {
        section.fault("name", "is empty or has white space", "write one word, such as \"opus-by-day\"");
    }
    if denies {
        let rule = deny(section);
        let holders = holders?;
        let name = name.unwrap_or_else(|| holders.scope.clone());
        return Some(Rule::Deny(Box::new(DenyRule { name, holders, ..rule })));
    }
    let grant = allow(section);
    let holders = holders?;
    if holders.scope == "*" && holders.teams.is_empty() {
        section.fault("scope", "opens to every token", "name a scope, or list `teams` beside \"*\"");
    }
    let name = name.unwrap_or_else(|| holders.scope.clone());
    Some(Rule::Allow(Box::new(Grant { name, holders, ..grant })))
}

fn holders(section: &Section<'_>, known: &[&str]) -> Option<Holders> {
    let scope = section.required_text("scope");
    if scope.as_ref().is_some_and(|scope| scope.contains(char::is_whitespace)) {
        section.fault("scope", "has white space", "name one scope; give another scope a [[grant]] of its own");
    }
    let teams = section.texts("teams");
    if section.has("teams") && teams.is_empty() {
        section.fault("teams", "names nobody", "list at least one team, or take the key out");
    }
    let issuers = section.texts("issuers");
    if section.has("issuers") && issuers.is_empty() {
        section.fault("issuers", "names nobody", "list at least one issuer, or take the key out");
    }
    for unknown in issuers.iter().filter(|issuer| !known.contains(&issuer.as_str())) {
        section.fault(
            "issuers",
            format!("{unknown} is no [[issuer]]'s name"),
            format!("write one of {}", known.join(", ")),
        );
    }
    Some(Holders { scope: scope?, teams, issuers })
}

fn allow(section: &Section<'_>) -> Grant {
    let models = models(section);
    let endpoints = if section.has("endpoints") {
        endpoints(section)
    } else {
        vec![EndpointGroup::Messages, EndpointGroup::CountTokens]
    };
    if models.is_empty() && endpoints.iter().any(|group| group.takes_model()) {
        section.fault(
            "models",
            "names no model, and an endpoint of this grant takes one",
            "list patterns such as \"claude-haiku-*\"",
        );
    }
    let default = Grant::new("", models, endpoints);
    Grant {
        max_tokens: section.count("max_tokens"),
        max_thinking_tokens: section.count("max_thinking_tokens"),
        server_tools: server_tools(section),
        mcp_servers: section.flag("mcp_servers").unwrap_or(default.mcp_servers),
        files: section.flag("files").unwrap_or(default.files),
        skills: section.flag("skills").unwrap_or(default.skills),
        betas: if section.has("betas") { betas(section, "betas") } else { default.betas.clone() },
        deny_betas: betas(section, "deny_betas"),
        inference_geo: regions(section),
        hours: hours(section),
        ..default
    }
}

/// A rule that denies states conditions: what is there and empty would state none where one is meant.
fn deny(section: &Section<'_>) -> DenyRule {
    for key in ["endpoints", "models", "server_tools", "betas"] {
        if section.is_empty_list(key) {
            section.fault(
                key,
                "names nothing, which a rule that denies would take for all",
                "list some, or take it out",
            );
        }
    }
    for key in ["max_tokens", "max_thinking_tokens", "deny_betas", "inference_geo"] {
        if section.has(key) {
            section.fault(key, "is no condition of a rule that denies", "set it in the [[grant]] that allows");
        }
    }
    DenyRule {
        endpoints: endpoints(section),
        models: models(section),
        server_tools: server_tools(section),
        mcp_servers: section.flag("mcp_servers").unwrap_or(false),
        files: section.flag("files").unwrap_or(false),
        skills: section.flag("skills").unwrap_or(false),
        betas: betas(section, "betas"),
        hours: hours(section),
        ..DenyRule::new("")
    }
}

fn models(section: &Section<'_>) -> Vec<ModelPattern> {
    section.parsed_list("models", "model patterns such as \"claude-opus-*\"")
}

fn endpoints(section: &Section<'_>) -> Vec<EndpointGroup> {
    section.parsed_list("endpoints", &format!("endpoint names ({})", EndpointGroup::names()))
}

fn server_tools(section: &Section<'_>) -> Vec<Pattern> {
    section.parsed_list("server_tools", "tools that the API runs, such as \"web_search\"")
}

fn betas(section: &Section<'_>, key: &'static str) -> Vec<Pattern> {
    section.parsed_list(key, "patterns over beta values, such as \"context-*\"")
}

fn regions(section: &Section<'_>) -> Vec<String> {
    let regions = section.texts("inference_geo");
    if section.has("inference_geo") && regions.is_empty() {
        section.fault("inference_geo", "names nothing", "list the accepted values, such as \"us\", or take it out");
    }
    regions
}

fn hours(section: &Section<'_>) -> Hours {
    for key in ["hours", "days"] {
        if section.is_empty_list(key) {
            section.fault(key, "names nothing", "list some, or take it out to mean always");
        }
    }
    let days: Vec<Days> = section.parsed_list("days", "days such as \"mon-fri\" or \"sat\"");
    Hours {
        windows: section.parsed_list::<Window>("hours", "hours such as \"08:00-18:00\""),
        days: Days::of(&days),
        offset: section.parsed("utc_offset", "an offset such as \"+01:00\"").unwrap_or(UtcOffset::UTC),
    }
}
