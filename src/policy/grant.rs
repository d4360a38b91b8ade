//! A rule that allows.

use std::time::SystemTime;

use serde::Serialize;

use super::hours::Hours;
use crate::claude::{Ask, EndpointGroup, Features, MCP_TOOLSET, Model, ModelPattern, Pattern, Specificity};
use crate::denial::{Denial, Feature};
use crate::identity::Caller;

/// What a call asks for beside its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    pub(super) group: EndpointGroup,
    pub(super) betas: &'a [&'a str],
    pub(super) now: SystemTime,
}

/// Whom a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders {
    /// The scope that a token must carry; `*` for every caller.
    pub scope: String,
    /// The teams of which the caller must be in one; empty: any or none.
    pub teams: Vec<String>,
    /// The issuers, by their configured names, whose tokens count; empty: all.
    pub issuers: Vec<String>,
}

impl Holders {
    /// Whether `caller` is one of them.
    pub fn have(&self, caller: &Caller) -> bool {
        (self.scope == "*" || caller.has_scope(&self.scope))
            && (self.teams.is_empty() || caller.teams().iter().any(|team| self.teams.contains(team)))
            && (self.issuers.is_empty() || self.issuers.iter().any(|issuer| issuer == caller.issuer()))
    }
}

/// What a scope in the caller's token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// How records and explanations name it.
    pub name: String,
    /// Whom it is for.
    pub holders: Holders,
    /// The models that it opens.
    pub models: Vec<ModelPattern>,
    /// The endpoints that it opens.
    pub endpoints: Vec<EndpointGroup>,
    /// The ceiling of a message's `max_tokens`.
    pub max_tokens: Option<u64>,
    /// The ceiling of the tokens that may go into thinking.
    pub max_thinking_tokens: Option<u64>,
    /// Tools that the API runs.
    pub server_tools: Vec<Pattern>,
    /// Whether the API may call out to MCP servers that the body names.
    pub mcp_servers: bool,
    /// Whether messages may bring content from the Files API.
    pub files: bool,
    /// Whether messages may load skills.
    pub skills: bool,
    /// Values of `anthropic-beta` that may be sent.
    pub betas: Vec<Pattern>,
    /// Values of `anthropic-beta` that may not be sent all the same.
    pub deny_betas: Vec<Pattern>,
    /// Regions of which a message must name one; empty: no matter.
    pub inference_geo: Vec<String>,
    /// When it is open.
    pub hours: Hours,
}

impl Grant {
    /// A grant for `scope` and under its name, with the defaults of the configuration for all else.
    pub fn new(scope: &str, models: Vec<ModelPattern>, endpoints: Vec<EndpointGroup>) -> Self {
        Self {
            name: scope.to_owned(),
            holders: Holders { scope: scope.to_owned(), teams: Vec::new(), issuers: Vec::new() },
            models,
            max_tokens: None,
            max_thinking_tokens: None,
            server_tools: Vec::new(),
            mcp_servers: false,
            files: endpoints.contains(&EndpointGroup::Files),
            skills: endpoints.contains(&EndpointGroup::Skills),
            endpoints,
            betas: vec![Pattern::any()],
            deny_betas: Vec::new(),
            inference_geo: Vec::new(),
            hours: Hours::default(),
        }
    }

    /// Whether it lists the endpoint. Whoever may use a model may look it up.
    pub(super) fn opens(&self, group: EndpointGroup) -> bool {
        self.endpoints.contains(&group) || group == EndpointGroup::Models && !self.models.is_empty()
    }

    /// How closely it names `model`; `None` when it does not cover it.
    pub(super) fn covers(&self, model: &Model) -> Option<Specificity> {
        self.models.iter().filter(|pattern| pattern.matches(model)).map(ModelPattern::specificity).max()
    }

