//! Warnings before a key is past its `not_after`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::slot::Slot;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long before it is told first.
const AHEAD: Duration = Duration::from_secs(14 * 24 * 3600);
/// From how long before it is told as an error.
const URGENT: Duration = Duration::from_secs(2 * 24 * 3600);
/// Time between two looks at the clock.
const INTERVAL: Duration = Duration::from_secs(60);

/// How near a key is to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Soon,
    Urgent,
    Past,
}

/// What was told last of one key, and when.
#[derive(Debug, Default)]
struct Told(Option<(Nearness, SystemTime)>);

impl Nearness {
    fn of(not_after: SystemTime, now: SystemTime) -> Option<Self> {
        match not_after.duration_since(now) {
            Ok(left) if left > AHEAD => None,
            Ok(left) if left > URGENT => Some(Self::Soon),
            Ok(left) if !left.is_zero() => Some(Self::Urgent),
            _ => Some(Self::Past),
        }
    }
}

impl Told {
    /// What is to be told now: once a day, and whenever the end has come nearer.
    fn due(&mut self, nearness: Option<Nearness>, now: SystemTime) -> Option<Nearness> {
        let nearness = nearness?;
        let is_known = |&(last, at): &(Nearness, SystemTime)| {
            nearness <= last && now.duration_since(at).is_ok_and(|since| since < DAY)
        };
        if self.0.as_ref().is_some_and(is_known) {
            return None;
        }
        self.0 = Some((nearness, now));
        Some(nearness)
    }
}

/// Warns of all slots that have an end.
pub(super) async fn warn(slots: &[Arc<Slot>]) {
    let ending = slots.iter().filter_map(|slot| Some((slot, slot.not_after?, Told::default())));
    let mut ending: Vec<_> = ending.collect();
    while !ending.is_empty() {
        let now = SystemTime::now();
        for (slot, not_after, told) in &mut ending {
            if let Some(nearness) = told.due(Nearness::of(*not_after, now), now) {
                tell(&slot.name, nearness, *not_after, now);
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn tell(key: &str, nearness: Nearness, not_after: SystemTime, now: SystemTime) {
    let hours = not_after.duration_since(now).unwrap_or_default().as_secs() / 3600;
    match nearness {
        Nearness::Soon => tracing::warn!(key, hours, "the key ends soon (not_after); put another beside it"),
        Nearness::Urgent => tracing::error!(key, hours, "the key ends within two days (not_after)"),
        Nearness::Past => tracing::error!(key, "the key is past its not_after and is used no longer"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    /// When keys end, less so many hours.
    fn before(hours: u64) -> SystemTime {
        end() - Duration::from_secs(hours * 3600)
    }

    fn end() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn the_end_comes_nearer() {
        for (hours, nearness) in [
            (14 * 24 + 1, None),
            (14 * 24, Some(Nearness::Soon)),
            (49, Some(Nearness::Soon)),
            (48, Some(Nearness::Urgent)),
            (1, Some(Nearness::Urgent)),
            (0, Some(Nearness::Past)),
        ] {
            assert_eq!(Nearness::of(end(), before(hours)), nearness, "{hours}");
        }
        assert_eq!(Nearness::of(end(), end() + DAY), Some(Nearness::Past));
    }

    #[test]
    fn it_is_told_once_a_day_and_when_it_comes_nearer() {
        let mut told = Told::default();
        let hours: Vec<_> = (0..15 * 24)
            .rev()
            .filter(|&hours| told.due(Nearness::of(end(), before(hours)), before(hours)).is_some())
            .collect();
        let daily: Vec<u64> = (3..=14).rev().map(|days| days * 24).chain([48, 24, 0]).collect();
        assert_eq!(hours, daily);
        assert_eq!(told.due(Some(Nearness::Past), end() + DAY), Some(Nearness::Past));
    }
}
