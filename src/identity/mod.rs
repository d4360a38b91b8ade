//! Who calls: takes the token out of a request, verifies it, and knows where each issuer's keys come from.

mod address;
mod bearer;
pub mod binding;
mod caller;
mod fetch;
mod issuer;
mod keys;
pub mod revocation;
mod token;

pub use address::client_address;
pub use bearer::{Bearer, Scheme};
pub use caller::{Caller, Confirmation, VerifiedToken};
pub use fetch::{KeyFetcher, may_fetch};
pub use issuer::Issuers;
pub use keys::{KeySet, KeySetError};
pub use revocation::Revocations;

#[cfg(test)]
mod tests;
