//! The containments in force: asked by every request, changed by beats and by people.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use smallvec::SmallVec;
use uuid::Uuid;

use super::rule::{Action, Mode, Rule, Target};
use crate::anomaly::{Kind, Signal, Snapshot, Whom};
use crate::claude::Family;
use crate::denial::Denial;
use crate::limit::{Rate, Unit};

/// The containments in force, and the rules that begin them.
#[derive(Debug)]
pub struct Containments {
    rules: Vec<Rule>,
    /// `None` while there is none, which is what most requests find.
    active: ArcSwapOption<Active>,
    /// Changes, one after the other.
    list: Mutex<List>,
}

/// One containment.
#[derive(Debug, Clone)]
pub struct Held {
    /// Its id, for people and records.
    pub id: String,
    /// The rule that began it.
    pub rule: String,
    /// Whether it does what it says.
    pub mode: Mode,
    /// The alarm.
    pub signal: Signal,
    /// Its score when it began.
    pub score: f64,
    /// Whom it is about.
    pub target: Target,
    /// What it does.
    pub action: Action,
    /// Since when.
    pub since: SystemTime,
    /// Until when.
    pub until: SystemTime,
    /// When it was lifted: until its end none of this rule begins for this target.
    pub lifted: bool,
    /// Microseconds since 1970 at which the next request may come, of a throttle.
    pub(super) next: Arc<AtomicU64>,
}

/// That a containment has begun or ended.
#[derive(Debug, Clone)]
pub enum Event {
    /// It has begun.
    Contained(Held),
    /// It has ended.
    Released(Held, Released),
}

/// Why a containment has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// Its time is over.
    Expired,
    /// Somebody lifted it.
    Lifted,
}

/// By whom they are about, for requests.
#[derive(Debug, Default)]
struct Active {
    subjects: ByName,
    teams: ByName,
}

/// By the issuer's name, and the subject's or the team's.
type ByName = HashMap<String, HashMap<String, Vec<Held>>>;

#[derive(Debug, Default)]
struct List {
    held: Vec<Held>,
    /// Alarms that were not followed for want of room.
    turned_away: u64,
}

/// Who asks, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The issuer's configured name.
    pub issuer: &'a str,
    /// The verified caller.
    pub subject: &'a str,
    /// Its teams.
    pub teams: &'a [String],
}

/// Containments at one time: an alarm for everybody is no reason to refuse everybody.
const MOST: usize = 64;
/// A team with more than this share of what is usual is everybody, whatever it is called.
const EVERYBODY: f64 = 0.5;

impl Containments {
    /// Containments by these rules, with those that are in force from before.
    pub fn new(rules: Vec<Rule>, held: Vec<Held>) -> Self {
        let new = Self { rules, active: ArcSwapOption::empty(), list: Mutex::default() };
        new.adopt(held);
        new
    }

    /// Whether the request may go on at this time, which is asked for where it matters: while nobody is contained this is one
    /// load.
    ///
    /// # Errors
    /// [`Denial::Contained`] or [`Denial::Throttled`].
    pub fn admit(
        &self,
        asking: &Asking<'_>,
        families: impl Iterator<Item = Family>,
        now: impl FnOnce() -> SystemTime,
    ) -> Result<(), Denial> {
        let active = self.active.load();
        let Some(active) = &*active else { return Ok(()) };
        let now = now();
        let families: SmallVec<[Family; 4]> = families.collect();
        let of = |names: &ByName, name: &str| {
            let held = names.get(asking.issuer).and_then(|names| names.get(name));
            held.into_iter().flatten().try_for_each(|held| held.admit(&families, now))
        };
        of(&active.subjects, asking.subject)?;
        if !active.teams.is_empty() {
            asking.teams.iter().try_for_each(|team| of(&active.teams, team))?;
        }
        Ok(())
    }

