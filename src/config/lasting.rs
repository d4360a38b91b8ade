//! What holds from the start of a process to its end: a reload that would change it is refused.

use std::path::Path;

use super::fault::Fault;

/// The keys that cannot change while the proxy runs, with what they are.
#[derive(Clone)]
pub struct Lasting(Vec<LastingKey>);

#[derive(Clone)]
struct LastingKey {
    key: &'static str,
    line: Option<usize>,
    /// What counts as the same; it is compared and never shown.
    values: Vec<String>,
}

impl Lasting {
    /// Keys by their paths, each with its line and its value.
    pub(super) fn new(keys: impl IntoIterator<Item = (&'static str, Option<usize>, String)>) -> Self {
        let keys = keys.into_iter().map(|(key, line, value)| LastingKey { key, line, values: vec![value] });
        Self(keys.collect())
    }

    /// Takes `value` for the same as what `key` has: the port that was free for port 0.
    pub fn also(&mut self, key: &str, value: String) {
        if let Some(lasting) = self.0.iter_mut().find(|lasting| lasting.key == key) {
            lasting.values.push(value);
        }
    }

    /// A fault for every key of `next`, the configuration in `file`, that a process of this one cannot take over.
    pub fn refuse(&self, next: &Self, file: &Path) -> Vec<Fault> {
        let differs = |new: &&LastingKey| {
            let own = self.0.iter().find(|own| own.key == new.key);
            !own.is_some_and(|own| new.values.iter().any(|value| own.values.contains(value)))
        };
        let fault = |new: &LastingKey| Fault {
            file: file.to_owned(),
            line: new.line,
            key: new.key.to_owned(),
            problem: "needs a restart: it cannot change while the proxy runs".to_owned(),
            mend: "restart the proxy, or set it back".to_owned(),
        };
        next.0.iter().filter(differs).map(fault).collect()
    }
}
