//! The upstream's keys: held where they cannot be read, chosen for a call, put on a request that has a
//! [`Permit`](crate::policy::Permit) and is [on record](crate::audit::OnRecord), and nowhere else.
//!
//! [`KeyRing::choose`] says which [`UpstreamKey`] serves a call, [`UpstreamKey::inject`] puts it on the request,
//! [`KeyRing::answered`] learns from what comes back, and [`KeyRing::upkeep`] keeps the keys current.

mod answer;
mod expiry;
mod federation;
mod kept;
mod key;
mod locked;
mod process;
mod renewal;
mod ring;
mod rotation;
mod secret;
mod slot;
mod source;
mod trial;
mod upkeep;

pub use federation::Federation;
pub use kept::read_or_make;
pub use key::{KeyFault, KeyId, KeyKind, UpstreamKey};
pub use process::keep_from_core_dumps;
pub use ring::{KeyClaim, KeyRing};
pub use secret::Secret;
pub use slot::{KeyState, KeyUsage, NamedKey, Origin};
pub use source::SecretSource;

#[cfg(test)]
mod tests;
