//! Who calls: takes the token out of a request, verifies it, and knows where each issuer's keys come from.

mod address;
mod algorithm;
mod bearer;
pub mod binding;
mod cache;
mod caller;
mod claim;
mod fetch;
mod fetched;
mod header;
mod issuer;
mod json;
mod keys;
pub mod revocation;
mod saved;
mod token;

pub use address::client_address;
pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use bearer::{Bearer, Scheme};
pub use cache::CacheBounds;
pub use caller::{Caller, Confirmation, RequiredBinding, UnknownBinding, VerifiedToken};
pub use claim::{Accepted, ClaimPath, ClaimPathError, RequiredClaim};
pub use fetch::{KeyFetcher, may_fetch};
pub use issuer::{Issuers, KeySetStatus};
pub use keys::{KeySet, KeySetError};
pub use revocation::Revocations;

#[cfg(test)]
mod tests;
