//! How much: bounds that hold for all requests together.

mod in_flight;
mod memory;

pub use in_flight::{InFlight, InFlightGuard};
pub use memory::{BodyMemory, Held};
