//! How much: bounds that hold for all requests together.

mod door;
mod in_flight;
mod measure;
mod memory;

pub use door::{Door, DoorBound};
pub use in_flight::{InFlight, InFlightGuard};
pub use measure::Measure;
pub use memory::{BodyMemory, Held};
