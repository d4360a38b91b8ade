//! Secrets: keys, tokens, passwords and whatever else lets its holder in.
//!
//! A secret is known in one of three ways, from the surest to the least sure:
//!
//! - by a shape of its own, such as GitHub's `ghp_` and 36 characters: [`cloud`], [`code_hosts`], [`messaging`],
//!   [`models`], [`payments`], [`services`], [`keys`];
//! - by the protocol or the file that it stands in, such as a user and password in a URL: [`transport`];
//! - by the name before it, `password = "..."` or `datadog_app: ...`, if it also looks drawn at random: [`positions`].
//!
//! [`chance`] tells random strings from words, identifiers and placeholders.
//!
//! Patterns start at their anchor wherever they can, so that a hit is tried at one place alone. A repetition has a bound, or
//! its class lacks a character that every anchor begins with, so that two attempts never read the same bytes.

mod chance;
mod cloud;
mod code_hosts;
mod keys;
mod messaging;
mod models;
mod names;
mod payments;
mod positions;
mod services;
mod transport;

#[cfg(test)]
mod tests;

use super::Kind;
use super::rule::Rule;
use chance::varied;

/// Every rule that finds a secret.
pub(super) fn rules() -> impl Iterator<Item = &'static Rule> {
    [
        models::RULES,
        cloud::RULES,
        code_hosts::RULES,
        messaging::RULES,
        payments::RULES,
        services::RULES,
        keys::RULES,
        transport::RULES,
        positions::RULES,
    ]
    .into_iter()
    .flatten()
}

/// A pattern for a token that its first characters make known. What follows must not go on like the token: one that is too
/// long for its kind is another thing.
macro_rules! token {
    ($pattern:literal) => {
        concat!("(?P<v>", $pattern, ")(?:[^0-9A-Za-z_-]|$)")
    };
}

use token;

/// A token of one of the many services.
const fn secret(name: &'static str, anchors: &'static [&'static str], pattern: &'static str) -> Rule {
    Rule { check: varied, ..Rule::new(Kind::OTHER_SECRET, name, anchors, pattern) }
}

/// The same with first characters that also occur within words.
const fn whole(name: &'static str, anchors: &'static [&'static str], pattern: &'static str) -> Rule {
    Rule { context: begins, ..secret(name, anchors, pattern) }
}

/// Whether a word begins after `before`. The `n` of a `\n`, as in a string within a string, belongs to no word.
fn begins(before: &str, _: &str) -> bool {
    let in_word = before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    !in_word || before.ends_with("\\n") || before.ends_with("\\r") || before.ends_with("\\t")
}