    /// Whether it allows all of `ask`, whose model and endpoint it covers.
    ///
    /// # Errors
    /// The first that it does not allow, in the order of [`closeness`].
    pub(super) fn allow(&self, ask: &Ask, call: &Moment<'_>) -> Result<(), Denial> {
        let Ask { max_tokens, max_thinking, features, .. } = ask;
        if !self.hours.include(call.now) {
            return Err(Denial::HoursForbidden { rule: self.name.clone() });
        }
        if let Some(feature) = self.closed_feature(features) {
            return Err(Denial::FeatureForbidden(feature));
        }
        if let Some(value) = call.betas.iter().find(|value| !self.allows_beta(value)) {
            return Err(Denial::FeatureForbidden(Feature::Beta((*value).to_owned())));
        }
        let geo = features.inference_geo.as_deref();
        if !self.allows_region(geo, call.group.answers() && ask.model.is_some()) {
            return Err(Denial::FeatureForbidden(Feature::InferenceGeo(geo.map(str::to_owned))));
        }
        match (self.max_tokens, *max_tokens) {
            (Some(ceiling), Some(asked)) if asked > ceiling => {
                return Err(Denial::MaxTokensForbidden { asked, ceiling });
            }
            _ => {}
        }
        match self.max_thinking_tokens {
            // Counting thinks of nothing.
            Some(ceiling) if *max_thinking > ceiling && call.group != EndpointGroup::CountTokens => {
                Err(Denial::ThinkingForbidden { asked: *max_thinking, ceiling })
            }
            _ => Ok(()),
        }
    }

    fn closed_feature(&self, features: &Features) -> Option<Feature> {
        let open = |tool: &str| {
            self.server_tools.iter().any(|pattern| pattern.covers(tool)) || tool == MCP_TOOLSET && self.mcp_servers
        };
        if let Some(tool) = features.server_tools.iter().find(|tool| !open(tool)) {
            return Some(Feature::ServerTool(tool.clone()));
        }
        [
            (features.mcp_servers && !self.mcp_servers, Feature::McpServers),
            (features.files && !self.files, Feature::Files),
            (features.skills && !self.skills, Feature::Skills),
        ]
        .into_iter()
        .find_map(|(closed, feature)| closed.then_some(feature))
    }

    fn allows_beta(&self, value: &str) -> bool {
        self.betas.iter().any(|pattern| pattern.covers(value))
            && !self.deny_betas.iter().any(|pattern| pattern.catches(value))
    }

    fn allows_region(&self, asked: Option<&str>, required: bool) -> bool {
        match asked {
            _ if self.inference_geo.is_empty() => true,
            Some(asked) => self.inference_geo.iter().any(|accepted| accepted == asked),
            None => !required,
        }
    }

    /// What a caller may see of it.
    pub fn view(&self) -> GrantView<'_> {
        GrantView {
            name: &self.name,
            scope: &self.holders.scope,
            models: &self.models,
            endpoints: self.endpoints.iter().map(|group| group.name()).collect(),
            max_tokens: self.max_tokens,
            max_thinking_tokens: self.max_thinking_tokens,
            server_tools: &self.server_tools,
            mcp_servers: self.mcp_servers,
            files: self.files,
            skills: self.skills,
            betas: &self.betas,
            deny_betas: &self.deny_betas,
            inference_geo: &self.inference_geo,
            hours: &self.hours,
        }
    }
}

/// A grant as its holder may see it.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // each is the key of the same name
pub struct GrantView<'a> {
    pub name: &'a str,
    pub scope: &'a str,
    pub models: &'a [ModelPattern],
    pub endpoints: Vec<&'static str>,
    pub max_tokens: Option<u64>,
    pub max_thinking_tokens: Option<u64>,
    pub server_tools: &'a [Pattern],
    pub mcp_servers: bool,
    pub files: bool,
    pub skills: bool,
    pub betas: &'a [Pattern],
    pub deny_betas: &'a [Pattern],
    pub inference_geo: &'a [String],
    pub hours: &'a Hours,
}

/// How near to allowing the grant was that refused so: the later of its checks, and of ceilings the higher.
pub(super) fn closeness(refusal: &Denial) -> (u8, u64) {
    match refusal {
        Denial::FeatureForbidden(_) => (1, 0),
        Denial::MaxTokensForbidden { ceiling, .. } => (2, *ceiling),
        Denial::ThinkingForbidden { ceiling, .. } => (3, *ceiling),
        _ => (0, 0),
    }
}
