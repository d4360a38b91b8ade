//! What the signals learn of one request.

use std::net::IpAddr;

use crate::claude::Family;

/// A request that has ended or was refused.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// Of the model that was asked for, once that is known.
    pub family: Option<Family>,
    /// The issuer's configured name, of a verified caller.
    pub issuer: Option<&'a str>,
    /// The verified caller.
    pub subject: Option<&'a str>,
    /// Its teams.
    pub teams: &'a [String],
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// What became of it.
    pub ended: Ended,
    /// Tokens in and out, those of the prompt cache among them.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micro_usd: u64,
    /// Personal data and secrets that were found in it.
    pub findings: u64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It went upstream, or was answered here.
    Served,
    /// Its credential was refused.
    TokenRefused,
    /// It was refused for another reason.
    Refused,
    /// It was refused by a containment: an alarm of its own making that is to raise no other.
    Contained,
}
