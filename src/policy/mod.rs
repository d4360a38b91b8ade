//! What a caller may ask: address rules and grants. Nothing here knows sockets or clocks.

mod address;

pub use address::AddressRules;

use crate::claude::{Endpoint, EndpointGroup, Model, ModelPattern, Peek};
use crate::denial::Denial;
use crate::identity::Caller;

/// One rule that allows: what a scope in the caller's token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The scope that the token must carry.
    pub scope: String,
    /// The models that it opens.
    pub models: Vec<ModelPattern>,
    /// The endpoints that it opens.
    pub endpoints: Vec<EndpointGroup>,
    /// The ceiling of a request's `max_tokens`.
    pub max_tokens: Option<u64>,
}

/// Proof that policy allowed a call, and by which rule. Only [`Policy::authorize`] makes one.
#[derive(Debug)]
pub struct Permit {
    rule: String,
}

impl Permit {
    /// The rule that allowed the call: the scope of the grant, or of each when a call needed several.
    pub fn rule(&self) -> &str {
        &self.rule
    }
}

/// All rules. The empty policy refuses everything.
#[derive(Debug, Default)]
pub struct Policy {
    addresses: AddressRules,
    grants: Vec<Grant>,
}

impl Policy {
    /// A policy of these rules; the first grant that covers a model is the one that is named.
    pub fn new(addresses: AddressRules, grants: Vec<Grant>) -> Self {
        Self { addresses, grants }
    }

    /// The address rules, which are asked before any cryptography.
    pub fn addresses(&self) -> &AddressRules {
        &self.addresses
    }

    /// Whether any grant of the caller lists the endpoint: asked before the body is read, so that who has no business
    /// here cannot make the proxy hold a body.
    ///
    /// # Errors
    /// [`Denial::EndpointForbidden`]
    pub fn admit(&self, caller: &Caller, endpoint: &Endpoint) -> Result<(), Denial> {
        let group = endpoint.group;
        let opened = self.grants_of(caller).any(|grant| grant.opens(group));
        if opened { Ok(()) } else { Err(Denial::EndpointForbidden { endpoint: group }) }
    }

    /// Decides whether `caller` may make this call. Allowed only if all of these hold:
    ///
    /// 1. a grant names a scope that the caller's token carries and lists the endpoint;
    /// 2. every model that the call names is covered by such a grant;
    /// 3. for each of those models, one grant that covers it allows the call's `max_tokens`.
    ///
    /// Everything else is refused.
    ///
    /// # Errors
    /// The first of these that does not hold.
    pub fn authorize(&self, caller: &Caller, endpoint: &Endpoint, call: &Peek) -> Result<Permit, Denial> {
        let group = endpoint.group;
        let mut rules: Vec<&str> = Vec::with_capacity(1);
        for model in &call.models {
            let grant = self.cover(caller, group, model, call.max_tokens)?;
            if !rules.contains(&grant.scope.as_str()) {
                rules.push(&grant.scope);
            }
        }
        if call.models.is_empty() {
            let grant = self.grants_of(caller).find(|grant| grant.opens(group));
            rules.push(&grant.ok_or(Denial::EndpointForbidden { endpoint: group })?.scope);
        }
        Ok(Permit { rule: rules.join(" ") })
    }

    /// The grant that allows `model` with `max_tokens`.
    fn cover<'a>(
        &'a self,
        caller: &'a Caller,
        group: EndpointGroup,
        model: &Model,
        max_tokens: Option<u64>,
    ) -> Result<&'a Grant, Denial> {
        let mut endpoint_open = false;
        let mut ceiling = None;
        for grant in self.grants_of(caller).filter(|grant| grant.opens(group)) {
            endpoint_open = true;
            if !grant.models.iter().any(|pattern| pattern.matches(model)) {
                continue;
            }
            match (grant.max_tokens, max_tokens) {
                (Some(most), Some(asked)) if asked > most => ceiling = ceiling.max(Some(most)),
                _ => return Ok(grant),
            }
        }
        Err(match (ceiling, max_tokens) {
            (Some(ceiling), Some(asked)) => Denial::MaxTokensForbidden { asked, ceiling },
            _ if endpoint_open => Denial::ModelForbidden { model: model.clone(), endpoint: group },
            _ => Denial::EndpointForbidden { endpoint: group },
        })
    }

    /// Whether any grant of the caller covers `model` at any endpoint: what a list of models may show.
    pub fn shows(&self, caller: &Caller, model: &Model) -> bool {
        self.grants_of(caller).any(|grant| grant.models.iter().any(|pattern| pattern.matches(model)))
    }

    fn grants_of<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a Grant> {
        self.grants.iter().filter(|grant| caller.has_scope(&grant.scope))
    }
}

impl Grant {
    /// Whoever may use a model may look it up.
    fn opens(&self, group: EndpointGroup) -> bool {
        self.endpoints.contains(&group) || group == EndpointGroup::Models && !self.models.is_empty()
    }
}

#[cfg(test)]
mod tests;
