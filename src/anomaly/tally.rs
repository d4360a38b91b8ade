//! What requests leave for the next beat.

use std::net::IpAddr;

use super::burst::{Addresses, RefusedTokens};
use super::callers::{Callers, fingerprint};
use super::heavy::{Counts, Heavy, Means};
use super::observation::{Ended, Observation};
use crate::claude::Family;

/// Counts of all requests since the last beat.
#[derive(Debug)]
pub(super) struct Tally {
    pub all: (Counts, Means),
    pub findings: f64,
    pub families: [(Counts, Means); 6],
    pub teams: Heavy,
    pub subjects: Heavy,
    pub refused_tokens: RefusedTokens,
    pub addresses: Addresses,
    pub callers: Callers,
    pub first_uses: Vec<FirstUse>,
    /// By family.
    pub first_uses_counted: [u64; 6],
}

/// Somebody used a family for the first time.
#[derive(Debug)]
pub(super) struct FirstUse {
    pub issuer: Box<str>,
    pub name: Box<str>,
    pub family: Family,
}

/// Names that are counted for each that has series.
const CANDIDATES: usize = 4;
/// Teams of one caller that are counted.
const MOST_TEAMS: usize = 16;
/// First uses that are told at one beat; others are only counted.
const MOST_FIRST_USES: usize = 32;

impl Tally {
    pub(super) fn new(top_teams: usize, top_subjects: usize) -> Self {
        Self {
            all: Default::default(),
            findings: 0.0,
            families: Default::default(),
            teams: Heavy::new(CANDIDATES * top_teams),
            subjects: Heavy::new(CANDIDATES * top_subjects),
            refused_tokens: RefusedTokens::default(),
            addresses: Addresses::default(),
            callers: Callers::default(),
            first_uses: Vec::new(),
            first_uses_counted: [0; 6],
        }
    }

    /// Counts a request; `learnt`: callers' first uses are told.
    #[allow(clippy::cast_precision_loss)] // counts of one request
    pub(super) fn add(&mut self, seen: &Observation<'_>, warm_up: f64) {
        let refused = matches!(seen.ended, Ended::Refused | Ended::TokenRefused);
        let request = Counts {
            requests: 1.0,
            tokens: seen.tokens as f64 / 1e3,
            cost: seen.cost_micro_usd as f64 / 1e4,
            denials: f64::from(u8::from(refused)),
        };
        let (counts, means) = &mut self.all;
        counts.add(&request, means);
        self.findings += seen.findings as f64;
        if let Some(family) = seen.family
            && let Some((counts, means)) = self.families.get_mut(family_place(family))
        {
            counts.add(&request, means);
        }
        if let (Ended::TokenRefused, Some(address)) = (seen.ended, seen.address) {
            self.refused_tokens.add(address);
        }
        let (Some(issuer), Some(subject)) = (seen.issuer, seen.subject) else { return };
        for team in seen.teams.iter().take(MOST_TEAMS) {
            self.teams.add(fingerprint(issuer, team), issuer, team, &request);
        }
        let id = fingerprint(issuer, subject);
        self.subjects.add(id, issuer, subject, &request);
        if let Some(address) = seen.address {
            self.addresses.add(id, issuer, subject, address);
        }
        if let (Some(family), Ended::Served) = (seen.family, seen.ended)
            && self.callers.is_first(id, family)
            && self.callers.watched >= warm_up
        {
            if let Some(count) = self.first_uses_counted.get_mut(family_place(family)) {
                *count += 1;
            }
            if self.first_uses.len() < MOST_FIRST_USES {
                self.first_uses.push(FirstUse { issuer: issuer.into(), name: subject.into(), family });
            }
        }
    }

    /// Addresses with a burst of refused tokens.
    pub(super) fn bursts(&mut self, bound: u32) -> Vec<(IpAddr, u32)> {
        self.refused_tokens.beat(bound)
    }
}

/// Every family.
pub(super) const FAMILIES: [Family; 6] =
    [Family::Haiku, Family::Sonnet, Family::Opus, Family::Fable, Family::Mythos, Family::Other];

fn family_place(family: Family) -> usize {
    FAMILIES.iter().position(|known| *known == family).unwrap_or_default()
}