    /// Ends what is over and begins what the alarms call for.
    pub fn beat(&self, snapshot: &Snapshot, now: SystemTime) -> Vec<Event> {
        let mut list = self.list();
        let mut events = Vec::new();
        list.held.retain(|held| {
            // A clock that was set back does not make a containment longer than it was meant.
            let is_over =
                now >= held.until || held.since > now + held.until.duration_since(held.since).unwrap_or_default();
            if is_over && !held.lifted {
                events.push(Event::Released(held.clone(), Released::Expired));
            }
            !is_over
        });
        for alarm in &snapshot.alarms {
            for rule in &self.rules {
                let Some(target) = rule.target(alarm) else { continue };
                let same = |held: &&mut Held| held.rule == rule.name && held.target == target;
                if let Some(held) = list.held.iter_mut().find(same) {
                    // What somebody has lifted stays lifted while its alarm goes on.
                    if held.lifted {
                        held.until = held.until.max(now + STAYS_LIFTED);
                    }
                    continue;
                }
                if alarm.fading {
                    continue;
                }
                if is_everybody(snapshot, &alarm.whom) {
                    tracing::warn!(rule = rule.name, %target, "not contained: the team is most of what is usual");
                    continue;
                }
                if list.held.len() >= MOST {
                    list.turned_away += 1;
                    tracing::error!(rule = rule.name, %target, "not contained: there are as many containments as may be");
                    continue;
                }
                let held = Held {
                    id: Uuid::now_v7().simple().to_string(),
                    rule: rule.name.clone(),
                    mode: rule.mode,
                    signal: alarm.signal,
                    score: (alarm.score * 100.0).round() / 100.0,
                    target,
                    action: rule.action.clone(),
                    since: now,
                    until: now + rule.lasts,
                    lifted: false,
                    next: Arc::default(),
                };
                events.push(Event::Contained(held.clone()));
                list.held.push(held);
            }
        }
        self.publish(&list);
        events
    }

    /// Lifts those with these ids.
    pub fn lift(&self, ids: &[String], now: SystemTime) -> Vec<Event> {
        let mut list = self.list();
        let mut events = Vec::new();
        for held in list.held.iter_mut().filter(|held| !held.lifted && now < held.until && ids.contains(&held.id)) {
            held.lifted = true;
            events.push(Event::Released(held.clone(), Released::Lifted));
        }
        self.publish(&list);
        events
    }

    /// Puts what another process has in force in the place of what there is.
    pub fn adopt(&self, held: Vec<Held>) {
        let mut list = self.list();
        list.held = held;
        list.held.truncate(MOST);
        self.publish(&list);
    }

    /// All of them, those that were lifted among them.
    pub fn held(&self) -> Vec<Held> {
        self.list().held.clone()
    }

    /// Alarms that were not followed for want of room.
    pub fn turned_away(&self) -> u64 {
        self.list().turned_away
    }

    fn publish(&self, list: &List) {
        let mut active = Active::default();
        for held in list.held.iter().filter(|held| held.mode == Mode::Enforce && !held.lifted) {
            let map = match held.target {
                Target::Subject { .. } => &mut active.subjects,
                Target::Team { .. } => &mut active.teams,
            };
            let names = map.entry(held.target.issuer().to_owned()).or_default();
            names.entry(held.target.name().to_owned()).or_default().push(held.clone());
        }
        let is_empty = active.subjects.is_empty() && active.teams.is_empty();
        self.active.store((!is_empty).then(|| Arc::new(active)));
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn admit(&self, families: &[Family], now: SystemTime) -> Result<(), Denial> {
        let Ok(left) = self.until.duration_since(now) else { return Ok(()) };
        let refused = || Denial::Contained { rule: self.rule.clone() };
        match &self.action {
            Action::Refuse => Err(refused()),
            Action::Restrict(allowed) => {
                if families.iter().all(|family| allowed.contains(family)) {
                    Ok(())
                } else {
                    Err(refused())
                }
            }
            Action::Throttle(rate) => self
                .pace(*rate, now)
                .map_err(|wait| Denial::Throttled { rule: self.rule.clone(), retry_after: wait.min(left) }),
        }
    }

    /// Lets a request by when it is its time (the generic cell rate algorithm, with room for a tenth of the rate at once).
    fn pace(&self, rate: Rate, now: SystemTime) -> Result<(), Duration> {
        let now = u64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()).unwrap_or_default();
        let seconds: u64 = match rate.unit {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3_600,
            Unit::Day => 86_400,
            Unit::Month => 31 * 86_400, // no containment lasts so long, and the configuration refuses it
        };
        let span = seconds * 1_000_000;
        let step = span.div_ceil(rate.amount.max(1));
        let slack = step.max(span / 10) - step;
        let next = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            let next = if next > now.saturating_add(2 * span) { now } else { next.max(now) }; // a clock that was set back
            (next <= now + slack).then_some(next + step)
        });
        next.map(drop).map_err(|next| Duration::from_micros(next.saturating_sub(now + slack).max(1_000_000)))
    }
}

/// How long at least a lifted containment keeps another from beginning after its alarm was last seen.
const STAYS_LIFTED: Duration = Duration::from_secs(120);

fn is_everybody(snapshot: &Snapshot, whom: &Whom) -> bool {
    if whom.kind() != Kind::Team {
        return false;
    }
    let usual = |whom: &Whom| snapshot.expected(Signal::Requests, whom);
    match (usual(whom), usual(&Whom::All)) {
        (Some(team), Some(all)) => team > EVERYBODY * all,
        _ => true, // it cannot be known
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
