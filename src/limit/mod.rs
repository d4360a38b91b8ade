//! How much: bounds that hold for all requests together.

mod door;
mod in_flight;
mod measure;
mod memory;
mod rule;
mod span;

pub use door::{Door, DoorBound};
pub use in_flight::{InFlight, InFlightGuard};
pub use measure::Measure;
pub use memory::{BodyMemory, Held};
pub use rule::{Bound, OnExhausted, OnStoreFailure, Per, Rate, Rule};
pub use span::{Span, Unit};
