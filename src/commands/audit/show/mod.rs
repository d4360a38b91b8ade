//! `portcullis audit show`: records for people.

mod filter;
mod input;
mod table;
mod totals;

use std::io::{self, BufWriter, ErrorKind, Write};

use self::filter::Filter;
use self::input::{Piece, segments};
use self::table::Table;
use self::totals::Totals;
use super::{Outcome, Paths};
use crate::audit::{Reading, ocsf};

#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Arguments {
    #[command(flatten)]
    paths: Paths,
    #[command(flatten)]
    filter: Filter,
    /// How records are shown: `json` is lines as they are
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Show sums and no records; `--format json` makes them one object
    #[arg(long)]
    totals: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A row for each request
    Text,
    /// Lines as they are
    Json,
    /// Events of OCSF's class API Activity, for lines of requests
    Ocsf,
}

pub(super) fn command(arguments: &Arguments) -> Outcome {
    let segments = segments(&arguments.paths.paths)?;
    let stdout = BufWriter::new(io::stdout().lock());
    let mut show = Show { arguments, output: stdout, table: Table::default(), totals: Totals::default(), faults: 0 };
    let shown = segments.iter().try_for_each(|segment| show.segment(segment)).and_then(|()| show.end());
    match shown {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(format!("cannot write: {error}")),
        Ok(()) if show.faults == 0 => Ok(()),
        Ok(()) => Err(format!("{} damaged; all else is shown", show.faults)),
    }
}

struct Show<'a, W> {
    arguments: &'a Arguments,
    output: W,
    table: Table,
    totals: Totals,
    faults: u64,
}

impl<W: Write> Show<'_, W> {
    fn segment(&mut self, path: &std::path::Path) -> io::Result<()> {
        let name = shown(&path.display().to_string());
        let mut lines = match input::open(path) {
            Ok(lines) => lines,
            Err(error) => {
                self.fault(&format!("{name}: cannot be read: {error}"));
                return Ok(());
            }
        };
        let mut log = None;
        let mut number = 0_u64;
        loop {
            number += 1;
            match lines.next() {
                Err(error) => self.fault(&format!("{name}:{number}: cannot be read: {error}")),
                Ok(Piece::Torn) => self.fault(&format!("{name}:{number}: ends within a line")),
                Ok(Piece::TooLong) => {
                    self.fault(&format!("{name}:{number}: is longer than any record"));
                    continue;
                }
                Ok(Piece::End) => {}
                Ok(Piece::Line(line)) => {
                    match Reading::parse(line) {
                        Ok(reading) => {
                            // Chains are told apart by what their own lines say.
                            if let Some(own) = reading.text("log") {
                                log = Some(own.to_owned());
                            }
                            self.line(line, &reading, log.as_deref())?;
                        }
                        Err(error) => self.fault(&format!("{name}:{number}: is no record: {}", shown(&error))),
                    }
                    continue;
                }
            }
            return Ok(());
        }
    }

    fn line(&mut self, line: &[u8], reading: &Reading, log: Option<&str>) -> io::Result<()> {
        let filter = &self.arguments.filter;
        let fits = filter.fits(reading);
        if self.arguments.totals {
            self.totals.take(reading, fits);
            return Ok(());
        }
        match self.arguments.format {
            Format::Text => self.table.take(reading, fits, filter.asks_for_events(), &mut self.output),
            Format::Json if fits => {
                self.output.write_all(line)?;
                self.output.write_all(b"\n")
            }
            Format::Ocsf if fits => match ocsf::api_activity(reading, log) {
                Some(event) => writeln!(self.output, "{event}"),
                None => Ok(()),
            },
            Format::Json | Format::Ocsf => Ok(()),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        if self.arguments.totals {
            match self.arguments.format {
                Format::Json => writeln!(self.output, "{}", self.totals.json())?,
                Format::Text | Format::Ocsf => self.totals.write(&mut self.output)?,
            }
        } else if self.arguments.format == Format::Text {
            self.table.end(&mut self.output)?;
        }
        self.output.flush()
    }

    fn fault(&mut self, text: &str) {
        self.faults += 1;
        eprintln!("{text}");
    }
}

/// Text for a terminal: what would move its cursor, change its colours or reverse its direction is written as an escape.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let is_plain = !character.is_control() && !INVISIBLE.iter().any(|range| range.contains(&character));
        if is_plain { shown.push(character) } else { shown.extend(character.escape_unicode()) }
    }
    shown
}

/// Marks of direction, joiners and separators (Unicode categories Cf, Zl, Zp, as far as texts may hide in them).
const INVISIBLE: &[std::ops::RangeInclusive<char>] = &[
    '\u{ad}'..='\u{ad}',
    '\u{61c}'..='\u{61c}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{feff}'..='\u{feff}',
    '\u{fff9}'..='\u{fffb}',
    '\u{e0000}'..='\u{e007f}',
];

#[cfg(test)]
mod tests;
