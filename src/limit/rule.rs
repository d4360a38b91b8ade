//! Rules: who is bounded, at which models, by how much.

use std::str::FromStr;
use std::sync::Arc;

use super::measure::Measure;
use super::span::{Span, Unit};
use crate::claude::{Model, ModelPattern};

/// One `[[limit]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Unique among the rules; what was used is remembered by it.
    pub name: Arc<str>,
    /// Who shares one count.
    pub per: Per,
    /// The models whose calls count; empty for every call, those that name no model included.
    pub models: Vec<ModelPattern>,
    /// The teams whose members are bounded; empty for everybody.
    pub teams: Vec<String>,
    /// At least one.
    pub bounds: Vec<Bound>,
    /// What holds while the shared store does not answer.
    pub on_store_failure: OnStoreFailure,
    /// What becomes of a stream that uses more than the limit has.
    pub on_exhausted: OnExhausted,
}

/// One bound of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// What is bounded.
    pub measure: Measure,
    /// At most this many: requests, tokens, or nano-dollars for [`Measure::Cost`]. At most [`Bound::MAX`].
    pub amount: u64,
    /// How long a use counts.
    pub span: Span,
}

/// Who shares one count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// The token's subject, within its issuer.
    Subject,
    /// Each team of the caller, within its issuer; callers without a team are one team.
    Team,
    /// All tokens of an issuer.
    Issuer,
    /// The client's address; an IPv6 network of 64 bits is one.
    Address,
    /// A Claude Code session, within a subject; calls without one are one session.
    Session,
    /// An agent with all agents that it started, within a session; the main loop is one.
    Agent,
    /// All callers together.
    Everyone,
}

/// What holds while the shared store does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnStoreFailure {
    /// This host's share of the bound, by what this host has counted.
    #[default]
    Local,
    /// Nothing: calls pass, and are counted when the store is back.
    Open,
    /// No call passes.
    Closed,
}

/// What becomes of a stream that uses more than the limit has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// It goes on to its end, and what it used too much is missing for the next call.
    #[default]
    Finish,
    /// It ends with an error event.
    Cut,
}

impl Bound {
    /// The largest amount: sums of a few of them stay exact in Redis, whose scripts count in 53 bits. As money, about
    /// 1.1 million dollars.
    pub const MAX: u64 = (1 << 50) - 1;
}

impl Rule {
    /// Whether the rule bounds a call of `models`; one without models only meets rules for all calls.
    pub(super) fn covers<'m>(&self, models: impl IntoIterator<Item = &'m Model>) -> bool {
        self.models.is_empty() || models.into_iter().any(|model| self.covers_model(model))
    }

    /// Whether the rule bounds calls of `model`. Unlike a grant, a pattern bounds models of unknown families too: a limit
    /// that a new name escapes is none.
    pub(super) fn covers_model(&self, model: &Model) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| pattern.catches(model))
    }
}

impl Per {
    /// As `per` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Team => "team",
            Self::Issuer => "issuer",
            Self::Address => "address",
            Self::Session => "session",
            Self::Agent => "agent",
            Self::Everyone => "everyone",
        }
    }

    /// Whether the client itself names what is counted: it may name as many as it likes.
    pub(super) fn is_claimed(self) -> bool {
        matches!(self, Self::Session | Self::Agent)
    }
}

impl FromStr for Per {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::Subject, Self::Team, Self::Issuer, Self::Address, Self::Session, Self::Agent, Self::Everyone]
            .into_iter()
            .find(|per| per.name() == name)
            .ok_or(())
    }
}

impl FromStr for OnStoreFailure {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "local" => Ok(Self::Local),
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            _ => Err(()),
        }
    }
}

impl FromStr for OnExhausted {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "finish" => Ok(Self::Finish),
            "cut" => Ok(Self::Cut),
            _ => Err(()),
        }
    }
}

/// A rate of a configuration, such as `60/min`: how much, and in which window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How much.
    pub amount: u64,
    /// In which window.
    pub unit: Unit,
}
