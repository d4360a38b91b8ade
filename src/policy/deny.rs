//! A rule that denies, whatever the grants say.

use super::grant::{Holders, Moment};
use super::hours::Hours;
use crate::claude::{Ask, EndpointGroup, MCP_TOOLSET, Model, ModelPattern, Pattern};
use crate::identity::Caller;

/// Denies a call of which one demand meets every condition that the rule states.
///
/// Where a grant's patterns leave out what is not known, these take it in: a family of models that nobody has named, a
/// beta value in other letter case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenyRule {
    /// How records and explanations name it.
    pub name: String,
    /// Whom it is for.
    pub holders: Holders,
    /// Endpoints; empty: all.
    pub endpoints: Vec<EndpointGroup>,
    /// The demand is on one of these models; empty: on any, or on none.
    pub models: Vec<ModelPattern>,
    /// The demand uses one of these server tools; empty: no matter.
    pub server_tools: Vec<Pattern>,
    /// The demand uses MCP servers; `false`: no matter.
    pub mcp_servers: bool,
    /// The demand uses files; `false`: no matter.
    pub files: bool,
    /// The demand uses skills; `false`: no matter.
    pub skills: bool,
    /// The call sends one of these values of `anthropic-beta`; empty: no matter.
    pub betas: Vec<Pattern>,
    /// When it denies.
    pub hours: Hours,
}

impl DenyRule {
    /// A rule that denies everything to whoever carries `scope`.
    pub fn new(scope: &str) -> Self {
        Self {
            name: scope.to_owned(),
            holders: Holders { scope: scope.to_owned(), teams: Vec::new(), issuers: Vec::new() },
            endpoints: Vec::new(),
            models: Vec::new(),
            server_tools: Vec::new(),
            mcp_servers: false,
            files: false,
            skills: false,
            betas: Vec::new(),
            hours: Hours::default(),
        }
    }

    /// The first condition that `ask` of this call does not meet; `None` when the rule covers it.
    pub(super) fn why_not(&self, caller: &Caller, call: &Moment<'_>, ask: &Ask) -> Option<&'static str> {
        let features = &ask.features;
        let uses = |pattern: &Pattern| features.server_tools.iter().any(|tool| pattern.catches(tool));
        let sends = |pattern: &Pattern| call.betas.iter().any(|value| pattern.catches(value));
        let on = |model: &Model| self.models.iter().any(|pattern| pattern.catches(model));
        let uses_mcp = || features.mcp_servers || features.server_tools.iter().any(|tool| tool == MCP_TOOLSET);
        if !self.holders.have(caller) {
            Some("it is for others")
        } else if !(self.endpoints.is_empty() || self.endpoints.contains(&call.group)) {
            Some("it does not list the endpoint")
        } else if !(self.models.is_empty() || ask.model.as_ref().is_some_and(on)) {
            Some("it does not cover the model")
        } else if !(self.server_tools.is_empty() || self.server_tools.iter().any(uses)) {
            Some("none of its server tools is used")
        } else if self.mcp_servers && !uses_mcp() {
            Some("no MCP server is used")
        } else if self.files && !features.files {
            Some("no file is used")
        } else if self.skills && !features.skills {
            Some("no skill is used")
        } else if !(self.betas.is_empty() || self.betas.iter().any(sends)) {
            Some("none of its beta values is sent")
        } else if !self.hours.include(call.now) {
            Some("it is outside its hours")
        } else {
            None
        }
    }

    /// Whether every call for `model` is denied to `caller`, at every endpoint and hour.
    pub(super) fn hides(&self, caller: &Caller, model: &Model) -> bool {
        let for_all_calls = self.endpoints.is_empty()
            && self.server_tools.is_empty()
            && self.betas.is_empty()
            && !(self.mcp_servers || self.files || self.skills)
            && self.hours.are_always();
        for_all_calls
            && self.holders.have(caller)
            && (self.models.is_empty() || self.models.iter().any(|pattern| pattern.catches(model)))
    }
}
