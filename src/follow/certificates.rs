//! Certificates and what belongs to them: files that are read together, and taken over only if the whole fits. What does not fit
//! keeps the set in force, and is tried again at each look: a certificate may be written before its key.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::time::MissedTickBehavior;

use super::{FollowedFile, INTERVAL, Look, Trouble};
use crate::expiry::{Expiry, Reminder};

/// How following the files of a set goes.
pub struct FollowedCertificates<F> {
    /// As the log calls them, such as `the listener's`.
    whose: &'static str,
    follower: Mutex<Follower<F>>,
    reloads: AtomicU64,
    faulty: AtomicBool,
}

struct Follower<F> {
    files: Vec<FollowedFile>,
    trouble: Trouble<Vec<F>>,
    reminder: Reminder,
}

impl<F: PartialEq + Display> FollowedCertificates<F> {
    /// Follows `files`, which the set in force was read from.
    pub fn new(whose: &'static str, files: Vec<FollowedFile>) -> Self {
        Self {
            whose,
            follower: Mutex::new(Follower { files, trouble: Trouble::none(), reminder: Reminder::default() }),
            reloads: AtomicU64::new(0),
            faulty: AtomicBool::new(false),
        }
    }

    /// How many sets were taken over since the start.
    pub fn reloads_total(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// Whether the files do not fit at the last look, so that an older set is in force.
    pub fn is_faulty(&self) -> bool {
        self.faulty.load(Ordering::Relaxed)
    }

    /// Looks at the files once. When one may have changed `renew` reads them all anew, into the vector that it is given, and says
    /// whether it has taken over another set. Warns of the end of what is in force then. Blocks.
    pub fn look(
        &self,
        now: SystemTime,
        renew: impl FnOnce(&mut Vec<FollowedFile>) -> Result<bool, Vec<F>>,
        expiries: impl FnOnce() -> Vec<Expiry>,
    ) {
        let whose = self.whose;
        let mut follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = follower.trouble.is_there();
        for file in &mut follower.files {
            changed |= !matches!(file.look(), Ok(Look::AsBefore));
        }
        if changed {
            let mut read = Vec::with_capacity(follower.files.len());
            match renew(&mut read) {
                Ok(is_another) => {
                    follower.files = read;
                    self.reloads.fetch_add(u64::from(is_another), Ordering::Relaxed);
                    if follower.trouble.over() {
                        tracing::info!("{whose} certificates fit again");
                    }
                }
                Err(faults) => {
                    if let Some(faults) = follower.trouble.found(faults) {
                        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                        let faults = faults.join(", ");
                        tracing::error!(faults, "{whose} certificates do not fit; the last good ones stay in force");
                    }
                }
            }
            self.faulty.store(follower.trouble.is_there(), Ordering::Relaxed);
        }
        follower.reminder.tell(&expiries(), now);
    }
}

/// Has `followed` looked at again and again, for as long as the future is polled.
pub async fn follow<T: Send + Sync + 'static>(whose: &'static str, followed: Arc<T>, look: fn(&T, SystemTime)) {
    let mut beat = tokio::time::interval(INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let followed = Arc::clone(&followed);
        let looked = tokio::task::spawn_blocking(move || look(&followed, SystemTime::now())).await;
        // At a stop a look is only called off.
        if let Err(error) = looked {
            if error.is_panic() {
                tracing::error!(%error, "{whose} certificates are followed no longer");
            }
            return;
        }
    }
}
