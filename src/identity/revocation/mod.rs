//! Which tokens are good no longer, though their signature is: by token id, by subject, or by when they were issued.
//!
//! The list has two parts, one from a file and one from a shared store, each replaced as a whole. Both are asked on every
//! question, also about tokens whose verification is cached.

mod entry;
mod file;
mod list;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::watch;

pub use entry::Entry;
pub use file::{FileFault, FileFollower, FileStatus, RevocationFile};
pub use store::{Freshness, StoreFollower, StoreStatus};

use list::List;

/// The revocations in force. Asking takes no lock and does no I/O.
#[derive(Debug)]
pub struct Revocations {
    parts: ArcSwap<Parts>,
    generation: AtomicU64,
    changed: watch::Sender<u64>,
}

/// What is in force together.
#[derive(Debug, Default)]
struct Parts {
    file: Arc<Part>,
    store: Arc<Part>,
}

/// What one source says. Who follows the source keeps it current, whether or not it is in force.
#[derive(Debug, Default)]
pub struct Part(ArcSwap<List>);

impl Part {
    /// A part with these entries.
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(List::new(entries))))
    }

    /// How many entries it has, duplicates counted once.
    pub fn entries(&self) -> usize {
        self.0.load().entries()
    }

    /// Whether that changed anything.
    fn replace(&self, list: List) -> bool {
        let changed = **self.0.load() != list;
        if changed {
            self.0.store(Arc::new(list));
        }
        changed
    }
}

/// Where a part of the list comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The file of `[revocation] file`.
    File,
    /// The set in the shared store.
    Store,
}

impl Revocations {
    /// Nothing is revoked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What revokes a token of the issuer that is configured as `issuer`: `token_id`, `subject` or `issued_before`; `None`
    /// if it is good. A token that does not say when it was issued falls to every `issued_before` that covers its issuer
    /// and subject.
    pub fn revoked(
        &self,
        issuer: &str,
        subject: &str,
        token_id: Option<&str>,
        issued_at: Option<SystemTime>,
    ) -> Option<&'static str> {
        let parts = self.parts.load();
        let asked = |part: &Part| part.0.load().revoked(issuer, subject, token_id, issued_at);
        asked(&parts.file).or_else(|| asked(&parts.store))
    }

    /// Puts these parts in force at once, in the place of those before; `None` is an empty one.
    pub fn adopt(&self, file: Option<Arc<Part>>, store: Option<Arc<Part>>) {
        let parts = Parts { file: file.unwrap_or_default(), store: store.unwrap_or_default() };
        self.parts.store(Arc::new(parts));
        self.tell();
    }

    /// Puts `entries` in the place of all that came from `source` before. Tells whether that changed anything; only then
    /// the generation grows.
    pub fn replace(&self, source: Source, entries: impl IntoIterator<Item = Entry>) -> bool {
        self.replace_in(&self.part(source), entries)
    }

    /// The same of a part, which may be in force.
    fn replace_in(&self, part: &Part, entries: impl IntoIterator<Item = Entry>) -> bool {
        let changed = part.replace(List::new(entries));
        if changed {
            self.tell();
        }
        changed
    }

    /// Wakes those who wait. After the list: whoever sees the new generation and asks again gets the new answer.
    fn tell(&self) {
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        self.changed.send_modify(|newest| *newest = generation.max(*newest));
    }

    /// Grows with every change. A stream under way that remembers it asks again only when it has moved.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Wakes on every change; holds the newest generation.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How many entries the part from `source` has, duplicates counted once.
    pub fn entries(&self, source: Source) -> usize {
        self.part(source).entries()
    }

    fn part(&self, source: Source) -> Arc<Part> {
        let parts = self.parts.load();
        match source {
            Source::File => Arc::clone(&parts.file),
            Source::Store => Arc::clone(&parts.store),
        }
    }
}

impl Default for Revocations {
    fn default() -> Self {
        Self { parts: ArcSwap::default(), generation: AtomicU64::new(0), changed: watch::Sender::new(0) }
    }
}

#[cfg(test)]
mod tests;
