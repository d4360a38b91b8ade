//! `portcullis check`: every fault of a configuration at once.

use std::path::Path;
use std::time::Duration;

use super::{Outcome, load, serve};
use crate::upstream::ConnectTimeouts;

pub(super) fn command(path: &Path) -> Outcome {
    let config = load(path)?;
    if let Some(warning) = of_stop(config.listen.drain, config.upstream.connect) {
        eprintln!("{}: warning: {warning}", path.display());
    }
    eprintln!(
        "{}: no fault found; {} issuer(s), listening on {}",
        path.display(),
        config.issuers.len(),
        config.listen.address
    );
    Ok(())
}

/// `TimeoutStopSec` of systemd/portcullis.service.
const STOP: Duration = Duration::from_secs(60);

/// A drain that may go on for longer than the shipped unit lets a stop take. Other units may let it.
fn of_stop(drain: Duration, connect: ConnectTimeouts) -> Option<String> {
    let longest = serve::longest_stop(drain, connect);
    let most = STOP.saturating_sub(serve::longest_stop(Duration::ZERO, connect)).as_secs();
    (longest > STOP).then(|| {
        format!(
            "listen.drain: with what follows it, such as the closing of the audit log, a stop may take longer than the {} s of the shipped unit, which then kills it; lower it to {most}s, or set TimeoutStopSec={} or higher in the unit",
            STOP.as_secs(),
            longest.as_millis().div_ceil(1000)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_unit_lets_the_default_drain_end() {
        let unit = include_str!("../../systemd/portcullis.service");
        assert!(unit.lines().any(|line| line == format!("TimeoutStopSec={}", STOP.as_secs())));
        let of_stop =
            |drain, tls| of_stop(Duration::from_secs(drain), ConnectTimeouts { tcp: Duration::from_secs(2), tls });
        let usual = Duration::from_secs(3);
        assert_eq!((of_stop(30, usual), of_stop(37, usual)), (None, None));
        assert!(of_stop(38, usual).unwrap().contains("lower it to 37s"));
        assert!(of_stop(30, Duration::from_secs(20)).unwrap().contains("lower it to 20s"));
    }
}
