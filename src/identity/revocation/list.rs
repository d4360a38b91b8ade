//! The entries of one source, laid out for the question.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use super::entry::Entry;

/// The entries of one source. Two lists are equal if they answer every question alike.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    everywhere: Names,
    by_issuer: HashMap<String, Names>,
}

/// What is revoked of one issuer, or of all.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    token_ids: HashSet<String>,
    subjects: HashSet<String>,
    /// Of all subjects.
    issued_before: Option<SystemTime>,
    subject_issued_before: HashMap<String, SystemTime>,
}

impl List {
    pub(super) fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut list = Self::default();
        for entry in entries {
            list.add(entry);
        }
        list
    }

    fn add(&mut self, entry: Entry) {
        match entry {
            Entry::TokenId { issuer, id } => {
                self.names(issuer).token_ids.insert(id);
            }
            Entry::Subject { issuer, subject } => {
                self.names(issuer).subjects.insert(subject);
            }
            // Of several moments the latest covers the others.
            Entry::IssuedBefore { issuer, subject: None, before } => {
                let latest = &mut self.names(issuer).issued_before;
                *latest = (*latest).max(Some(before));
            }
            Entry::IssuedBefore { issuer, subject: Some(subject), before } => {
                let latest = self.names(issuer).subject_issued_before.entry(subject).or_insert(before);
                *latest = before.max(*latest);
            }
        }
    }

    fn names(&mut self, issuer: Option<String>) -> &mut Names {
        match issuer {
            None => &mut self.everywhere,
            Some(issuer) => self.by_issuer.entry(issuer).or_default(),
        }
    }

    pub(super) fn revoked(
        &self,
        issuer: &str,
        subject: &str,
        token_id: Option<&str>,
        issued_at: Option<SystemTime>,
    ) -> Option<&'static str> {
        let parts = [Some(&self.everywhere), self.by_issuer.get(issuer)];
        parts.into_iter().flatten().find_map(|names| names.revoked(subject, token_id, issued_at))
    }

    pub(super) fn entries(&self) -> usize {
        self.everywhere.entries() + self.by_issuer.values().map(Names::entries).sum::<usize>()
    }
}

impl Names {
    fn revoked(&self, subject: &str, token_id: Option<&str>, issued_at: Option<SystemTime>) -> Option<&'static str> {
        // A token that does not say when it was issued may have been issued before.
        let too_old = |before: &SystemTime| issued_at.is_none_or(|issued_at| issued_at < *before);
        if token_id.is_some_and(|id| self.token_ids.contains(id)) {
            Some("token_id")
        } else if self.subjects.contains(subject) {
            Some("subject")
        } else if self.issued_before.as_ref().is_some_and(too_old)
            || self.subject_issued_before.get(subject).is_some_and(too_old)
        {
            Some("issued_before")
        } else {
            None
        }
    }

    fn entries(&self) -> usize {
        self.token_ids.len()
            + self.subjects.len()
            + usize::from(self.issued_before.is_some())
            + self.subject_issued_before.len()
    }
}
