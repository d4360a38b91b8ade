//! Personal data and secrets in text: found, counted, masked.
//!
//! A text is read in its plain form: escapes, entities and characters that stand for plainer ones are resolved.
//!
//! One pass finds where something may begin: an Aho-Corasick automaton over the literals of all rules
//! and a scan for digits, `@`, `:` and `-`. Only there a pattern or a reader is tried, each over a bounded stretch, and what it
//! finds is validated (check digits, number ranges, words near by). So the work is linear in the text, and what is found at a
//! place depends on a bounded piece of text around it, which is why a stream is masked as the whole text would be.

mod custom;
mod fold;
mod kind;
mod masker;
mod personal;
mod prompt;
mod rule;
mod secret;
mod stream;
mod tag;
mod words;

pub use custom::{Allowed, Custom};
pub use kind::Kind;
pub use masker::{Action, Detectors, Findings, Masked, Masker, Span};
pub use prompt::{Privacy, PromptRule, Prompts};
pub use stream::MaskStream;
pub use tag::{KeyedHash, TagKey};
pub use words::{AnswerWords, Listener, Said};
