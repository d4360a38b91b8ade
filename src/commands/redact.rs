//! `portcullis redact`: masks text from stdin to stdout.

use std::io::{BufRead, Read, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Outcome, load};
use crate::privacy::{Action, Detectors, Masker, TagKey};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration whose [privacy] says what is masked, and whose tag key makes the tags; without it all detectors run,
    /// and tags are those of a random key that ends with the run
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read an object {"id","text"} a line, write {"id","masked","spans":[{"type","start","end"}]} a line
    #[arg(long)]
    jsonl: bool,
}

/// What is read and shown of text at one time.
const PIECE: usize = 64 << 10;

pub(super) fn command(arguments: &Arguments) -> Outcome {
    let masker = masker(arguments)?;
    let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
    if arguments.jsonl { objects(&masker, input, output) } else { text(&masker, input, output) }
}

fn masker(arguments: &Arguments) -> Result<std::sync::Arc<Masker>, String> {
    if let Some(path) = &arguments.config {
        Ok(load(path)?.privacy.masker())
    } else {
        let key = TagKey::random().map_err(|error| error.to_string())?;
        Ok(Masker::new(Detectors::default(), key).into())
    }
}

/// Masks text as it comes, in bounded memory.
fn text(masker: &Masker, mut input: impl Read, mut output: impl Write) -> Outcome {
    let mut stream = masker.stream();
    let mut buffer = vec![0; PIECE];
    // Bytes of a character that the last piece ended inside of.
    let mut kept = 0;
    let mut line = 1;
    let mut shown = String::new();
    loop {
        let room = buffer.get_mut(kept..).unwrap_or_default();
        let read = input.read(room).map_err(|error| format!("cannot read: {error}"))?;
        let filled = buffer.get(..kept + read).unwrap_or_default();
        let valid = match std::str::from_utf8(filled) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() && read > 0 => {
                filled.get(..error.valid_up_to()).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
            }
            Err(error) => {
                line += memchr::memchr_iter(b'\n', filled.get(..error.valid_up_to()).unwrap_or_default()).count();
                return Err(format!("line {line} is not UTF-8"));
            }
        };
        line += memchr::memchr_iter(b'\n', valid.as_bytes()).count();
        stream.push(valid, &mut shown);
        let (used, filled) = (valid.len(), kept + read);
        buffer.copy_within(used..filled, 0);
        kept = filled - used;
        write(&mut output, shown.as_bytes())?;
        shown.clear();
        if read == 0 {
            break;
        }
    }
    stream.finish(&mut shown);
    write(&mut output, shown.as_bytes())
}

#[derive(Deserialize)]
struct Given {
    id: serde_json::Value,
    text: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a serde_json::Value,
    masked: &'a str,
    spans: Vec<Place>,
}

#[derive(Serialize)]
struct Place {
    #[serde(rename = "type")]
    kind: &'static str,
    start: usize,
    end: usize,
}

/// Masks the text of one object a line.
fn objects(masker: &Masker, mut input: impl BufRead, output: impl Write) -> Outcome {
    let mut output = std::io::BufWriter::new(output);
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        if input.read_until(b'\n', &mut line).map_err(|error| format!("cannot read: {error}"))? == 0 {
            return output.flush().map_err(|error| format!("cannot write: {error}"));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let given: Given = serde_json::from_slice(&line)
            .map_err(|error| format!("line {number} is not an object {{\"id\",\"text\"}}: {error}"))?;
        let answer =
            Answer { id: &given.id, masked: &masker.mask(&given.text).text, spans: places(masker, &given.text) };
        let mut answer = serde_json::to_vec(&answer).map_err(|error| error.to_string())?;
        answer.push(b'\n');
        write(&mut output, &answer)?;
    }
}

/// The spans in characters.
fn places(masker: &Masker, text: &str) -> Vec<Place> {
    let (mut at, mut characters) = (0, 0);
    let mut offset = |to: usize| {
        characters += text.get(at..to).map_or(0, |between| between.chars().count());
        at = to;
        characters
    };
    let spans = masker.scan(text);
    spans
        .iter()
        .filter(|span| masker.action(span.kind) == Action::Mask)
        .map(|span| Place { kind: span.kind.name(), start: offset(span.range.start), end: offset(span.range.end) })
        .collect()
}

fn write(output: &mut impl Write, bytes: &[u8]) -> Outcome {
    output.write_all(bytes).map_err(|error| format!("cannot write: {error}"))
}
