//! One named place of the ring: which material is in it, whom it serves, and what is known of it.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::{Federation, KeyId, KeyKind, SecretSource, UpstreamKey};
use crate::claude::Family;
use crate::policy::Permit;

/// A key as the configuration names it.
#[derive(Debug)]
pub struct NamedKey {
    /// As records and logs call it; no other has it.
    pub name: String,
    /// Where its material comes from.
    pub origin: Origin,
    /// The teams whose calls it serves.
    pub teams: Vec<String>,
    /// The grants whose calls it serves. With no teams either it serves the calls that no other key is named for.
    pub grants: Vec<String>,
    /// When it is used no longer.
    pub not_after: Option<SystemTime>,
}

/// Where the material of a key comes from.
#[derive(Debug)]
pub enum Origin {
    /// A secret that has been read, and where.
    Secret(UpstreamKey, SecretSource),
    /// Tokens that the upstream gives for the identity of this workload.
    Federation(Federation),
}

/// One named place of the ring. All but the upkeep only read it, or leave word.
pub(super) struct Slot {
    index: usize,
    pub(super) name: Arc<str>,
    pub(super) kind: KeyKind,
    teams: Vec<String>,
    grants: Vec<String>,
    pub(super) not_after: Option<SystemTime>,
    pub(super) file: Option<PathBuf>,
    pub(super) federation: Option<Federation>,
    key: ArcSwapOption<UpstreamKey>,
    /// Until when the upstream limits it, by family.
    limited: [AtomicTime; FAMILIES],
    set_aside: AtomicTime,
    /// Whether the upstream has refused it since its last trial.
    suspect: AtomicBool,
    /// Rings when it became suspect.
    pub(super) suspected: Notify,
    /// Rings when its token is wanted anew before its time.
    pub(super) renewal: Notify,
    /// The ring's turn at which it was chosen last.
    last_turn: AtomicU64,
    requests: AtomicU64,
    refusals: AtomicU64,
    rotations: AtomicU64,
    faulty: AtomicBool,
}

/// [`Family::Other`] is the last.
const FAMILIES: usize = Family::Other as usize + 1;

/// How a key may serve, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// At once; of these the one that was chosen least lately.
    Good(u64),
    /// The upstream limits it; of these the one whose limit ends first.
    Limited(SystemTime),
    /// The upstream refused it; of these the one that it refused last, for it may take it again.
    SetAside(Reverse<SystemTime>),
}

/// A key at a moment, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState<'a> {
    /// Its name.
    pub name: &'a str,
    /// How the upstream is shown it.
    pub kind: KeyKind,
    /// Whether it is used.
    pub usage: KeyUsage,
    /// When it is used no longer, by configuration.
    pub not_after: Option<SystemTime>,
    /// Requests that it was chosen for.
    pub requests: u64,
    /// Answers 401 or 403 to them.
    pub refusals: u64,
    /// How often its material changed: a file, or a token that was renewed.
    pub rotations: u64,
    /// Whether its file is missing or wrong, or its token could not be renewed: the material in force is older.
    pub faulty: bool,
}

/// Whether a key is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUsage {
    /// It is.
    InUse,
    /// The upstream limits it for a family of models at least; others of its group go before.
    Limited,
    /// The upstream refused it at the last trial; all others of its group go before.
    SetAside,
    /// It is past its `not_after`, or is a token that has ended.
    Expired,
    /// There is no token yet.
    Missing,
}

impl KeyUsage {
    /// As metrics label it.
    pub fn label(self) -> &'static str {
        match self {
            Self::InUse => "in_use",
            Self::Limited => "limited",
            Self::SetAside => "set_aside",
            Self::Expired => "expired",
            Self::Missing => "missing",
        }
    }
}

