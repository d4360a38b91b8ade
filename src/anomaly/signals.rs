//! The signals: what requests leave, and what a beat makes of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use super::callers::fingerprint;
use super::heavy::{Counts, Heavy};
use super::observation::Observation;
use super::options::Options;
use super::series::{Rules, Series};
use super::snapshot::{Alarm, Kind, SeriesView, Signal, Snapshot, Whom};
use super::state::{Group, State};
use super::tally::{FAMILIES, Tally};
use crate::claude::Family;

/// Counts requests, and says at every beat what is out of the ordinary.
#[derive(Debug)]
pub struct Signals {
    options: Options,
    /// Held for a few look-ups by each request that ends.
    tally: Mutex<Tally>,
    /// Of beats alone.
    board: Mutex<Board>,
    snapshot: ArcSwap<Snapshot>,
}

/// Requests, tokens, cost and denials of one name.
type Four = [Series; 4];

const FOUR: [Signal; 4] = [Signal::Requests, Signal::Tokens, Signal::Cost, Signal::Denials];

#[derive(Debug)]
struct Board {
    last: Option<SystemTime>,
    all: Four,
    findings: Series,
    families: Vec<Four>,
    teams: Followed,
    subjects: Followed,
    alarms: HashMap<(Signal, Whom), Alarm>,
    /// Beats for which alarms that are no series' stay.
    stay: HashMap<(Signal, Whom), u32>,
    begun: BTreeMap<(Signal, Kind), u64>,
}

/// The names that have series of their own, and all others together.
#[derive(Debug)]
struct Followed {
    most: usize,
    names: Vec<Name>,
    other: Four,
}

#[derive(Debug)]
struct Name {
    id: u64,
    issuer: Arc<str>,
    called: Arc<str>,
    weight: f64,
    series: Four,
}

/// What one unit of a series is, in units of the metric.
fn unit(signal: Signal) -> f64 {
    match signal {
        Signal::Tokens => 1000.0,
        Signal::Cost => 0.01,
        Signal::Requests
        | Signal::Denials
        | Signal::Findings
        | Signal::FirstUse
        | Signal::RefusedTokens
        | Signal::ManyAddresses => 1.0,
    }
}

/// The least amount, in units, that is an alarm: ten requests, 10 000 tokens, ten cents.
const LEAST: f64 = 10.0;
/// How long an alarm stays that is no series'.
const STAY: f64 = 600.0;
/// Alarms at one time; series are bounded by themselves.
const MOST_ALARMS: usize = 256;
/// Weight that a name needs for series of its own.
const WORTH: f64 = 20.0;
/// Seconds in which weights lose two thirds: who is heavy on weekdays is not forgotten on a Sunday.
const WEIGHT_MEMORY: f64 = 7.0 * 86_400.0;
/// How much heavier than the lightest name a new one must be to take its place.
const HEAVIER: f64 = 2.0;
/// Beats that one may take before the clock must have jumped.
const MOST_BEATS: f64 = 6.0;

impl Signals {
    /// Signals that know nothing yet.
    pub fn new(options: Options) -> Self {
        let tally = Tally::new(options.top_teams, options.top_subjects);
        let board = Board::new(&options);
        Self { options, tally: Mutex::new(tally), board: Mutex::new(board), snapshot: ArcSwap::default() }
    }

    /// Signals that know what `state` says; `None` when that is no state that signals can have.
    pub(super) fn restore(options: Options, state: State) -> Option<Self> {
        let signals = Self::new(options);
        {
            let (mut board, mut tally) = (signals.board(), signals.tally());
            tally.callers = super::callers::Callers::restore(state.callers)?;
            board.all = four(state.all)?;
            board.findings = Series::restore(state.findings)?;
            board.families = state.families.into_iter().map(four).collect::<Option<_>>()?;
            board.families.resize_with(FAMILIES.len(), new_four);
            board.teams.restore(state.teams, &mut tally.teams)?;
            board.subjects.restore(state.subjects, &mut tally.subjects)?;
        }
        Some(signals)
    }

    /// Counts a request that has ended or was refused.
    pub fn observe(&self, seen: &Observation<'_>) {
        self.tally().add(seen, self.options.warm_up.as_secs_f64());
    }

    /// Time between two beats.
    pub fn interval(&self) -> Duration {
        self.options.beat
    }

