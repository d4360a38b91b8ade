//! The heaviest of many names in bounded memory (space-saving, Metwally and others 2005): a name that is let in when all places
//! are taken begins with the weight of those that went for it, so that nobody heavy is kept out for long.

use std::collections::HashMap;
use std::sync::Arc;

/// Counts by name, for at most so many names.
#[derive(Debug)]
pub(super) struct Heavy {
    places: usize,
    entries: HashMap<u64, Entry>,
    /// What names used that are followed no longer.
    pub other: Counts,
    /// The weight that newcomers begin with.
    least: f64,
}

/// What is counted of one name between two beats.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Counts {
    pub requests: f64,
    /// In thousands.
    pub tokens: f64,
    /// In cents.
    pub cost: f64,
    pub denials: f64,
}

/// A name and its counts.
#[derive(Debug)]
pub(super) struct Entry {
    pub issuer: Box<str>,
    pub name: Box<str>,
    pub weight: f64,
    /// It has series, and keeps its place.
    pub followed: bool,
    pub counts: Counts,
    pub means: Means,
}

/// What one request is usually of.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Means {
    tokens: Mean,
    cost: Mean,
}

/// A mean, and of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Mean(f64, f64);

impl Counts {
    /// Adds a request. No single one counts for more than a few usual ones: sums of what varies without bound have no usual
    /// level.
    pub(super) fn add(&mut self, request: &Self, means: &mut Means) {
        self.requests += request.requests;
        self.denials += request.denials;
        self.tokens += means.tokens.bound(request.tokens);
        self.cost += means.cost.bound(request.cost);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.tokens += other.tokens;
        self.cost += other.cost;
        self.denials += other.denials;
    }
}

impl Mean {
    fn bound(&mut self, amount: f64) -> f64 {
        if amount <= 0.0 {
            return 0.0;
        }
        let Self(mean, of) = self;
        let bounded = if *of < YOUNG { amount } else { amount.min(USUAL * *mean) };
        *of = (*of + 1.0).min(MEMORY);
        *mean += (bounded - *mean) / *of;
        bounded
    }
}

/// How many usual requests one may count for.
const USUAL: f64 = 4.0;
/// A mean of fewer is none.
const YOUNG: f64 = 20.0;
/// Requests that a mean is of.
const MEMORY: f64 = 2000.0;

impl Heavy {
    pub(super) fn new(places: usize) -> Self {
        Self { places, entries: HashMap::new(), other: Counts::default(), least: 0.0 }
    }

    /// Counts a request of `name`, whose fingerprint is `id`. A name that has a place costs one look-up.
    pub(super) fn add(&mut self, id: u64, issuer: &str, name: &str, request: &Counts) {
        let weight = 1.0 + request.tokens / 4.0;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.weight += weight;
            entry.counts.add(request, &mut entry.means);
            return;
        }
        if self.entries.len() >= self.places {
            self.make_room();
        }
        if self.entries.len() >= self.places {
            return self.other.merge(request); // all have series
        }
        let mut entry = Entry {
            issuer: issuer.into(),
            name: name.into(),
            weight: weight + self.least,
            followed: false,
            counts: Counts::default(),
            means: Means::default(),
        };
        entry.counts.add(request, &mut entry.means);
        self.entries.insert(id, entry);
    }

    /// Gives a name that has series its place.
    pub(super) fn restore(&mut self, id: u64, issuer: &str, name: &str, weight: f64) {
        let (counts, means) = (Counts::default(), Means::default());
        let entry = Entry { issuer: issuer.into(), name: name.into(), weight, followed: true, counts, means };
        self.entries.insert(id, entry);
    }

    /// All names; weights lose by `keep`.
    pub(super) fn beat(&mut self, keep: f64) -> impl Iterator<Item = (u64, &mut Entry)> {
        self.least *= keep;
        self.entries.iter_mut().map(move |(&id, entry)| {
            entry.weight *= keep;
            (id, entry)
        })
    }

    /// Who is behind a fingerprint.
    pub(super) fn name(&self, id: u64) -> Option<(Arc<str>, Arc<str>)> {
        self.entries.get(&id).map(|entry| (Arc::from(&*entry.issuer), Arc::from(&*entry.name)))
    }

    /// Whether the name has series, and so keeps its place.
    pub(super) fn follow(&mut self, id: u64, followed: bool) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.followed = followed;
        }
    }

    /// Lets the lighter half of the names go that have no series: seldom, so that a newcomer costs little on average.
    fn make_room(&mut self) {
        let mut weights: Vec<f64> =
            self.entries.values().filter(|entry| !entry.followed).map(|entry| entry.weight).collect();
        weights.sort_unstable_by(f64::total_cmp);
        let Some(&bound) = weights.get(weights.len() / 2) else { return };
        let other = &mut self.other;
        self.entries.retain(|_, entry| {
            let stays = entry.followed || entry.weight > bound;
            if !stays {
                other.merge(&entry.counts);
            }
            stays
        });
        self.least = bound;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(tokens: f64) -> Counts {
        Counts { requests: 1.0, tokens, ..Counts::default() }
    }

    #[test]
    fn names_are_bounded_and_nothing_that_is_counted_is_lost() {
        let mut heavy = Heavy::new(100);
        for round in 0..10_000_u64 {
            heavy.add(round + 1000, "okta", "someone", &request(0.0));
            if round % 10 == 0 {
                heavy.add(7, "okta", "busy", &request(0.0));
            }
        }
        assert!(heavy.entries.len() <= 100);
        let busy = heavy.beat(1.0).find(|(id, _)| *id == 7).map(|(_, entry)| entry.weight).unwrap();
        assert!(busy >= 1000.0, "{busy}");
        let mut all = heavy.other;
        heavy.beat(1.0).for_each(|(_, entry)| all.merge(&entry.counts));
        assert!((all.requests - 11_000.0).abs() < 1e-6, "{all:?}");
    }

    #[test]
    fn a_name_with_series_keeps_its_place() {
        let mut heavy = Heavy::new(2);
        heavy.add(1, "okta", "quiet", &request(0.0));
        heavy.follow(1, true);
        (10..100).for_each(|id| heavy.add(id, "okta", "x", &request(50.0)));
        assert!(heavy.entries.contains_key(&1));
        heavy.entries.keys().copied().collect::<Vec<_>>().into_iter().for_each(|id| heavy.follow(id, true));
        heavy.add(500, "okta", "late", &request(0.0));
        assert_eq!(heavy.entries.len(), 2);
    }

    #[test]
    fn one_request_counts_for_a_few_usual_ones_at_most() {
        let (mut counts, mut means) = (Counts::default(), Means::default());
        (0..100).for_each(|_| counts.add(&request(2.0), &mut means));
        counts.tokens = 0.0;
        counts.add(&request(10_000.0), &mut means);
        assert!((counts.tokens - 8.0).abs() < 0.2, "{}", counts.tokens);
    }
}
