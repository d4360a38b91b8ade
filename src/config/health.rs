//! `[upstream.health]` and `[upstream.retry]`: which addresses are thought ill of, and how much is sent again.

use std::time::Duration;

use super::reader::Section;
use crate::upstream::HealthRules;

/// When an address is thought ill of, and how that is found out.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthConfig {
    /// What requests see.
    pub rules: HealthRules,
    /// What is tried besides; `None`: nothing.
    pub check: Option<Check>,
    /// Time between two checks of an address.
    pub interval: Duration,
    /// Bound on one check.
    pub timeout: Duration,
}

/// An active check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A connection with its TLS handshake.
    Connection,
    /// A request for this path without a credential, which gets any answer but 500, 502, 503 and 504.
    Request(String),
}

/// How much is sent again of what may have reached the upstream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryConfig {
    /// Share of the requests.
    pub share: f64,
    /// And so many a second whatever the share comes to.
    pub per_second: u32,
}

pub(super) fn read(upstream: &Section<'_>) -> HealthConfig {
    upstream.table("health", |health| {
        let default = HealthRules::default();
        let in_a_row =
            |key, default| health.count(key).map_or(default, |count| u32::try_from(count).unwrap_or(u32::MAX));
        let rules = HealthRules {
            connect_failures: in_a_row("connect_failures", default.connect_failures),
            resets: in_a_row("resets", default.resets),
            server_errors: in_a_row("server_errors", default.server_errors),
            base_ejection: health.nonzero_duration("ejection").unwrap_or(default.base_ejection),
            max_ejection: health.duration("max_ejection").unwrap_or(default.max_ejection),
            slow_start: health.duration("slow_start").unwrap_or(default.slow_start),
        };
        if rules.max_ejection < rules.base_ejection {
            health.fault("max_ejection", "is shorter than the first ejection", "make it longer than ejection");
        }
        let path = health.text("path");
        let check = match health.text("check").as_deref() {
            None | Some("connection") => Some(Check::Connection),
            Some("request") => Some(Check::Request(path.clone().unwrap_or_else(|| "/".to_owned()))),
            Some("none") => None,
            Some(_) => {
                health.fault("check", "is no check", "write \"connection\", \"request\" or \"none\"");
                None
            }
        };
        match (&check, &path) {
            (Some(Check::Request(path)), _) if !is_path(path) => {
                health.fault("path", "is no path", "begin it with a slash, in visible ASCII");
            }
            (Some(Check::Connection) | None, Some(_)) => {
                health.fault("path", "is asked for by no check", "add check = \"request\", or take it out");
            }
            _ => {}
        }
        HealthConfig {
            rules,
            check,
            interval: health.nonzero_duration("interval").unwrap_or(Duration::from_secs(10)),
            timeout: health.nonzero_duration("timeout").unwrap_or(Duration::from_secs(3)),
        }
    })
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) && path.parse::<http::Uri>().is_ok()
}

pub(super) fn read_retry(upstream: &Section<'_>) -> RetryConfig {
    upstream.table("retry", |retry| {
        let percent = retry.number("percent").unwrap_or(10);
        if percent > 100 {
            retry.fault("percent", "is above 100", "name a share of the requests, such as 10");
        }
        RetryConfig {
            share: f64::from(u8::try_from(percent.min(100)).unwrap_or(100)) / 100.0,
            per_second: retry.number("per_second").map_or(3, |count| u32::try_from(count).unwrap_or(u32::MAX)),
        }
    })
}
