//! How much: bounds that hold for all requests together.
//!
//! [`Limits`] keeps what the rules of the configuration promise. A call reserves before it goes upstream, of every limit that
//! it meets or of none, and settles when it has ended, however it ended.

mod agent;
mod bucket;
mod demand;
mod door;
mod in_flight;
mod key;
mod ledger;
mod limits;
mod measure;
mod memory;
mod reservation;
mod rule;
mod shared;
mod span;
mod state;

pub use demand::{CallDemand, Part};
pub use door::{Door, DoorBound};
pub use in_flight::{CutWatch, InFlight, InFlightGuard};
pub use key::Who;
pub use limits::{Limits, StoreState};
pub use measure::Measure;
pub use memory::{BodyMemory, Held};
pub use reservation::{Reservation, Standing, Used};
pub use rule::{Bound, OnExhausted, OnStoreFailure, Per, Rate, Rule};
pub use span::{Span, Unit};