impl Slot {
    pub(super) fn new(index: usize, key: NamedKey) -> Self {
        let (kind, material, file, federation) = match key.origin {
            Origin::Secret(material, source) => {
                (material.kind(), Some(material), source.path().map(Path::to_owned), None)
            }
            Origin::Federation(federation) => (KeyKind::Bearer, None, None, Some(federation)),
        };
        let id = KeyId { slot: index, rotation: 0 };
        Self {
            index,
            name: key.name.into(),
            kind,
            teams: key.teams,
            grants: key.grants,
            not_after: key.not_after,
            file,
            federation,
            key: ArcSwapOption::new(material.map(|material| Arc::new(material.with_id(id)))),
            limited: Default::default(),
            set_aside: AtomicTime::default(),
            suspect: AtomicBool::new(false),
            suspected: Notify::new(),
            renewal: Notify::new(),
            last_turn: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            rotations: AtomicU64::new(0),
            faulty: AtomicBool::new(false),
        }
    }

    /// Whether both have one name and one origin. What the environment holds is its own origin.
    pub(super) fn has_origin_of(&self, other: &Self) -> bool {
        let same_material = || match (&*self.key(), &*other.key()) {
            (Some(own), Some(others)) => own.is_same_as(others),
            _ => false,
        };
        self.name == other.name
            && self.kind == other.kind
            && self.file == other.file
            && self.federation == other.federation
            && (self.file.is_some() || self.federation.is_some() || same_material())
    }

    /// Whether the configuration says the same of both, given that they have one origin.
    pub(super) fn is_named_as(&self, other: &Self) -> bool {
        self.teams == other.teams && self.grants == other.grants && self.not_after == other.not_after
    }

