//! Counts by names of which there is no end: those with the most have series of their own, all others are `other`.
//!
//! Names that are followed are found by space-saving (Metwally and others 2005). Each keeps its counts while it is followed,
//! whether or not it is shown, so a name that leaves the shown ones and comes back goes on where it was; one that was
//! forgotten meanwhile begins again at 0, as a counter does after a restart. Which names are shown changes only when they
//! are asked for, so that a scrape sees a name's first value before anything is added to it. What is counted of names that
//! are not shown stays in `other`, which never falls.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Opts, Result};

/// Requests and cost by an issuer's names. Cheap to clone; clones count together.
#[derive(Clone)]
pub(super) struct Top {
    families: Arc<[Desc; 2]>,
    label: &'static str,
    counts: Arc<Mutex<Counts>>,
}

/// How many names are shown unless the configuration says otherwise.
const SHOWN: usize = 20;
/// Names that are followed for each that is shown, and at the least.
const FOLLOWED: usize = 8;
const LEAST_FOLLOWED: usize = 64;
/// Longest name that is shown.
const MAX_NAME: usize = 128;
/// In which the weight of what was counted halves.
const HALF_LIFE: Duration = Duration::from_secs(3600);
/// Names change no more often.
const SETTLED: Duration = Duration::from_secs(10);
/// So much heavier than the lightest name that is shown must one be that takes its place.
const HEAVIER: f64 = 1.25;
/// What a request weighs beside its cost, in US dollars.
const REQUEST_WEIGHT: f64 = 0.001;
/// Counts of all names that are not shown.
const OTHER: &str = "other";

impl Top {
    /// Families `portcullis_{label}_requests_total` and `portcullis_{label}_cost_usd_total`.
    pub(super) fn new(label: &'static str) -> Result<Self> {
        let desc = |what: &str, help: String| {
            let labels = vec!["issuer".to_owned(), label.to_owned()];
            let opts = Opts::new(format!("portcullis_{label}_{what}"), help);
            Desc::new(opts.name, opts.help, labels, HashMap::new())
        };
        let requests = desc("requests_total", format!("Requests by {label}: those with the most, and all others"))?;
        let cost =
            desc("cost_usd_total", format!("Cost in US dollars by {label}: those with the most, and all others"))?;
        Ok(Self { families: Arc::new([requests, cost]), label, counts: Arc::new(Mutex::new(Counts::new(SHOWN))) })
    }

    /// Shows so many names from now on; none at all with 0.
    pub(super) fn show_most(&self, names: usize) {
        let mut counts = self.lock();
        (counts.places, counts.ranked) = (names, None); // holds from the next look on
    }

