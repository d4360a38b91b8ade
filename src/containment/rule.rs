//! Rules: which alarms are followed by what.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::anomaly::{Alarm, Signal, Whom};
use crate::claude::Family;
use crate::limit::Rate;

/// One `[[containment]]` of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name, no other's.
    pub name: String,
    /// Whether it does what it says.
    pub mode: Mode,
    /// Which signals it follows.
    pub signals: Vec<Signal>,
    /// Whether alarms about callers, or about teams.
    pub of: Of,
    /// Those whose `issuer/name` one of these covers, with `*` for any text; all when it is empty.
    pub names: Vec<String>,
    /// What follows.
    pub action: Action,
    /// For how long.
    pub lasts: Duration,
}

/// Whom a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Callers.
    Subject,
    /// Teams.
    Team,
}

/// Whether a rule does what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It only says what it would do.
    Observe,
    /// It does it.
    Enforce,
}

/// What follows an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Requests above this rate are refused.
    Throttle(Rate),
    /// Requests for other families are refused.
    Restrict(Vec<Family>),
    /// Every request is refused.
    Refuse,
}

/// Whom a containment is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", deny_unknown_fields)]
pub enum Target {
    /// A caller.
    Subject {
        /// The issuer's configured name.
        issuer: String,
        /// The caller.
        name: String,
    },
    /// A team.
    Team {
        /// The issuer's configured name.
        issuer: String,
        /// The team.
        name: String,
    },
}

impl Rule {
    /// Whom the rule contains for this alarm, if it is one of its.
    pub fn target(&self, alarm: &Alarm) -> Option<Target> {
        if !self.signals.contains(&alarm.signal) {
            return None;
        }
        let own = |text: &Arc<str>| text.to_string();
        let target = match (&alarm.whom, self.of) {
            (Whom::Subject { issuer, name }, Of::Subject) => Target::Subject { issuer: own(issuer), name: own(name) },
            (Whom::Team { issuer, name }, Of::Team) => Target::Team { issuer: own(issuer), name: own(name) },
            _ => return None, // all, a family, an address and `other` are no one's
        };
        let name = alarm.whom.to_string();
        let covers = |pattern: &String| crate::claude::glob(pattern.as_bytes(), name.as_bytes());
        (self.names.is_empty() || self.names.iter().any(covers)).then_some(target)
    }
}

impl Action {
    /// The word in the configuration and in records.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Throttle(_) => "throttle",
            Self::Restrict(_) => "restrict",
            Self::Refuse => "refuse",
        }
    }

    /// What it is limited to, for people and records: a rate, families.
    pub fn to_what(&self) -> Option<String> {
        match self {
            Self::Throttle(Rate { amount, unit }) => Some(format!("{amount}/{}", unit.name())),
            Self::Restrict(families) => {
                Some(families.iter().map(|family| family.label()).collect::<Vec<_>>().join(" "))
            }
            Self::Refuse => None,
        }
    }

    /// The reverse of [`Action::name`] and [`Action::to_what`].
    pub(super) fn parse(name: &str, to: Option<&str>) -> Option<Self> {
        match (name, to) {
            ("throttle", Some(rate)) => rate.parse().ok().map(Self::Throttle),
            ("restrict", Some(families)) => {
                families.split(' ').map(Family::labelled).collect::<Option<_>>().map(Self::Restrict)
            }
            ("refuse", None) => Some(Self::Refuse),
            _ => None,
        }
    }
}

impl Mode {
    /// The word in the configuration and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::Observe, Self::Enforce].into_iter().find(|mode| mode.name() == name).ok_or(())
    }
}

impl FromStr for Of {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "subject" => Ok(Self::Subject),
            "team" => Ok(Self::Team),
            _ => Err(()),
        }
    }
}

impl Target {
    /// `subject` or `team`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Subject { .. } => "subject",
            Self::Team { .. } => "team",
        }
    }

    /// The issuer's configured name.
    pub fn issuer(&self) -> &str {
        match self {
            Self::Subject { issuer, .. } | Self::Team { issuer, .. } => issuer,
        }
    }

    /// The caller's or the team's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Subject { name, .. } | Self::Team { name, .. } => name,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind(), self.issuer(), self.name())
    }
}
