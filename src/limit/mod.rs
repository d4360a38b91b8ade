//! How much: bounds that hold for all requests together.

mod in_flight;
mod measure;
mod memory;

pub use in_flight::{InFlight, InFlightGuard};
pub use measure::Measure;
pub use memory::{BodyMemory, Held};
