//! Portcullis: a zero-trust edge proxy for the Claude API.
//!
//! A client presents a corporate token; Portcullis verifies it, decides what this caller may ask of which model, adds the
//! real key, sends the call over a private route and streams the answer back, and writes down what happened.
//!
//! The rooms, in the order in which a request meets them:
//!
//! - [`config`]: what the file says, turned into what the proxy trusts
//! - [`listener`]: TLS to clients
//! - [`gateway`]: Pingora's phases, each of which calls one room
//! - [`identity`]: who calls
//! - [`claude`]: the API's wire, as far as a proxy must know it
//! - [`policy`]: what they may do
//! - [`limit`]: how much
//! - [`store`]: what hosts share
//! - [`credential`]: the upstream's key
//! - [`upstream`]: where it goes
//! - [`privacy`]: personal data and secrets, found and masked
//! - [`audit`]: what is written down
//! - [`anomaly`]: what is out of the ordinary
//! - [`containment`]: what follows it
//! - [`telemetry`] and [`admin`]: what ops see
//! - [`follow`]: files that may change while the proxy runs
//! - [`handover`]: a new process takes over from the running one
//! - [`expiry`]: when certificates end, and who is told
//! - [`denial`]: every reason to refuse
//!
//! [`commands`] composes them into the binary.

pub mod admin;
pub mod anomaly;
pub mod audit;
pub mod claude;
pub mod commands;
pub mod config;
pub mod containment;
pub mod credential;
pub mod denial;
pub mod expiry;
pub mod follow;
pub mod gateway;
pub mod handover;
pub mod identity;
pub mod limit;
pub mod listener;
pub mod policy;
pub mod privacy;
pub mod store;
pub mod telemetry;
pub mod upstream;