    /// Counts a request.
    pub(super) fn count(&self, issuer: &str, name: &str, cost_usd: f64) {
        self.lock().count(issuer, name, cost_usd);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Top {
    fn desc(&self) -> Vec<&Desc> {
        self.families.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut counts = self.lock();
        counts.rank(Instant::now());
        let shown: Vec<_> = counts.shown().collect();
        let family = |desc: &Desc, value: fn(&Amount) -> f64| {
            let metrics = shown.iter().map(|(issuer, name, amount)| {
                let mut counter = Counter::default();
                counter.set_value(value(amount));
                let mut metric = Metric::from_label(vec![pair("issuer", issuer), pair(self.label, name)]);
                metric.set_counter(counter);
                metric
            });
            let mut family = MetricFamily::default();
            family.set_name(desc.fq_name.clone());
            family.set_help(desc.help.clone());
            family.set_field_type(MetricType::COUNTER);
            family.set_metric(metrics.collect());
            family
        };
        let [requests, cost] = &*self.families;
        vec![family(requests, Amount::requests), family(cost, |amount| amount.cost_usd)]
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// What was counted of a name.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Amount {
    requests: u64,
    cost_usd: f64,
}

impl Amount {
    fn add(&mut self, cost_usd: f64) {
        self.requests += 1;
        self.cost_usd += cost_usd;
    }

    #[allow(clippy::cast_precision_loss)] // as Prometheus keeps it
    fn requests(&self) -> f64 {
        self.requests as f64
    }
}

/// A name that is followed.
#[derive(Debug)]
struct Entry {
    issuer: Box<str>,
    name: Box<str>,
    weight: f64,
    shown: bool,
    amount: Amount,
}

struct Counts {
    /// Names that are shown at most.
    places: usize,
    hasher: RandomState,
    /// By a keyed hash of issuer and name: looking one up allocates nothing.
    entries: HashMap<u64, Entry>,
    other: Amount,
    ranked: Option<Instant>,
}

impl Counts {
    fn new(places: usize) -> Self {
        Self { places, hasher: RandomState::new(), entries: HashMap::new(), other: Amount::default(), ranked: None }
    }

    fn count(&mut self, issuer: &str, name: &str, cost_usd: f64) {
        let weight = cost_usd + REQUEST_WEIGHT;
        let id = self.hasher.hash_one((issuer, name));
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.weight += weight;
            if entry.shown {
                entry.amount.add(cost_usd);
            } else {
                self.other.add(cost_usd);
            }
            return;
        }
        if self.places == 0 || name.len() > MAX_NAME || name == OTHER {
            return self.other.add(cost_usd);
        }
        let shown = self.entries.values().filter(|entry| entry.shown).count() < self.places;
        let inherited = self.make_room();
        let mut entry = Entry {
            issuer: issuer.into(),
            name: name.into(),
            weight: inherited + weight,
            shown,
            amount: Amount::default(),
        };
        if shown {
            entry.amount.add(cost_usd);
        } else {
            self.other.add(cost_usd);
        }
        self.entries.insert(id, entry);
    }

    /// Forgets the lightest name that is not shown, if there is no room for another; what it weighed.
    fn make_room(&mut self) -> f64 {
        if self.entries.len() < (self.places * FOLLOWED).max(LEAST_FOLLOWED) {
            return 0.0;
        }
        let hidden = self.entries.iter().filter(|(_, entry)| !entry.shown);
        let lightest = hidden.min_by(|(_, one), (_, other)| one.weight.total_cmp(&other.weight)).map(|(id, _)| *id);
        lightest.and_then(|id| self.entries.remove(&id)).map_or(0.0, |entry| entry.weight)
    }

    /// Says anew which names are shown.
    fn rank(&mut self, now: Instant) {
        let since = self.ranked.map(|ranked| now.saturating_duration_since(ranked));
        if since.is_some_and(|since| since < SETTLED) {
            return;
        }
        self.ranked = Some(now);
        let fades = since.map_or(1.0, |since| 0.5_f64.powf(since.as_secs_f64() / HALF_LIFE.as_secs_f64()));
        let mut ranking: Vec<(f64, u64)> = Vec::with_capacity(self.entries.len());
        for (id, entry) in &mut self.entries {
            entry.weight *= fades;
            ranking.push((entry.weight * if entry.shown { HEAVIER } else { 1.0 }, *id));
        }
        ranking.sort_unstable_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        for (rank, (_, id)) in ranking.into_iter().enumerate() {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.shown = rank < self.places;
            }
        }
    }

    /// What is shown: issuer, name and amount, `other` at the end, which has no issuer.
    fn shown(&self) -> impl Iterator<Item = (&str, &str, Amount)> {
        let names = self.entries.values().filter(|entry| entry.shown);
        let names = names.map(|entry| (&*entry.issuer, &*entry.name, entry.amount));
        names.chain([("", OTHER, self.other)])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn shown(counts: &Counts) -> HashMap<String, u64> {
        counts.shown().map(|(_, name, amount)| (name.to_owned(), amount.requests)).collect()
    }

    fn times(counts: &mut Counts, name: &str, times: u64) {
        for _ in 0..times {
            counts.count("okta", name, 0.01);
        }
    }

    #[test]
    fn names_are_bounded_and_nothing_is_lost() {
        let mut counts = Counts::new(3);
        let began = Instant::now();
        for round in 0..50_u64 {
            for name in 0..200_u64 {
                counts.count("okta", &format!("s{name}"), 0.0);
            }
            times(&mut counts, "heavy", 20);
            counts.rank(began + Duration::from_secs(60 * round));
            assert!(counts.entries.len() <= LEAST_FOLLOWED && counts.shown().count() <= 4);
        }
        let shown = shown(&counts);
        assert!(shown["heavy"] > 900, "{shown:?}");
        let requests: u64 = counts.entries.values().map(|entry| entry.amount.requests).sum::<u64>();
        assert!(requests + counts.other.requests <= 50 * 220);
        assert!(shown.values().sum::<u64>() > 50 * 200, "{shown:?}");
    }

    #[test]
    fn a_name_that_comes_back_goes_on_and_the_others_never_fall() {
        let mut counts = Counts::new(1);
        let (began, minute) = (Instant::now(), Duration::from_secs(60));
        times(&mut counts, "alice", 10);
        counts.rank(began);
        assert_eq!(shown(&counts), HashMap::from([("alice".to_owned(), 10), ("other".to_owned(), 0)]));
        times(&mut counts, "bob", 11);
        counts.rank(began + minute);
        assert!(shown(&counts).contains_key("alice"), "a little heavier is no reason to change");
        times(&mut counts, "bob", 30);
        assert_eq!(shown(&counts)["other"], 41, "names change only where they are asked for");
        counts.rank(began + 2 * minute);
        assert_eq!(shown(&counts), HashMap::from([("bob".to_owned(), 0), ("other".to_owned(), 41)]));
        times(&mut counts, "alice", 60);
        times(&mut counts, "bob", 1);
        counts.rank(began + 3 * minute);
        assert_eq!(shown(&counts), HashMap::from([("alice".to_owned(), 10), ("other".to_owned(), 101)]));
        times(&mut counts, "alice", 1);
        assert_eq!(shown(&counts)["alice"], 11);
    }

    #[test]
    fn names_change_no_more_often_than_scrapes_see() {
        let mut counts = Counts::new(1);
        let began = Instant::now();
        times(&mut counts, "alice", 1);
        counts.rank(began);
        times(&mut counts, "bob", 100);
        counts.rank(began + Duration::from_secs(2));
        assert!(shown(&counts).contains_key("alice"));
        counts.rank(began + SETTLED);
        assert!(shown(&counts).contains_key("bob"));
    }

    #[test]
    fn what_was_heavy_long_ago_gives_way() {
        let mut counts = Counts::new(1);
        let began = Instant::now();
        times(&mut counts, "batch", 1000);
        counts.rank(began);
        times(&mut counts, "alice", 20);
        counts.rank(began + Duration::from_secs(60));
        assert!(shown(&counts).contains_key("batch"));
        for hour in 1..8 {
            times(&mut counts, "alice", 20);
            counts.rank(began + Duration::from_secs(3600 * hour));
        }
        assert!(shown(&counts).contains_key("alice"));
    }

    #[test]
    fn names_can_be_hidden_and_none_passes_for_the_others() {
        let mut counts = Counts::new(0);
        times(&mut counts, "alice", 3);
        assert_eq!(shown(&counts), HashMap::from([("other".to_owned(), 3)]));
        counts.places = 5;
        times(&mut counts, "other", 2);
        counts.count("okta", &"x".repeat(129), 0.0);
        assert_eq!(shown(&counts), HashMap::from([("other".to_owned(), 6)]));
        times(&mut counts, "alice", 1);
        counts.places = 0;
        counts.rank(Instant::now());
        assert_eq!(shown(&counts), HashMap::from([("other".to_owned(), 6)]));
    }

    #[test]
    fn the_same_name_of_two_issuers_is_two() {
        let mut counts = Counts::new(5);
        counts.count("okta", "alice", 0.5);
        counts.count("entra", "alice", 0.25);
        let mut costs: Vec<_> = counts.shown().map(|(issuer, _, amount)| (issuer, amount.cost_usd)).collect();
        costs.sort_by(|one, other| one.0.cmp(other.0));
        assert_eq!(costs, [("", 0.0), ("entra", 0.25), ("okta", 0.5)]);
    }
}