    /// Takes over what is known of `former`, which has the same origin. Nothing holds this one yet.
    pub(super) fn take_over(&self, former: &Self) {
        let same_material = match (&*self.key(), &*former.key()) {
            (Some(own), Some(formers)) => own.is_same_as(formers),
            (None, Some(formers)) => {
                // A token, which serves until its own end.
                self.key.store(Some(Arc::new(formers.copied(KeyId { slot: self.index, rotation: 0 }))));
                true
            }
            (_, None) => false,
        };
        if same_material {
            self.set_aside.set(former.set_aside.get());
            self.suspect.store(former.suspect.load(Ordering::Acquire), Ordering::Release);
            for (own, formers) in self.limited.iter().zip(&former.limited) {
                own.set(formers.get());
            }
        }
        for (own, formers) in [
            (&self.last_turn, &former.last_turn),
            (&self.requests, &former.requests),
            (&self.refusals, &former.refusals),
            (&self.rotations, &former.rotations),
        ] {
            own.store(formers.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Whether it is named for one of these teams.
    pub(super) fn names_team(&self, teams: &[String]) -> bool {
        self.teams.iter().any(|team| teams.contains(team))
    }

    /// Whether it is named for every grant that allowed the call.
    pub(super) fn names_grants(&self, permit: &Permit) -> bool {
        !self.grants.is_empty() && permit.grants().all(|grant| self.grants.iter().any(|named| named == grant))
    }

    /// Whether it is named for nobody, so for all others.
    pub(super) fn names_nobody(&self) -> bool {
        self.teams.is_empty() && self.grants.is_empty()
    }

    /// Whether both are for the same calls.
    pub(super) fn serves_as(&self, other: &Self) -> bool {
        let same = |these: &[String], those: &[String]| {
            these.iter().all(|name| those.contains(name)) && those.iter().all(|name| these.contains(name))
        };
        same(&self.teams, &other.teams) && same(&self.grants, &other.grants)
    }

    /// The material, without counting a use of it.
    pub(super) fn key(&self) -> arc_swap::Guard<Option<Arc<UpstreamKey>>> {
        self.key.load()
    }

    /// Whether this material is the one in force.
    pub(super) fn holds(&self, id: KeyId) -> bool {
        self.key.load().as_ref().is_some_and(|key| key.id() == id)
    }

    /// How `key`, its material, may serve a call for `family`; `None` where it has ended.
    pub(super) fn standing(&self, key: &UpstreamKey, family: Family, now: SystemTime) -> Option<Standing> {
        if self.is_past(now) || key.has_ended(now) {
            return None;
        }
        if let Some(since) = self.set_aside.get() {
            return Some(Standing::SetAside(Reverse(since)));
        }
        let limited = self.limited.get(family as usize).and_then(AtomicTime::get).filter(|&until| until > now);
        Some(limited.map_or_else(|| Standing::Good(self.last_turn.load(Ordering::Relaxed)), Standing::Limited))
    }

    /// Whether it is past its `not_after`.
    pub(super) fn is_past(&self, now: SystemTime) -> bool {
        self.not_after.is_some_and(|not_after| not_after <= now)
    }

    /// Counts a request that it was chosen for.
    pub(super) fn chosen(&self, turn: u64) {
        self.last_turn.store(turn, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Leaves word that the upstream limits it for `family`.
    pub(super) fn limit(&self, family: Family, until: SystemTime) {
        if let Some(limited) = self.limited.get(family as usize) {
            limited.raise(until);
        }
    }

    /// Leaves word that the upstream refused it.
    pub(super) fn refused(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        self.suspect();
    }

    /// Asks for a trial.
    pub(super) fn suspect(&self) {
        self.suspect.store(true, Ordering::Release);
        self.suspected.notify_one();
    }

    /// Takes the suspicion, for a trial that begins now.
    pub(super) fn take_suspicion(&self) {
        self.suspect.store(false, Ordering::Release);
    }

    /// Whether a trial is to be made of it.
    pub(super) fn wants_trial(&self, now: SystemTime) -> bool {
        !self.is_past(now) && (self.suspect.load(Ordering::Acquire) || self.is_set_aside())
    }

    /// Whether the upstream refused it at the last trial.
    pub(super) fn is_set_aside(&self) -> bool {
        self.set_aside.get().is_some()
    }

    /// Sets it aside, unless it is already.
    pub(super) fn set_aside(&self, now: SystemTime) {
        if !self.is_set_aside() {
            self.set_aside.set(Some(now));
        }
    }

    /// Takes it back into use.
    pub(super) fn restore(&self) {
        self.set_aside.set(None);
    }

    /// Puts another key in force, of which nothing bad is known.
    pub(super) fn rotate(&self, key: UpstreamKey) {
        self.renew(key);
        for limited in &self.limited {
            limited.set(None);
        }
    }

    /// Puts another token for the same workspace in force: what limits the one limits the other.
    pub(super) fn renew(&self, key: UpstreamKey) {
        let rotation = self.rotations.fetch_add(1, Ordering::Relaxed) + 1;
        self.key.store(Some(Arc::new(key.with_id(KeyId { slot: self.index, rotation }))));
        self.take_suspicion();
        self.restore();
    }

    /// Says whether its file or its renewal is at fault.
    pub(super) fn set_faulty(&self, faulty: bool) {
        self.faulty.store(faulty, Ordering::Relaxed);
    }

    pub(super) fn state(&self, now: SystemTime) -> KeyState<'_> {
        let has_ended = self.key.load().as_ref().map(|key| key.has_ended(now));
        let is_limited = || self.limited.iter().any(|limited| limited.get().is_some_and(|until| until > now));
        let usage = match has_ended {
            _ if self.is_past(now) => KeyUsage::Expired,
            None => KeyUsage::Missing,
            Some(true) => KeyUsage::Expired,
            Some(false) if self.is_set_aside() => KeyUsage::SetAside,
            Some(false) if is_limited() => KeyUsage::Limited,
            Some(false) => KeyUsage::InUse,
        };
        KeyState {
            name: &self.name,
            kind: self.kind,
            usage,
            not_after: self.not_after,
            requests: self.requests.load(Ordering::Relaxed),
            refusals: self.refusals.load(Ordering::Relaxed),
            rotations: self.rotations.load(Ordering::Relaxed),
            faulty: self.faulty.load(Ordering::Relaxed),
        }
    }
}

/// A time, or none, in milliseconds since 1970.
#[derive(Default)]
struct AtomicTime(AtomicU64);

impl AtomicTime {
    fn get(&self) -> Option<SystemTime> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            millis => UNIX_EPOCH.checked_add(Duration::from_millis(millis)),
        }
    }

    fn set(&self, time: Option<SystemTime>) {
        self.0.store(time.map_or(0, millis), Ordering::Relaxed);
    }

    /// Sets the time, unless it is later already.
    fn raise(&self, time: SystemTime) {
        self.0.fetch_max(millis(time), Ordering::Relaxed);
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1)
}
