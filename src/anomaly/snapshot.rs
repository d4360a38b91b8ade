//! What the signals say at a beat.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::claude::Family;

/// What is out of the ordinary, or may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// More requests than usual.
    Requests,
    /// More tokens.
    Tokens,
    /// More cost.
    Cost,
    /// More refusals.
    Denials,
    /// More personal data and secrets found in requests.
    Findings,
    /// A caller's first use of a model family.
    FirstUse,
    /// Refused tokens of one address.
    RefusedTokens,
    /// One caller at many addresses at once.
    ManyAddresses,
}

/// Whom a signal is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Whom {
    /// All requests together.
    All,
    /// Those for a model family.
    Family(Family),
    /// Those of a team.
    Team {
        /// The issuer's configured name.
        issuer: Arc<str>,
        /// The team.
        name: Arc<str>,
    },
    /// Those of a caller.
    Subject {
        /// The issuer's configured name.
        issuer: Arc<str>,
        /// The caller.
        name: Arc<str>,
    },
    /// Those of an address.
    Address(IpAddr),
    /// Those of all teams or callers that have no series of their own.
    Other(Kind),
}

/// Which kind of name it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// All requests together.
    All,
    /// A model family.
    Family,
    /// A team.
    Team,
    /// A caller.
    Subject,
    /// An address.
    Address,
}

/// A series at a beat.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesView {
    /// What is counted.
    pub signal: Signal,
    /// Of whom.
    pub whom: Whom,
    /// 1 and above is an alarm; 0 while it learns.
    pub score: f64,
    /// What is usual in a minute now: requests, tokens, US dollars, refusals, findings.
    pub expected: f64,
    /// What was seen in a minute of late.
    pub observed: f64,
    /// It only learns as yet.
    pub learning: bool,
}

/// Something is out of the ordinary.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    /// What.
    pub signal: Signal,
    /// About whom.
    pub whom: Whom,
    /// How far: 1 and above.
    pub score: f64,
    /// The model family, of a first use.
    pub family: Option<Family>,
    /// Since when.
    pub since: SystemTime,
    /// It is past what began it, and is soon over.
    pub fading: bool,
}

/// What the signals say at a beat. Bounded by the options.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Every series.
    pub series: Vec<SeriesView>,
    /// What is out of the ordinary now.
    pub alarms: Vec<Alarm>,
    /// Alarms since the start, by signal and kind.
    pub begun: Vec<(Signal, Kind, u64)>,
    /// First uses since the start, by family.
    pub first_uses: Vec<(Family, u64)>,
}

impl Snapshot {
    /// What is usual in a minute for this signal and name.
    pub fn expected(&self, signal: Signal, whom: &Whom) -> Option<f64> {
        self.series.iter().find(|series| series.signal == signal && series.whom == *whom).map(|series| series.expected)
    }
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Requests,
        Self::Tokens,
        Self::Cost,
        Self::Denials,
        Self::Findings,
        Self::FirstUse,
        Self::RefusedTokens,
        Self::ManyAddresses,
    ];

    /// The metric's label, and the word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Cost => "cost",
            Self::Denials => "denials",
            Self::Findings => "findings",
            Self::FirstUse => "first_use",
            Self::RefusedTokens => "refused_tokens",
            Self::ManyAddresses => "many_addresses",
        }
    }
}

impl std::str::FromStr for Signal {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|signal| signal.name() == name).ok_or(())
    }
}

impl Kind {
    /// The metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Family => "family",
            Self::Team => "team",
            Self::Subject => "subject",
            Self::Address => "address",
        }
    }
}

impl Whom {
    /// Which kind of name it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::All => Kind::All,
            Self::Family(_) => Kind::Family,
            Self::Team { .. } => Kind::Team,
            Self::Subject { .. } => Kind::Subject,
            Self::Address(_) => Kind::Address,
            Self::Other(kind) => *kind,
        }
    }
}

/// The metric's label: `all`, a family, `issuer/name`, an address, or `other`.
impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Family(family) => f.write_str(family.label()),
            Self::Team { issuer, name } | Self::Subject { issuer, name } => write!(f, "{issuer}/{name}"),
            Self::Address(address) => write!(f, "{}", address.to_canonical()),
            Self::Other(_) => f.write_str("other"),
        }
    }
}
