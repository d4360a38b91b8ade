//! Which key serves a call.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::Guard;
use http::{HeaderMap, StatusCode};

use super::answer::limited_until;
use super::slot::{Slot, Standing};
use super::{KeyId, KeyState, NamedKey, UpstreamKey};
use crate::claude::Family;
use crate::denial::Denial;
use crate::policy::Permit;

/// The keys of an upstream. Choosing takes no lock and allocates nothing; [`KeyRing::upkeep`] keeps the keys current.
pub struct KeyRing {
    pub(super) slots: Vec<Arc<Slot>>,
    turn: AtomicU64,
    /// The index of the next slot: none is used twice by a ring and those that come after it.
    next: usize,
}

/// Which keys are for a call: the first of these that any key is named for. A key is a workspace, with its own files and
/// its own bill, so a call never goes on to another group because the keys of its own are limited or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// Those that name a team of the caller.
    Team,
    /// Those that name every grant that allowed the call.
    Grant,
    /// Those that name nobody.
    Rest,
}

/// A call that a key is wanted for.
#[derive(Debug, Clone, Copy)]
pub struct KeyClaim<'a> {
    /// The teams of the caller.
    pub teams: &'a [String],
    /// What allowed the call.
    pub permit: &'a Permit,
    /// The line of the model, whose limits count; [`Family::Other`] where the call is for none.
    pub family: Family,
}

/// A key that may serve, and how well.
struct Candidate<'a> {
    standing: Standing,
    slot: &'a Slot,
    key: Guard<Option<Arc<UpstreamKey>>>,
}

impl KeyRing {
    /// A ring of these keys, whose names differ.
    pub fn new(keys: Vec<NamedKey>) -> Self {
        Self { slots: Vec::new(), turn: AtomicU64::new(0), next: 0 }.succeeded_by(keys)
    }

    /// The ring that comes after this one. A key that is named as before stays, with its material and all that is known of it,
    /// also to requests that were under way; one of the same name and origin that serves others has what is known until now.
    #[must_use]
    pub fn succeeded_by(&self, keys: Vec<NamedKey>) -> Self {
        let mut next = self.next;
        let slots = keys.into_iter().map(|key| {
            let made = Slot::new(next, key);
            next += 1;
            match self.slots.iter().find(|slot| slot.has_origin_of(&made)) {
                Some(same) if same.is_named_as(&made) => Arc::clone(same),
                Some(former) => {
                    made.take_over(former);
                    Arc::new(made)
                }
                None => Arc::new(made),
            }
        });
        let slots = slots.collect();
        Self { slots, turn: AtomicU64::new(self.turn.load(Ordering::Relaxed)), next }
    }

    /// Whether these are the very keys of `other`, in its order.
    pub fn is_as(&self, other: &Self) -> bool {
        self.slots.len() == other.slots.len()
            && self.slots.iter().zip(&other.slots).all(|(own, other)| Arc::ptr_eq(own, other))
    }

    /// The key for a call. Of the keys that are named for the caller's teams, else of those named for all of the permit's
    /// grants, else of those named for nobody, these never serve: past their `not_after`, tokens that have ended, and
    /// `refused`, which are those that the upstream has refused for this very request. Of the others it is
    ///
    /// 1. the one that was chosen least lately of those that are neither limited for the family nor set aside;
    /// 2. where there is none, the one whose limit ends first: the client is then told by the upstream to wait;
    /// 3. where there is none either, the one that was set aside last: what the upstream refuses it may take again.
    ///
    /// # Errors
    /// [`Denial::UpstreamKey`] where there is none at all.
    pub fn choose(&self, claim: KeyClaim<'_>, refused: &[KeyId], now: SystemTime) -> Result<Arc<UpstreamKey>, Denial> {
        let group = self.group(claim).ok_or_else(|| {
            Denial::UpstreamKey("none is named for a team of the caller or for the grants, and none for all".to_owned())
        })?;
        let best = self.candidates(group, claim, refused, now).min_by_key(|candidate| candidate.standing);
        let chosen = best.and_then(|Candidate { slot, key, .. }| {
            slot.chosen(self.turn.fetch_add(1, Ordering::Relaxed) + 1);
            Option::clone(&key)
        });
        chosen.ok_or_else(|| {
            Denial::UpstreamKey("all that serve this call have ended, or were refused for it".to_owned())
        })
    }

    /// Whether a key that is neither limited nor set aside can serve the call in place of those in `refused`.
    pub fn has_other(&self, claim: KeyClaim<'_>, refused: &[KeyId], now: SystemTime) -> bool {
        self.group(claim).is_some_and(|group| {
            let mut candidates = self.candidates(group, claim, refused, now);
            candidates.any(|candidate| matches!(candidate.standing, Standing::Good(_)))
        })
    }

    /// Takes up what the head of an answer says of the key that the request bore. A refusal (401 or 403) only asks for a
    /// trial: a client can bring one about by what it sends.
    pub fn answered(
        &self,
        key: &UpstreamKey,
        status: StatusCode,
        headers: &HeaderMap,
        family: Family,
        now: SystemTime,
    ) {
        // Of material that has been replaced, it says nothing of what is in its place.
        let Some(slot) = self.slots.iter().find(|slot| slot.holds(key.id())) else { return };
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            slot.refused();
        }
        if let Some(until) = limited_until(status, headers, now) {
            slot.limit(family, until);
        }
    }

    /// Whether each group of calls that the keys are named for has a key with material. A token of federation is there
    /// once the first exchange has succeeded.
    pub fn is_ready(&self) -> bool {
        let has_material = |slot: &Arc<Slot>| slot.key().is_some();
        self.slots.iter().all(|slot| {
            let mut same = self.slots.iter().filter(|other| other.serves_as(slot));
            same.any(has_material)
        })
    }

    /// The keys at `now`, in the order of the configuration.
    pub fn states(&self, now: SystemTime) -> impl Iterator<Item = KeyState<'_>> {
        self.slots.iter().map(move |slot| slot.state(now))
    }

    /// A key of the configuration by its name, with the material that is in force, for requests of the proxy's own.
    pub fn named(&self, name: &str) -> Option<Arc<UpstreamKey>> {
        let slot = self.slots.iter().find(|slot| &*slot.name == name)?;
        Option::clone(&slot.key())
    }

    fn group(&self, claim: KeyClaim<'_>) -> Option<Group> {
        [Group::Team, Group::Grant, Group::Rest]
            .into_iter()
            .find(|group| self.slots.iter().any(|slot| group.includes(slot, claim)))
    }

    fn candidates<'a>(
        &'a self,
        group: Group,
        claim: KeyClaim<'a>,
        refused: &'a [KeyId],
        now: SystemTime,
    ) -> impl Iterator<Item = Candidate<'a>> {
        self.slots.iter().map(Arc::as_ref).filter(move |slot| group.includes(slot, claim)).filter_map(move |slot| {
            let key = slot.key();
            let material = key.as_ref().filter(|key| !refused.contains(&key.id()))?;
            let standing = slot.standing(material, claim.family, now)?;
            Some(Candidate { standing, slot, key })
        })
    }
}

impl Group {
    fn includes(self, slot: &Slot, claim: KeyClaim<'_>) -> bool {
        match self {
            Self::Team => slot.names_team(claim.teams),
            Self::Grant => slot.names_grants(claim.permit),
            Self::Rest => slot.names_nobody(),
        }
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.slots.iter().map(|slot| &slot.name)).finish()
    }
}

#[cfg(test)]
mod tests;
