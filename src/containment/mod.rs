//! What follows an alarm, by configuration: whoever it is about is slowed, kept to some model families or refused, for a bounded
//! time. Nothing follows unless a rule says so, and a rule begins by only saying what it would do.
//!
//! A rule is about callers or teams, never about all: what is about everybody is for people to decide.

mod file;
mod registry;
mod rule;

pub use file::{ContainmentFile, LiftFile, MAX_FILE};
pub use registry::{Asking, Containments, Event, Held, Released};
pub use rule::{Action, Mode, Of, Rule, Target};
