//! The whole, through the real binary: a sandbox on free ports, driven over real sockets.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test may panic

mod anomalies;
mod audit_chain;
mod audit_show;
mod bodies;
mod client_faults;
mod commands;
mod configuration;
mod doctor;
mod evidence;
mod failover;
mod federation;
mod harness;
mod http2;
mod identity;
mod keys;
mod limits;
mod logs;
mod monitoring;
mod names;
mod pins;
mod policy;
mod private;
mod proxy_protocol;
mod queries;
mod refusals;
mod reload;
mod revocation;
mod rotation;
mod serving;
mod shared;
mod ship;
mod shutdown;
mod store;
mod streams;
mod telemetry;
mod traces;
mod upgrade;
mod upstream_faults;
mod way;
