//! Personal data and secrets in text: found, counted, masked.
//!
//! One pass finds where something may begin: an Aho-Corasick automaton over the literals of all [`rule::Rule`]s
//! and a scan for digits, `@` and `:`. Only there a pattern or a reader is tried, each over a bounded stretch, and what it
//! finds is validated (check digits, number ranges, words near by). So the work is linear in the text, and what is found at a
//! place depends on a bounded piece of text around it, which is why a stream is masked as the whole text would be.

mod kind;
mod masker;
mod personal;
mod rule;
mod secret;

pub use kind::Kind;
pub use masker::{Masker, Span};
