//! The signals as a whole, and on traffic with known spikes.

mod spikes;
mod traffic;
mod whole;
