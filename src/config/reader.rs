//! A walk over a TOML document that remembers lines, collects every fault instead of stopping at the first, and knows
//! which keys nobody asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Faults};
use super::fingerprint::Fingerprint;
use super::units;
use crate::credential::{Secret, SecretSource};

/// A configuration file's text and the faults found in it so far.
pub struct Document {
    file: PathBuf,
    text: String,
    faults: RefCell<Vec<Fault>>,
    /// What other files and the environment hold that the text names: the section that names it, and its SHA-256.
    named: RefCell<Vec<(String, [u8; 32])>>,
}

impl Document {
    /// Takes the text of `file`; nothing is parsed yet.
    pub fn new(file: &Path, text: String) -> Self {
        Self { file: file.to_owned(), text, faults: RefCell::default(), named: RefCell::default() }
    }

    /// Parses the text and hands the root table to `read`.
    ///
    /// # Errors
    /// All faults: those of the TOML syntax, those that `read` reported, and the keys that `read` did not ask for.
    pub fn read<T>(self, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Result<T, Faults> {
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        for error in errors {
            let at = error.span().map(|span| span.start);
            self.fault(at, "", error.message(), "write it as TOML 1.0 does");
        }
        if self.faults.borrow().is_empty() {
            let section = Section {
                document: &self,
                table: Some(root.get_ref()),
                at: None,
                path: String::new(),
                asked: RefCell::default(),
            };
            let value = read(&section);
            section.refuse_unknown();
            if let (Some(value), true) = (value, self.faults.borrow().is_empty()) {
                return Ok(value);
            }
        }
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| fault.line.unwrap_or(usize::MAX));
        Err(Faults(faults))
    }

    /// The folder that relative paths are relative to.
    fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("."))
    }

    fn line(&self, at: usize) -> Option<usize> {
        self.text.get(..at).map(|before| before.matches('\n').count() + 1)
    }

    fn fault(&self, at: Option<usize>, key: &str, problem: impl Into<String>, mend: impl Into<String>) {
        let line = at.and_then(|at| self.line(at));
        self.faults.borrow_mut().push(Fault {
            file: self.file.clone(),
            line,
            key: key.to_owned(),
            problem: problem.into(),
            mend: mend.into(),
        });
    }
}

