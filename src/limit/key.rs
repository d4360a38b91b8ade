//! Who a count is kept for, without saying who it is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use smallvec::{SmallVec, smallvec};

use super::agent::AgentTrees;
use super::measure::Measure;
use super::rule::{Per, Rule};
use super::span::Span;
use crate::identity::Caller;

/// Who calls, as far as limits tell callers apart. Session and agents are what the client says of itself, and only ever
/// part what is its subject's anyway.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// The verified caller.
    pub caller: &'a Caller,
    /// `x-claude-code-session-id`.
    pub session: Option<&'a str>,
    /// `x-claude-code-agent-id`; the main loop sends none.
    pub agent: Option<&'a str>,
    /// `x-claude-code-parent-agent-id`: the agent that started this one.
    pub parent_agent: Option<&'a str>,
}

/// Half of a SHA-256: long enough that no two callers meet. A name that is guessed can be recognized by it; it is hidden
/// from those who only look.
pub(super) type Identity = [u8; 16];

/// The name of one count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BucketKey {
    /// [`rule_id`] of the rule's name.
    pub rule: u64,
    pub per: Per,
    pub measure: Measure,
    pub span: Span,
    pub who: Identity,
}

/// The identities of one request, each found once.
pub(super) struct Identities<'a> {
    who: &'a Who<'a>,
    agents: &'a AgentTrees,
    subject: Option<Identity>,
    session: Option<Identity>,
    agent: Option<Identity>,
}

impl<'a> Identities<'a> {
    pub fn new(who: &'a Who<'a>, agents: &'a AgentTrees) -> Self {
        Self { who, agents, subject: None, session: None, agent: None }
    }

    /// Who `rule` counts the request for: one identity, or one for each team.
    pub fn of(&mut self, rule: &Rule) -> SmallVec<[Identity; 1]> {
        let issuer = self.who.caller.issuer().as_bytes();
        smallvec![match rule.per {
            Per::Everyone => [0; 16],
            Per::Issuer => digest("issuer", &[issuer]),
            Per::Address => match self.who.caller.address().to_canonical() {
                IpAddr::V4(address) => digest("address", &[&address.octets()]),
                IpAddr::V6(address) => digest("network", &[address.octets().first_chunk::<8>().unwrap_or(&[0; 8])]),
            },
            Per::Subject => self.subject(),
            Per::Session => self.session(),
            Per::Agent => self.agent(),
            Per::Team => return self.teams(rule),
        }]
    }

    fn teams(&self, rule: &Rule) -> SmallVec<[Identity; 1]> {
        let issuer = self.who.caller.issuer().as_bytes();
        let teams = self.who.caller.teams();
        if teams.is_empty() {
            return smallvec![digest("no team", &[issuer])];
        }
        let counts = |team: &&String| rule.teams.is_empty() || rule.teams.contains(team);
        let mut identities: SmallVec<[Identity; 1]> =
            teams.iter().filter(counts).map(|team| digest("team", &[issuer, team.as_bytes()])).collect();
        identities.sort_unstable();
        identities.dedup();
        identities
    }

    fn subject(&mut self) -> Identity {
        let caller = self.who.caller;
        *self
            .subject
            .get_or_insert_with(|| digest("subject", &[caller.issuer().as_bytes(), caller.subject().as_bytes()]))
    }

    fn session(&mut self) -> Identity {
        let subject = self.subject();
        let session = self.who.session.unwrap_or("-");
        *self.session.get_or_insert_with(|| digest("session", &[&subject, session.as_bytes()]))
    }

    fn agent(&mut self) -> Identity {
        let session = self.session();
        let agent_of = |name: &str| digest("agent", &[&session, name.as_bytes()]);
        let (who, agents) = (self.who, self.agents);
        *self.agent.get_or_insert_with(|| match who.agent {
            None => agent_of("-"),
            Some(agent) => agents.root(agent_of(agent), who.parent_agent.map(agent_of)),
        })
    }
}

/// The number that stands for a rule's name in keys.
pub(super) fn rule_id(name: &str) -> u64 {
    let whole = u128::from_be_bytes(digest("rule", &[name.as_bytes()]));
    (whole >> 64) as u64
}

/// Every part goes in with its length, so that no two lists of parts read alike.
fn digest(kind: &str, parts: &[&[u8]]) -> Identity {
    let mut hash = Sha256::new_with_prefix(kind);
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let [whole @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]: [u8; 32] = hash.finalize().into();
    whole
}

/// `9f86d081884c7d65:subject:requests/min:` and the identity in hexadecimal digits.
impl fmt::Display for BucketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (per, measure) = (self.per.name(), self.measure.name());
        write!(f, "{:016x}:{per}:{measure}/{}:{:032x}", self.rule, self.span, u128::from_be_bytes(self.who))
    }
}

impl FromStr for BucketKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or(());
        let rule = u64::from_str_radix(next()?, 16).map_err(drop)?;
        let per = next()?.parse()?;
        let (measure, span) = next()?.split_once('/').ok_or(())?;
        let who = u128::from_str_radix(next()?, 16).map_err(drop)?.to_be_bytes();
        Ok(Self { rule, per, measure: measure.parse()?, span: span.parse()?, who })
    }
}
