//! Names that clients choose, as labels of a metric whose size they do not choose.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use prometheus::IntCounterVec;

/// Counts names, the first of each kind by themselves and all later ones as `other`.
pub(super) struct UnknownNames {
    counters: IntCounterVec,
    shown: Mutex<HashSet<(&'static str, Box<str>)>>,
}

/// Names that are shown, of all kinds together.
const MAX_NAMES: usize = 128;
/// Longest name that is shown.
const MAX_NAME: usize = 64;
/// The label of all other names.
const OTHER: &str = "other";

impl UnknownNames {
    /// Counts in `counters`, whose labels are a kind and a name.
    pub(super) fn new(counters: IntCounterVec) -> Self {
        Self { counters, shown: Mutex::default() }
    }

    pub(super) fn count(&self, kind: &'static str, name: &str) {
        let label = if is_plain(name) && self.shows(kind, name) { name } else { OTHER };
        self.counters.with_label_values(&[kind, label]).inc();
    }

    fn shows(&self, kind: &'static str, name: &str) -> bool {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = (kind, Box::from(name));
        shown.contains(&entry) || shown.len() < MAX_NAMES && shown.insert(entry)
    }
}

/// Spelled like a name of the API; anything else may be content.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    #[test]
    fn clients_cannot_grow_the_labels_without_bound() {
        let counters = IntCounterVec::new(Opts::new("names", "x"), &["kind", "name"]).unwrap();
        let names = UnknownNames::new(counters.clone());
        for number in 0..1000 {
            names.count("beta", &format!("made-up-{number}"));
        }
        for name in ["John Doe", "", &"x".repeat(65), "made-up-1\n"] {
            names.count("field", name);
        }
        names.count("beta", "made-up-0");
        let value = |kind, name: &str| counters.with_label_values(&[kind, name]).get();
        assert_eq!((value("beta", "made-up-0"), value("beta", "made-up-127")), (2, 1));
        assert_eq!((value("beta", OTHER), value("field", OTHER)), (1000 - 128, 4));
    }
}
