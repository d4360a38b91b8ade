//! Sums over records.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use serde_json::{Value, json};

use super::shown;
use crate::audit::{Reading, RequestOutcome};

/// Sums over the lines so far, in bounded memory.
#[derive(Default)]
pub(super) struct Totals {
    requests: u64,
    outcomes: BTreeMap<&'static str, u64>,
    reasons: Sums,
    input: u64,
    output: u64,
    cache_write: u64,
    cache_read: u64,
    cost: u64,
    unpriced: u64,
    subjects: Sums,
    models: Sums,
    begun: HashSet<String>,
    /// Calls there was no room for in `begun`.
    unjoined: u64,
}

/// Sums by name. Names beyond [`MOST_NAMES`] are summed as one.
#[derive(Default)]
struct Sums {
    by_name: BTreeMap<String, u64>,
    others: u64,
}

/// Most names of a kind: no company has more callers that one table would help with.
const MOST_NAMES: usize = 50_000;
/// Most calls that may be under way at one time.
const MOST_BEGUN: usize = 1_000_000;

impl Sums {
    fn add(&mut self, name: &str, amount: u64) {
        if let Some(sum) = self.by_name.get_mut(name) {
            *sum = sum.saturating_add(amount);
        } else if self.by_name.len() < MOST_NAMES {
            self.by_name.insert(name.to_owned(), amount);
        } else {
            self.others = self.others.saturating_add(amount);
        }
    }

    /// Largest first.
    fn sorted(&self) -> Vec<(&str, u64)> {
        let mut sums: Vec<_> = self.by_name.iter().map(|(name, &sum)| (name.as_str(), sum)).collect();
        sums.sort_by(|(a, one), (b, other)| other.cmp(one).then_with(|| a.cmp(b)));
        if self.others > 0 {
            sums.push(("(others)", self.others));
        }
        sums
    }

    fn json(&self) -> Value {
        Value::Object(self.sorted().into_iter().map(|(name, sum)| (name.to_owned(), sum.into())).collect())
    }
}

impl Totals {
    /// Takes the next line.
    pub(super) fn take(&mut self, line: &Reading, fits: bool) {
        if let (Some(id), "begin" | "end") = (line.text("request_id"), line.event()) {
            if line.event() == "end" {
                self.begun.remove(id);
            } else if fits && self.begun.len() < MOST_BEGUN {
                self.begun.insert(id.to_owned());
            } else if fits {
                self.unjoined += 1;
            }
        }
        let Some(outcome) = line.outcome().filter(|_| fits) else { return };
        self.requests += 1;
        *self.outcomes.entry(name(outcome)).or_default() += 1;
        if let Some(reason) = line.text("reason") {
            self.reasons.add(reason, 1);
        }
        let count = |name| line.usage(name).unwrap_or_default();
        self.input = self.input.saturating_add(count("input_tokens"));
        self.output = self.output.saturating_add(count("output_tokens"));
        self.cache_write = self.cache_write.saturating_add(count("cache_creation_input_tokens"));
        self.cache_read = self.cache_read.saturating_add(count("cache_read_input_tokens"));
        match line.number("cost_micro_usd") {
            Some(cost) => {
                self.cost = self.cost.saturating_add(cost);
                self.subjects.add(line.text("subject").unwrap_or("(unknown)"), cost);
                self.models.add(line.model().unwrap_or("(unknown)"), cost);
            }
            None if line.get("usage").is_some() => self.unpriced += 1,
            None => {}
        }
    }

    /// One object; costs are millionths of a US dollar.
    pub(super) fn json(&self) -> Value {
        json!({
            "requests": self.requests,
            "outcomes": self.outcomes,
            "reasons": self.reasons.json(),
            "tokens": { "input": self.input, "output": self.output, "cache_write": self.cache_write, "cache_read": self.cache_read },
            "cost_micro_usd": self.cost,
            "answers_without_price": self.unpriced,
            "cost_micro_usd_by_subject": self.subjects.json(),
            "cost_micro_usd_by_model": self.models.json(),
            "never_ended": self.begun.len(),
            "not_joined": self.unjoined,
        })
    }

    pub(super) fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let outcome = |name| self.outcomes.get(name).copied().unwrap_or_default();
        writeln!(
            output,
            "requests       {} ({} allowed, {} denied, {} failed)",
            self.requests,
            outcome("allowed"),
            outcome("denied"),
            outcome("failed")
        )?;
        writeln!(output, "never ended    {}", self.begun.len())?;
        if self.unjoined > 0 {
            writeln!(output, "not joined     {}", self.unjoined)?;
        }
        writeln!(
            output,
            "tokens         input {}, output {}, cache write {}, cache read {}",
            self.input, self.output, self.cache_write, self.cache_read
        )?;
        writeln!(output, "cost           {}", dollars(self.cost))?;
        if self.unpriced > 0 {
            writeln!(output, "without price  {}", self.unpriced)?;
        }
        let mut section = |title: &str, sums: &Sums, format: fn(u64) -> String| -> io::Result<()> {
            if !sums.by_name.is_empty() {
                writeln!(output, "\n{title}")?;
            }
            sums.sorted()
                .into_iter()
                .try_for_each(|(name, sum)| writeln!(output, "  {:>14}  {}", format(sum), shown(name)))
        };
        section("reasons", &self.reasons, |count| count.to_string())?;
        section("cost by subject", &self.subjects, dollars)?;
        section("cost by model", &self.models, dollars)
    }
}

fn name(outcome: RequestOutcome) -> &'static str {
    match outcome {
        RequestOutcome::Allowed => "allowed",
        RequestOutcome::Denied => "denied",
        RequestOutcome::Failed => "failed",
    }
}

/// Millionths of a US dollar as people read them.
pub(super) fn dollars(micros: u64) -> String {
    format!("${}.{:06}", micros / 1_000_000, micros % 1_000_000)
}
