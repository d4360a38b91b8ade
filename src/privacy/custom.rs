//! Patterns of the configuration's own, and what it allows.

use std::net::IpAddr;

use ipnet::IpNet;
use regex_automata::meta::{Config, Regex};
use regex_automata::util::syntax;

use super::Kind;

/// The longest match of a custom pattern, in bytes.
const LONGEST: usize = 256;
/// Bytes of the compiled pattern.
const SIZE: usize = 256 << 10;

/// A pattern that the configuration adds.
#[derive(Debug)]
pub struct Custom {
    pub(super) kind: Kind,
    /// Finds where it begins.
    pub(super) regex: Regex,
}

impl Custom {
    /// What its matches are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Compiles the pattern (the syntax of Rust's `regex`) under a name of upper-case letters, digits and underscores.
    ///
    /// # Errors
    /// Says what is wrong with the name or the pattern: it may match nothing at all, match more than 256 bytes, or be too large.
    pub fn new(name: &str, pattern: &str) -> Result<Self, String> {
        let spelled = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if !(1..=40).contains(&name.len()) || !name.bytes().all(spelled) {
            return Err("a name has upper-case letters, digits and underscores, at most 40".to_owned());
        }
        if Kind::named(name).is_some() {
            return Err(format!("{name} is a built-in detector's name"));
        }
        let hir = regex_automata::util::syntax::parse_with(pattern, &syntax::Config::new())
            .map_err(|error| format!("the pattern does not parse: {error}"))?;
        let properties = hir.properties();
        if properties.minimum_len().unwrap_or(0) == 0 {
            return Err("the pattern can match nothing".to_owned());
        }
        if properties.maximum_len().is_none_or(|most| most > LONGEST) {
            return Err(format!(
                "the pattern can match more than {LONGEST} bytes; bound its repetitions, as in {{1,20}}"
            ));
        }
        let config = Config::new().nfa_size_limit(Some(SIZE)).onepass_size_limit(Some(SIZE));
        let regex = Regex::builder()
            .configure(config)
            .build(pattern)
            .map_err(|error| format!("the pattern does not compile: {error}"))?;
        Ok(Self { kind: Kind::custom(interned(name)), regex })
    }
}

/// The name for as long as the process lives. The same name is kept once, so that reloading does not grow.
fn interned(name: &str) -> &'static str {
    static NAMES: std::sync::Mutex<Vec<&'static str>> = std::sync::Mutex::new(Vec::new());
    let mut names = NAMES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = names.iter().find(|known| **known == name) {
        return known;
    }
    let name: &'static str = Box::leak(name.into());
    names.push(name);
    name
}

/// What is let be: a network, or a pattern over the whole value in which `*` stands for any text.
#[derive(Debug, Clone)]
pub enum Allowed {
    /// Addresses of this network.
    Network(IpNet),
    /// Values that this covers, in any letter case.
    Pattern(Box<str>),
}

impl std::str::FromStr for Allowed {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        // `*` alone would switch all detectors off in one short word.
        if text.trim_matches('*').len() < 2 || text.len() > 256 {
            return Err(());
        }
        let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        Ok(network.map_or_else(|| Self::Pattern(text.to_lowercase().into()), Self::Network))
    }
}

impl Allowed {
    pub(super) fn covers(&self, value: &str) -> bool {
        match self {
            Self::Network(network) => {
                value.parse().is_ok_and(|address: IpAddr| network.contains(&address))
                    || value.parse().is_ok_and(|inner: IpNet| network.contains(&inner))
            }
            Self::Pattern(pattern) => crate::claude::glob(pattern.as_bytes(), value.to_lowercase().as_bytes()),
        }
    }
}
