//! A row for each request, `begin` and `end` joined.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use super::shown;
use crate::audit::Reading;

/// Rows as they come. Calls that have begun are kept until their end.
#[derive(Default)]
pub(super) struct Table {
    has_head: bool,
    begun: Begun,
}

/// Calls without an end so far, oldest first.
#[derive(Default)]
struct Begun {
    rows: BTreeMap<u64, (String, String)>,
    numbers: HashMap<String, u64>,
    next: u64,
}

/// Calls that may be under way at one time; of more, the oldest are shown as if they had no end.
const MOST_BEGUN: usize = 100_000;

impl Table {
    /// Takes the next line. With `each_line` a `begin` line is a row of its own.
    pub(super) fn take(
        &mut self,
        line: &Reading,
        fits: bool,
        each_line: bool,
        output: &mut impl Write,
    ) -> io::Result<()> {
        let id = line.text("request_id").unwrap_or_default();
        if line.event() == "begin" && !each_line {
            let oldest = fits.then(|| self.begun.insert(id, row(line, "never ended"))).flatten();
            return oldest.map_or(Ok(()), |row| self.write(&row, output));
        }
        if line.event() == "end" {
            self.begun.remove(id);
        }
        if !fits || !(line.is_request() || each_line) {
            return Ok(());
        }
        self.write(&row(line, line.event()), output)
    }

    /// Tells of calls that have no end.
    pub(super) fn end(&mut self, output: &mut impl Write) -> io::Result<()> {
        let rows = std::mem::take(&mut self.begun).rows;
        rows.into_values().try_for_each(|(_, row)| self.write(&row, output))
    }

    fn write(&mut self, row: &str, output: &mut impl Write) -> io::Result<()> {
        if !self.has_head {
            self.has_head = true;
            writeln!(
                output,
                "{:30} {:11} {:24} {:28} {:>6} {:22} {:>9} {:>9} {:>11} {:>9}",
                "TIME", "EVENT", "SUBJECT", "MODEL", "STATUS", "REASON", "INPUT", "OUTPUT", "COST", "DURATION"
            )?;
        }
        output.write_all(row.as_bytes())
    }
}

impl Begun {
    /// The oldest, if there are too many.
    fn insert(&mut self, id: &str, row: String) -> Option<String> {
        let number = self.next;
        self.next += 1;
        self.rows.insert(number, (id.to_owned(), row));
        if let Some(former) = self.numbers.insert(id.to_owned(), number) {
            self.rows.remove(&former);
        }
        if self.rows.len() <= MOST_BEGUN {
            return None;
        }
        let (_, (id, row)) = self.rows.pop_first()?;
        self.numbers.remove(&id);
        Some(row)
    }

    fn remove(&mut self, id: &str) {
        if let Some(number) = self.numbers.remove(id) {
            self.rows.remove(&number);
        }
    }
}

fn row(line: &Reading, event: &str) -> String {
    let text = |value: Option<&str>| value.map_or_else(|| "-".to_owned(), shown);
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let duration = line.timing("total_ms").filter(|_| line.event() != "begin");
    format!(
        "{:30} {:11} {:24} {:28} {:>6} {:22} {:>9} {:>9} {:>11} {:>9}\n",
        text(line.text("time")),
        text(Some(event)),
        text(line.text("subject")),
        text(line.model()),
        number(line.number("status")),
        text(line.text("reason")),
        number(line.all_input_tokens()),
        number(line.usage("output_tokens")),
        line.number("cost_micro_usd").map_or_else(|| "-".to_owned(), super::totals::dollars),
        duration.map_or_else(|| "-".to_owned(), |millis| format!("{:.3}s", millis / 1000.0)),
    )
}