    /// What the last beat said.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Turns the counts since the last beat into scores. A clock that has jumped loses the counts of one beat and the windows,
    /// nothing else.
    pub fn beat(&self, now: SystemTime) -> Arc<Snapshot> {
        let mut board = self.board();
        let since = board.last.replace(now).and_then(|last| now.duration_since(last).ok());
        let planned = self.options.beat.as_secs_f64();
        let seconds = since.map(|since| since.as_secs_f64());
        let seconds = seconds.filter(|seconds| (0.2 * planned..MOST_BEATS * planned).contains(seconds));
        let counted = board.collect(&mut self.tally(), &self.options, seconds.unwrap_or(planned), now);
        let snapshot = if let Some(seconds) = seconds {
            let unix = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            board.judge(&counted, At { now, unix, seconds }, &self.options)
        } else {
            board.interrupt();
            (*self.snapshot.load_full()).clone()
        };
        let snapshot = Arc::new(snapshot);
        self.snapshot.store(Arc::clone(&snapshot));
        snapshot
    }

    pub(super) fn state(&self) -> State {
        let board = self.board();
        let callers = self.tally().callers.state();
        State {
            version: super::state::VERSION,
            all: board.all.iter().map(Series::state).collect(),
            findings: board.findings.state(),
            families: board.families.iter().map(|four| four.iter().map(Series::state).collect()).collect(),
            teams: board.teams.state(),
            subjects: board.subjects.state(),
            callers,
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a beat is.
#[derive(Clone, Copy)]
struct At {
    now: SystemTime,
    /// Seconds since 1970.
    unix: f64,
    /// Since the beat before.
    seconds: f64,
}

/// What was counted between two beats.
struct Counted {
    all: Counts,
    findings: f64,
    families: [Counts; 6],
    teams: Vec<Counts>,
    other_teams: Counts,
    subjects: Vec<Counts>,
    other_subjects: Counts,
    events: Vec<Event>,
    first_uses: [u64; 6],
}

/// Something that is out of the ordinary by itself.
struct Event {
    signal: Signal,
    whom: Whom,
    score: f64,
    family: Option<Family>,
}

impl Board {
    fn new(options: &Options) -> Self {
        Self {
            last: None,
            all: new_four(),
            findings: Series::new(),
            families: FAMILIES.iter().map(|_| new_four()).collect(),
            teams: Followed::new(options.top_teams),
            subjects: Followed::new(options.top_subjects),
            alarms: HashMap::new(),
            stay: HashMap::new(),
            begun: BTreeMap::new(),
        }
    }

    /// Takes what the requests have left.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // days since 1970
    fn collect(&mut self, tally: &mut Tally, options: &Options, seconds: f64, now: SystemTime) -> Counted {
        let keep = (-seconds / WEIGHT_MEMORY).exp();
        let day = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400;
        tally.callers.beat(seconds, u32::try_from(day).unwrap_or_default());
        let (teams, other_teams) = self.teams.collect(&mut tally.teams, keep);
        let (subjects, other_subjects) = self.subjects.collect(&mut tally.subjects, keep);
        let subject = |issuer: Box<str>, name: Box<str>| Whom::Subject { issuer: issuer.into(), name: name.into() };
        let mut events = Vec::new();
        for (address, count) in tally.bursts(options.refused_tokens) {
            let score = f64::from(count) / f64::from(options.refused_tokens);
            events.push(Event { signal: Signal::RefusedTokens, whom: Whom::Address(address), score, family: None });
        }
        for (issuer, name, count) in tally.addresses.beat(options.addresses) {
            #[allow(clippy::cast_precision_loss)] // a few dozen
            let score = count as f64 / options.addresses as f64;
            events.push(Event { signal: Signal::ManyAddresses, whom: subject(issuer, name), score, family: None });
        }
        for first in tally.first_uses.drain(..) {
            let whom = subject(first.issuer, first.name);
            events.push(Event { signal: Signal::FirstUse, whom, score: 1.0, family: Some(first.family) });
        }
        Counted {
            all: std::mem::take(&mut tally.all.0),
            findings: std::mem::take(&mut tally.findings),
            families: tally.families.each_mut().map(|(counts, _)| std::mem::take(counts)),
            teams,
            other_teams,
            subjects,
            other_subjects,
            events,
            first_uses: tally.first_uses_counted,
        }
    }

    fn judge(&mut self, counted: &Counted, at: At, options: &Options) -> Snapshot {
        let rules = Rules {
            threshold: options.threshold,
            ratio: options.ratio,
            least: LEAST,
            warm_up: options.warm_up.as_secs_f64(),
        };
        let mut judge = Judge { at, rules, series: Vec::new(), active: Vec::new() };
        judge.four(&mut self.all, &Whom::All, &counted.all);
        judge.one(&mut self.findings, Signal::Findings, &Whom::All, counted.findings);
        for ((four, family), counts) in self.families.iter_mut().zip(FAMILIES).zip(&counted.families) {
            judge.four(four, &Whom::Family(family), counts);
        }
        judge.followed(&mut self.teams, Kind::Team, &counted.teams, &counted.other_teams);
        judge.followed(&mut self.subjects, Kind::Subject, &counted.subjects, &counted.other_subjects);
        let Judge { series, active, .. } = judge;
        self.conclude(active, &counted.events, at);
        let mut alarms: Vec<Alarm> = self.alarms.values().cloned().collect();
        alarms.sort_by(|a, b| (a.since, a.signal, &a.whom).cmp(&(b.since, b.signal, &b.whom)));
        Snapshot {
            series,
            alarms,
            begun: self.begun.iter().map(|(&(signal, kind), &count)| (signal, kind, count)).collect(),
            first_uses: FAMILIES.into_iter().zip(counted.first_uses).collect(),
        }
    }

    /// Begins and ends alarms.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few hundred beats
    fn conclude(&mut self, active: Vec<(Signal, Whom, f64)>, events: &[Event], at: At) {
        let stay = (STAY / at.seconds).ceil() as u32;
        let mut now: HashMap<(Signal, Whom), (f64, bool, Option<Family>)> = HashMap::new();
        for (signal, whom, score) in active {
            now.insert((signal, whom), (score, score < 1.0, None));
        }
        self.stay.values_mut().for_each(|left| *left = left.saturating_sub(1));
        self.stay.retain(|_, left| *left > 0);
        for event in events {
            let key = (event.signal, event.whom.clone());
            self.stay.insert(key.clone(), stay);
            now.insert(key, (event.score, false, event.family));
        }
        for key in self.stay.keys() {
            let known = self.alarms.get(key).map_or((0.0, None), |alarm| (alarm.score, alarm.family));
            now.entry(key.clone()).or_insert((known.0, true, known.1));
        }
        self.alarms.retain(|key, alarm| {
            let stays = now.contains_key(key);
            if !stays {
                let (signal, kind) = (alarm.signal.name(), alarm.whom.kind().name());
                tracing::info!(signal, kind, name = %alarm.whom, "an anomaly is over");
            }
            stays
        });
        for ((signal, whom), (score, fading, family)) in now {
            let key = (signal, whom.clone());
            if let Some(alarm) = self.alarms.get_mut(&key) {
                (alarm.score, alarm.fading, alarm.family) = (score, fading, family);
                continue;
            }
            if self.alarms.len() >= MOST_ALARMS {
                self.stay.remove(&key);
                continue;
            }
            *self.begun.entry((signal, whom.kind())).or_default() += 1;
            tracing::warn!(signal = signal.name(), kind = whom.kind().name(), name = %whom, score, "an anomaly");
            self.alarms.insert(key, Alarm { signal, whom, score, family, since: at.now, fading });
        }
    }

    fn interrupt(&mut self) {
        self.findings.interrupt();
        let named = self.teams.names.iter_mut().chain(&mut self.subjects.names).map(|name| &mut name.series);
        let fours = [&mut self.all, &mut self.teams.other, &mut self.subjects.other];
        named.chain(fours).chain(&mut self.families).flatten().for_each(Series::interrupt);
    }
}

/// Judges series one by one.
struct Judge {
    at: At,
    rules: Rules,
    series: Vec<SeriesView>,
    active: Vec<(Signal, Whom, f64)>,
}

impl Judge {
    fn one(&mut self, series: &mut Series, signal: Signal, whom: &Whom, amount: f64) {
        let verdict = series.beat(self.at.unix, self.at.seconds, amount, &self.rules);
        let per_minute = 60.0 * unit(signal);
        self.series.push(SeriesView {
            signal,
            whom: whom.clone(),
            score: verdict.score,
            expected: verdict.expected * per_minute,
            observed: verdict.observed * per_minute,
            learning: verdict.learning,
        });
        if verdict.active {
            self.active.push((signal, whom.clone(), verdict.score));
        }
    }

    fn four(&mut self, four: &mut Four, whom: &Whom, counts: &Counts) {
        let amounts = [counts.requests, counts.tokens, counts.cost, counts.denials];
        for ((series, signal), amount) in four.iter_mut().zip(FOUR).zip(amounts) {
            self.one(series, signal, whom, amount);
        }
    }

    fn followed(&mut self, followed: &mut Followed, kind: Kind, counts: &[Counts], other: &Counts) {
        for (name, counts) in followed.names.iter_mut().zip(counts) {
            let whom = name.whom(kind);
            self.four(&mut name.series, &whom, counts);
        }
        self.four(&mut followed.other, &Whom::Other(kind), other);
    }
}

impl Name {
    fn whom(&self, kind: Kind) -> Whom {
        let (issuer, name) = (Arc::clone(&self.issuer), Arc::clone(&self.called));
        if kind == Kind::Team { Whom::Team { issuer, name } } else { Whom::Subject { issuer, name } }
    }
}

impl Followed {
    fn new(most: usize) -> Self {
        Self { most, names: Vec::new(), other: new_four() }
    }

    /// Takes the counts: of each name that has series, in their order, and of all others. A name that has become heavy gets
    /// series, in the place of the lightest when there is none left.
    fn collect(&mut self, heavy: &mut Heavy, keep: f64) -> (Vec<Counts>, Counts) {
        let mut other = std::mem::take(&mut heavy.other);
        let mut counts = vec![Counts::default(); self.names.len()];
        let places: HashMap<u64, usize> = self.names.iter().enumerate().map(|(place, name)| (name.id, place)).collect();
        let mut heaviest: Option<(f64, u64)> = None;
        for (id, entry) in heavy.beat(keep) {
            let taken = std::mem::take(&mut entry.counts);
            let place = places.get(&id).and_then(|&place| Some((counts.get_mut(place)?, self.names.get_mut(place)?)));
            if let Some((counts, name)) = place {
                (*counts, name.weight) = (taken, entry.weight);
                continue;
            }
            other.merge(&taken);
            if entry.weight > heaviest.map_or(WORTH, |(weight, _)| weight) {
                heaviest = Some((entry.weight, id));
            }
        }
        if let Some((weight, id)) = heaviest {
            self.let_in(heavy, &mut counts, id, weight);
        }
        (counts, other)
    }

    /// One at a beat: a crowd of newcomers does not put everybody out at once.
    fn let_in(&mut self, heavy: &mut Heavy, counts: &mut Vec<Counts>, id: u64, weight: f64) {
        if self.names.len() >= self.most {
            let lightest = self.names.iter().enumerate().min_by(|a, b| a.1.weight.total_cmp(&b.1.weight));
            let Some((place, lightest)) = lightest.map(|(place, name)| (place, (name.id, name.weight))) else { return };
            if weight < HEAVIER * lightest.1 {
                return;
            }
            heavy.follow(lightest.0, false);
            self.names.remove(place);
            counts.remove(place);
        }
        let Some((issuer, name)) = heavy.name(id) else { return };
        heavy.follow(id, true);
        self.names.push(Name { id, issuer, called: name, weight, series: new_four() });
        counts.push(Counts::default());
    }

    fn restore(&mut self, group: Group, heavy: &mut Heavy) -> Option<()> {
        self.other = four(group.other)?;
        for named in group.names.into_iter().take(self.most) {
            let id = fingerprint(&named.issuer, &named.name);
            let weight = if (0.0..1e12).contains(&named.weight) { named.weight } else { return None };
            heavy.restore(id, &named.issuer, &named.name, weight);
            let (issuer, name) = (named.issuer.into(), named.name.into());
            self.names.push(Name { id, issuer, called: name, weight, series: four(named.series)? });
        }
        Some(())
    }

    fn state(&self) -> Group {
        let named = |name: &Name| super::state::Named {
            issuer: name.issuer.to_string(),
            name: name.called.to_string(),
            weight: name.weight.round(),
            series: name.series.iter().map(Series::state).collect(),
        };
        Group { names: self.names.iter().map(named).collect(), other: self.other.iter().map(Series::state).collect() }
    }
}

fn new_four() -> Four {
    std::array::from_fn(|_| Series::new())
}

fn four(states: Vec<super::series::SeriesState>) -> Option<Four> {
    let series: Option<Vec<Series>> = states.into_iter().map(Series::restore).collect();
    series?.try_into().ok()
}