/// A table of the document. A table that the file leaves out reads as empty, so that defaults have one place.
pub struct Section<'d> {
    document: &'d Document,
    table: Option<&'d DeTable<'d>>,
    /// Where the table begins; the root has no line of its own.
    at: Option<usize>,
    path: String,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'d> Section<'d> {
    /// Reports a fault of `key`, at the key's own line when it is there, else at the table's.
    pub fn fault(&self, key: &str, problem: impl Into<String>, mend: impl Into<String>) {
        let at = self.entry(key).map(|(at, _)| at).or(self.at);
        self.document.fault(at, &self.full(key), problem, mend);
    }

    /// Reads the table `key` with `read`, and refuses what `read` left unread.
    pub fn table<T>(&self, key: &'static str, read: impl FnOnce(&Section<'_>) -> T) -> T {
        let entry = self.ask(key);
        let table = entry.and_then(|(_, value)| value.as_table());
        if entry.is_some() && table.is_none() {
            self.fault(key, "is not a table", format!("write it as [{}]", self.full(key)));
        }
        let section = Section {
            document: self.document,
            table,
            at: entry.map(|(at, _)| at).or(self.at),
            path: self.full(key),
            asked: RefCell::default(),
        };
        let value = read(&section);
        section.refuse_unknown();
        value
    }

    /// Reads every member of the table `key`, whose names are the file's own choice; `what` says what a value must be.
    pub fn members<T>(
        &self,
        key: &'static str,
        what: &str,
        mut read: impl FnMut(&str, &DeValue<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some((_, value)) = self.ask(key) else { return Vec::new() };
        let Some(table) = value.as_table() else {
            self.fault(key, "is not a table", format!("write it as [{}]", self.full(key)));
            return Vec::new();
        };
        let mut members = Vec::new();
        for (name, value) in table {
            let read = read(name.get_ref(), value.get_ref());
            if read.is_none() {
                let path = format!("{}.{}", self.full(key), name.get_ref());
                let mend = format!("it is a {} now", value.get_ref().type_str());
                self.document.fault(Some(name.span().start), &path, format!("is not {what}"), mend);
            }
            members.extend(read);
        }
        members
    }

    /// Reads every element of the array of tables `key`.
    pub fn tables<T>(&self, key: &'static str, mut read: impl FnMut(&Section<'_>) -> T) -> Vec<T> {
        let Some((_, value)) = self.ask(key) else { return Vec::new() };
        let Some(array) = value.as_array() else {
            self.fault(key, "is not a list of tables", format!("write each as [[{}]]", self.full(key)));
            return Vec::new();
        };
        let mut values = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let path = format!("{}[{index}]", self.full(key));
            let at = element.span().start;
            let Some(table) = element.get_ref().as_table() else {
                self.document.fault(Some(at), &path, "is not a table", format!("write each as [[{}]]", self.full(key)));
                continue;
            };
            let section =
                Section { document: self.document, table: Some(table), at: Some(at), path, asked: RefCell::default() };
            values.push(read(&section));
            section.refuse_unknown();
        }
        values
    }

    /// Refuses a section that this version knows by name but does not enforce: better than a rule that looks in force. One
    /// that is empty asks for nothing.
    pub fn refuse_unenforced(&self, key: &'static str) {
        if self.ask(key).is_some_and(|(_, value)| !value.as_table().is_some_and(DeTable::is_empty)) {
            self.fault(key, "is not enforced by this version", "take it out until a version that does");
        }
    }

    /// Text, if the key is there.
    pub fn text(&self, key: &'static str) -> Option<String> {
        self.convert(key, "text in quotes", |value| value.as_str().map(str::to_owned))
    }

    /// Text that must be there and not be empty.
    pub fn required_text(&self, key: &'static str) -> Option<String> {
        self.required(key)?;
        let text = self.text(key)?;
        if text.is_empty() {
            self.fault(key, "is empty", "give it a value");
            return None;
        }
        Some(text)
    }

    /// A value written as text, such as an address.
    pub fn parsed<T: FromStr>(&self, key: &'static str, what: &str) -> Option<T> {
        self.convert(key, what, |value| value.as_str()?.parse().ok())
    }

    /// A socket address that must be there.
    pub fn required_address(&self, key: &'static str) -> Option<SocketAddr> {
        self.required(key)?;
        self.parsed(key, "an address with a port such as \"127.0.0.1:8443\"")
    }

    /// A list of texts, empty when the key is absent.
    pub fn texts(&self, key: &'static str) -> Vec<String> {
        self.parsed_list(key, "text")
    }

    /// A list of texts that must be there and have an element.
    pub fn required_texts(&self, key: &'static str) -> Option<Vec<String>> {
        self.required(key)?;
        let texts = self.texts(key);
        if texts.is_empty() {
            self.fault(key, "names nothing", "list at least one");
            return None;
        }
        Some(texts)
    }

    /// One text, or a list of texts; empty when the key is absent.
    pub fn one_or_more_texts(&self, key: &'static str) -> Vec<String> {
        let texts = self.convert(key, "text in quotes, or a list of texts", |value| match value.as_str() {
            Some(text) => Some(vec![text.to_owned()]),
            None => value.as_array()?.iter().map(|element| element.get_ref().as_str().map(str::to_owned)).collect(),
        });
        texts.unwrap_or_default()
    }

    /// A list of values written as texts, empty when the key is absent.
    pub fn parsed_list<T: FromStr>(&self, key: &'static str, what: &str) -> Vec<T> {
        let list = self.convert(key, &format!("a list of {what} in quotes"), |value| {
            value.as_array()?.iter().map(|element| element.get_ref().as_str()?.parse().ok()).collect()
        });
        list.unwrap_or_default()
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        self.convert(key, "true or false", DeValue::as_bool)
    }

    /// A whole number from 1.
    pub fn count(&self, key: &'static str) -> Option<u64> {
        self.convert(key, "a whole number from 1", |value| whole(value).filter(|&number| number > 0))
    }

    /// A whole number from 0.
    pub fn number(&self, key: &'static str) -> Option<u64> {
        self.convert(key, "a whole number from 0", whole)
    }

    /// A number from 0 to 1.
    pub fn share(&self, key: &'static str) -> Option<f64> {
        self.convert(key, "a number from 0 to 1", |value| {
            let share = match value.as_float() {
                Some(float) => float.as_str().parse().ok(),
                None => value.as_integer().and_then(|whole| whole.as_str().parse().ok()),
            };
            share.filter(|share| (0.0..=1.0).contains(share))
        })
    }

    /// A number, with or without decimals.
    pub fn decimal(&self, key: &'static str) -> Option<f64> {
        self.convert(key, "a number", |value| match value.as_float() {
            Some(float) => float.as_str().parse().ok().filter(|number: &f64| number.is_finite()),
            None => value.as_integer()?.as_str().parse().ok(),
        })
    }

    /// A duration such as `"30s"`.
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        self.convert(key, "a duration such as \"30s\" (ms, s, m, h, d)", |value| units::duration(value.as_str()?))
    }

    /// A duration above zero, for bounds and intervals.
    pub fn nonzero_duration(&self, key: &'static str) -> Option<Duration> {
        self.convert(key, "a duration above zero such as \"30s\" (ms, s, m, h, d)", |value| {
            units::duration(value.as_str()?).filter(|duration| !duration.is_zero())
        })
    }

    /// A size in bytes such as `"32MiB"`.
    pub fn size(&self, key: &'static str) -> Option<usize> {
        self.convert(key, "a size such as \"32MiB\" (B, KiB, MiB, GiB)", |value| units::size(value.as_str()?))
    }

    /// A path, made absolute from the configuration file's folder.
    pub fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.text(key).map(|path| self.document.folder().join(path))
    }

    /// The configuration file itself.
    pub fn source(&self) -> &Path {
        &self.document.file
    }

    /// The content of the file that `key` names.
    pub fn file(&self, key: &'static str) -> Option<Vec<u8>> {
        let path = self.path(key)?;
        match std::fs::read(&path) {
            Ok(content) => {
                self.note_named(&content);
                Some(content)
            }
            Err(error) => {
                self.fault(
                    key,
                    format!("cannot read {}: {error}", path.display()),
                    "name a file that this user can read",
                );
                None
            }
        }
    }

    /// A secret by reference: `{ file = ... }`, `{ env = ... }` or `{ credential = ... }`.
    pub fn secret(&self, key: &'static str) -> Option<Secret> {
        self.secret_and_source(key).map(|(secret, _)| secret)
    }

    /// The same with where it is, for those that are read again when they change.
    pub fn secret_and_source(&self, key: &'static str) -> Option<(Secret, SecretSource)> {
        let (_, value) = self.ask(key)?;
        if value.as_table().is_none() {
            self.fault(
                key,
                "is a value",
                "write a reference: { file = \"...\" }, { env = \"...\" } or { credential = \"...\" }",
            );
            return None;
        }
        self.table(key, |reference| {
            let (file, env, credential) = (reference.path("file"), reference.text("env"), reference.text("credential"));
            let source = match (file, env, credential) {
                (Some(file), None, None) => Ok(SecretSource::File(file)),
                (None, Some(name), None) => Ok(SecretSource::Environment(name)),
                (None, None, Some(name)) => SecretSource::credential(&name),
                _ => Err("does not have exactly one of file, env and credential".to_owned()),
            };
            match source.and_then(|source| Ok((source.read()?, source))) {
                Ok((secret, _)) if secret.expose().is_empty() => {
                    self.fault(key, "is empty", "put the secret where the reference points");
                    None
                }
                Ok(found) => {
                    self.note_named(found.0.expose());
                    Some(found)
                }
                Err(problem) => {
                    self.fault(key, problem, "point it at the secret");
                    None
                }
            }
        })
    }

    fn note_named(&self, content: &[u8]) {
        self.document.named.borrow_mut().push((self.path.clone(), Sha256::digest(content).into()));
    }

    /// What the document says in the section `key`, and what the files hold that it names and that are not followed by
    /// themselves; `None` when it is not there. To be asked once all is read.
    pub fn fingerprint_of(&self, key: &str) -> Option<Fingerprint> {
        let (_, value) = self.entry(key)?;
        let named = self.document.named.borrow();
        let of_section = named.iter().filter(|(path, _)| path.split(['.', '[']).next() == Some(key));
        Some(Fingerprint::of(value, of_section.map(|(_, digest)| digest)))
    }

    /// The sections that are there.
    pub fn names(&self) -> Vec<String> {
        self.table.iter().flat_map(|table| table.keys()).map(|name| name.get_ref().to_string()).collect()
    }

    /// What this table says by its own text, but for the keys `without`.
    pub fn fingerprint_of_text(&self, without: &[&str]) -> Fingerprint {
        Fingerprint::of_members(self.table.iter().flat_map(|table| table.iter()), without)
    }

    /// The line of a key by its path from here, if it is there.
    pub fn line_of(&self, path: &str) -> Option<usize> {
        let mut parts = path.split('.');
        let (mut at, mut value) = self.entry(parts.next()?)?;
        for part in parts {
            let (name, next) = value.as_table()?.get_key_value(part)?;
            (at, value) = (Spanned::span(name).start, next.get_ref());
        }
        self.document.line(at)
    }

    fn full(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }

    fn entry(&self, key: &str) -> Option<(usize, &'d DeValue<'d>)> {
        let (name, value) = self.table?.get_key_value(key)?;
        Some((Spanned::span(name).start, value.get_ref()))
    }

    fn ask(&self, key: &'static str) -> Option<(usize, &'d DeValue<'d>)> {
        self.asked.borrow_mut().insert(key);
        self.entry(key)
    }

    /// Faults when `key` is absent.
    pub fn required(&self, key: &'static str) -> Option<()> {
        if self.ask(key).is_none() {
            self.fault(key, "is missing", "add it; conf/portcullis.toml explains every key");
            return None;
        }
        Some(())
    }

    /// Whether `key` is there; asking makes it a known key.
    pub fn has(&self, key: &'static str) -> bool {
        self.ask(key).is_some()
    }

    /// Whether `key` is there as a list without elements.
    pub fn is_empty_list(&self, key: &'static str) -> bool {
        self.ask(key).is_some_and(|(_, value)| value.as_array().is_some_and(|list| list.is_empty()))
    }

    /// The value, or a fault of `key` that says why there is none.
    pub fn usable<T>(&self, key: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.fault(key, problem, "check the file that it names")).ok()
    }

    fn convert<T>(
        &self,
        key: &'static str,
        what: &str,
        convert: impl FnOnce(&'d DeValue<'d>) -> Option<T>,
    ) -> Option<T> {
        let (_, value) = self.ask(key)?;
        let converted = convert(value);
        if converted.is_none() {
            self.fault(key, format!("is not {what}"), format!("it is a {} now", value.type_str()));
        }
        converted
    }

    fn refuse_unknown(&self) {
        let Some(table) = self.table else { return };
        let asked = self.asked.borrow();
        for name in table.keys() {
            let key = name.get_ref().as_ref();
            if asked.contains(key) {
                continue;
            }
            let mend = match asked.iter().min_by_key(|known| distance(known, key)) {
                Some(known) if distance(known, key) <= 2 => format!("did you mean `{known}`?"),
                _ => format!("known here: {}", asked.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            self.document.fault(Some(name.span().start), &self.full(key), "unknown key", mend);
        }
    }
}

/// Edit distance (Levenshtein), for the nearest known key.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.chars().zip(row.iter_mut().skip(1)) {
            let best = (diagonal + usize::from(x != y)).min(*cell + 1).min(left + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

fn whole(value: &DeValue<'_>) -> Option<u64> {
    let number = value.as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}
