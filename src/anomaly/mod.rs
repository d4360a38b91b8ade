//! What is out of the ordinary: how much more than usual a model family, a team or a caller asks for, and what nobody has done
//! before.
//!
//! [`Signals::observe`] counts each request as it ends; [`Signals::beat`], every few seconds, turns the counts into scores
//! against each series' own baseline (`baseline`, `spread`, `tail`). Time is passed in. docs/anomalies.md says what is
//! found at which scale.

mod baseline;
mod burst;
mod callers;
mod heavy;
mod observation;
mod options;
mod series;
mod signals;
mod snapshot;
mod spread;
mod state;
mod tail;
mod tally;
#[cfg(test)]
mod tests;

pub use observation::{Ended, Observation};
pub use options::Options;
pub use signals::Signals;
pub use snapshot::{Alarm, Kind, SeriesView, Signal, Snapshot, Whom};
pub use state::StateFile;
