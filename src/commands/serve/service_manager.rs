//! What systemd is told (sd_notify(3)); nothing where no service manager asks.

use std::time::Duration;

use sd_notify::NotifyState;

/// Every socket listens: whoever connects is served, or told what is missing.
pub(super) fn listening() {
    tell(&[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Another process is the service's main one. Only the main process is believed.
pub(super) fn succeeded_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// The service is about to end. A process that has a successor must not say so: systemd would end that one too.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Shows that tasks are run, as often as the unit's `WatchdogSec=` asks for, if it does. Never ends.
pub(super) async fn beat() {
    let Some(longest) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut beat = tokio::time::interval(longest.div_f64(3.0).max(Duration::from_millis(1)));
    loop {
        beat.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
