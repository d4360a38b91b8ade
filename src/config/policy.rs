//! `[address]` and `[[grant]]`: who may ask what.

use ipnet::IpNet;

use super::reader::Section;
use crate::claude::{EndpointGroup, ModelPattern};
use crate::policy::{AddressRules, Grant, Policy};

pub(super) fn read(root: &Section<'_>) -> Option<Policy> {
    let addresses = root.table("address", |section| {
        let networks = |key| section.parsed_list::<IpNet>(key, "networks such as \"10.0.0.0/8\"");
        AddressRules { allow: networks("allow"), deny: networks("deny") }
    });
    let grants: Option<Vec<Grant>> = root.tables("grant", grant).into_iter().collect();
    Some(Policy::new(addresses, grants?))
}

fn grant(section: &Section<'_>) -> Option<Grant> {
    let scope = section.required_text("scope");
    if scope.as_ref().is_some_and(|scope| scope.contains(char::is_whitespace)) {
        section.fault("scope", "has white space", "name one scope; give another scope a [[grant]] of its own");
    }
    let models = section.parsed_list::<ModelPattern>("models", "model patterns such as \"claude-opus-*\"");
    let endpoints = if section.has("endpoints") {
        section.parsed_list::<EndpointGroup>("endpoints", &format!("endpoint names ({})", EndpointGroup::names()))
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
    Some(Grant { scope: scope?, models, endpoints, max_tokens: section.count("max_tokens") })
}
