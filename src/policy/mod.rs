//! What a caller may ask: address rules, grants, and rules that deny. Nothing here knows sockets or clocks.

mod address;
mod deny;
mod grant;
mod hours;

pub use address::{AddressDecision, AddressRule, AddressRules};
pub use deny::DenyRule;
pub use grant::{Grant, GrantView, Holders};
pub use hours::{Days, Hours, UtcOffset, Window};

use std::time::SystemTime;

use smallvec::SmallVec;

use crate::claude::{Ask, Endpoint, Model, Peek, Specificity};
use crate::denial::Denial;
use crate::identity::Caller;
use grant::{Moment, closeness};

/// Proof that policy allowed a call, and by which rule. Only [`Policy::authorize`] makes one.
#[derive(Debug)]
pub struct Permit {
    grants: SmallVec<[Box<str>; 1]>,
}

impl Permit {
    /// The names of the grants that allowed the call; several where a call needed several.
    pub fn grants(&self) -> impl Iterator<Item = &str> {
        self.grants.iter().map(AsRef::as_ref)
    }

    /// The same as one text, for records.
    pub fn rule(&self) -> String {
        self.grants.join(" ")
    }
}

/// All rules. The empty policy refuses everything.
#[derive(Debug, Default)]
pub struct Policy {
    addresses: AddressRules,
    grants: Vec<Grant>,
    denials: Vec<DenyRule>,
}

/// A step of a decision, for whoever wants to see how it came about.
#[derive(Debug)]
pub enum Step<'a> {
    /// What follows is about this demand.
    Judging(&'a Ask),
    /// The rule denies the call.
    Denies(&'a DenyRule),
    /// The rule covers no demand of the call, and why not the last one.
    Spares(&'a DenyRule, &'static str),
    /// The grant has no say, and why.
    Silent(&'a Grant, &'static str),
    /// The grant has the say and refuses the demand.
    Refuses(&'a Grant, &'a Denial),
    /// The grant has the say and allows the demand.
    Allows(&'a Grant),
}

impl Policy {
    /// A policy of these rules. Of several grants that allow the same, the first is the one that is named.
    pub fn new(addresses: AddressRules, grants: Vec<Grant>, denials: Vec<DenyRule>) -> Self {
        Self { addresses, grants, denials }
    }

    /// The names of the grants, in the order of the configuration.
    pub fn grant_names(&self) -> impl Iterator<Item = &str> {
        self.grants.iter().map(|grant| grant.name.as_str())
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

    /// Decides whether `caller` may make this call with these values of `anthropic-beta` at `now`. Allowed only if all of
    /// these hold for every demand of the call:
    ///
    /// 1. no [`DenyRule`] covers it;
    /// 2. a grant is for the caller and lists the endpoint;
    /// 3. such a grant covers the model, if there is one;
    /// 4. of those whose pattern names the model most closely ([`Specificity`]), one allows all of the demand: it is open
    ///    at this hour, opens every feature and beta value that is used, accepts the region, and its ceilings are not
    ///    passed.
    ///
    /// Everything else is refused.
    ///
    /// # Errors
    /// The first of these that does not hold; of several grants under 4, the refusal of the one that came nearest.
    pub fn authorize(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        call: &Peek,
        betas: &[&str],
        now: SystemTime,
    ) -> Result<Permit, Denial> {
        self.explain(caller, endpoint, call, betas, now, |_| {})
    }

    /// Decides as [`authorize`](Self::authorize) does, and lets `watch` see every step.
    ///
    /// # Errors
    /// As [`authorize`](Self::authorize).
    pub fn explain(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        call: &Peek,
        betas: &[&str],
        now: SystemTime,
        mut watch: impl FnMut(Step<'_>),
    ) -> Result<Permit, Denial> {
        let group = endpoint.group;
        let moment = Moment { group, betas, now };
        let nothing = [Ask::default()];
        let asks = if call.asks().is_empty() { &nothing } else { call.asks() };
        for rule in &self.denials {
            let mut spared = "";
            for ask in asks {
                let Some(why) = rule.why_not(caller, &moment, ask) else {
                    watch(Step::Judging(ask));
                    watch(Step::Denies(rule));
                    return Err(Denial::RuleDenied { rule: rule.name.clone() });
                };
                spared = why;
            }
            watch(Step::Spares(rule, spared));
        }
        let mut open: SmallVec<[&Grant; 8]> = SmallVec::new();
        for grant in &self.grants {
            if !grant.holders.have(caller) {
                watch(Step::Silent(grant, "it is for others"));
            } else if grant.opens(group) {
                open.push(grant);
            } else {
                watch(Step::Silent(grant, "it does not list the endpoint"));
            }
        }
        if open.is_empty() {
            return Err(Denial::EndpointForbidden { endpoint: group });
        }
        let mut rules: SmallVec<[&str; 2]> = SmallVec::new();
        for ask in asks {
            watch(Step::Judging(ask));
            let grant = allowing(&open, ask, &moment, &mut watch)?;
            if !rules.contains(&grant.name.as_str()) {
                rules.push(&grant.name);
            }
        }
        Ok(Permit { grants: rules.into_iter().map(Box::from).collect() })
    }

    /// Whether a list of models may show `model` to the caller: a grant of the caller covers it at any endpoint, and no
    /// rule denies all calls for it.
    pub fn shows(&self, caller: &Caller, model: &Model) -> bool {
        self.grants_of(caller).any(|grant| grant.covers(model).is_some())
            && !self.denials.iter().any(|rule| rule.hides(caller, model))
    }

    /// The grants that are for the caller.
    pub fn grants_of<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a Grant> {
        self.grants.iter().filter(|grant| grant.holders.have(caller))
    }
}

/// The grant among `open` that allows `ask`.
fn allowing<'a>(
    open: &[&'a Grant],
    ask: &Ask,
    call: &Moment<'_>,
    watch: &mut impl FnMut(Step<'_>),
) -> Result<&'a Grant, Denial> {
    let mut covering: SmallVec<[(&Grant, Option<Specificity>); 8]> = SmallVec::new();
    let mut closest = None;
    for &grant in open {
        let specificity = ask.model.as_ref().and_then(|model| grant.covers(model));
        if ask.model.is_some() && specificity.is_none() {
            watch(Step::Silent(grant, "it does not cover the model"));
            continue;
        }
        closest = closest.max(specificity);
        covering.push((grant, specificity));
    }
    let mut nearest: Option<Denial> = None;
    for (grant, specificity) in covering {
        if specificity < closest {
            watch(Step::Silent(grant, "another grant names the model more closely"));
            continue;
        }
        match grant.allow(ask, call) {
            Ok(()) => {
                watch(Step::Allows(grant));
                return Ok(grant);
            }
            Err(refusal) => {
                watch(Step::Refuses(grant, &refusal));
                if nearest.as_ref().is_none_or(|so_far| closeness(so_far) < closeness(&refusal)) {
                    nearest = Some(refusal);
                }
            }
        }
    }
    Err(match (nearest, &ask.model) {
        (Some(refusal), _) => refusal,
        (None, Some(model)) => Denial::ModelForbidden { model: model.clone(), endpoint: call.group },
        (None, None) => Denial::EndpointForbidden { endpoint: call.group },
    })
}

#[cfg(test)]
mod tests;
