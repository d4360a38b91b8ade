//! Shipping: closed segments go to a bucket, compressed and locked, and stay on this host as long as it is told to keep them.
//!
//! A segment is shipped when the store has taken its object, has given it back with the same SHA-256, and a marker beside
//! the segment says so. Each step may fail or be cut by a crash: the next round begins where the marker is missing, and an
//! object that is there already counts when it holds the same records. Nothing is ever overwritten.
//!
//! All of it happens on a thread of its own, so files are read and compressed there without care for requests.

mod bucket;
mod failure;
mod keep;
mod marker;
mod pack;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use self::bucket::Bucket;
use self::failure::Failure;
use self::marker::Marker;
use super::segment::{self, ClosedSegment};
use crate::config::{KeepConfig, ShipConfig};
use crate::telemetry::ShipMetrics;

/// Ships closed segments until it is stopped.
pub struct Shipper {
    stop: Option<oneshot::Sender<Duration>>,
    stopped: std_mpsc::Receiver<()>,
}

impl Shipper {
    /// Starts the thread for the segments in `directory`; none when there is nothing to ship to and no bound to keep.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        ship: Option<ShipConfig>,
        keep: KeepConfig,
        directory: &Path,
        metrics: ShipMetrics,
    ) -> std::io::Result<Option<Self>> {
        if ship.is_none() && keep == KeepConfig::default() {
            return Ok(None);
        }
        let interval = ship.as_ref().map_or(KEEP_INTERVAL, |ship| ship.interval);
        let rounds = Rounds { bucket: ship.map(Bucket::new), keep, directory: directory.to_owned(), metrics };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, asked) = oneshot::channel();
        let (done, stopped) = std_mpsc::channel();
        std::thread::Builder::new().name("audit-ship".to_owned()).spawn(move || {
            runtime.block_on(rounds.run(interval, asked));
            // Who asked may have given up.
            let _ = done.send(());
        })?;
        Ok(Some(Self { stop: Some(stop), stopped }))
    }

    /// Ships what is closed now and ends, `within` at most; whether all was done. Not for async code.
    pub fn stop(mut self, within: Duration) -> bool {
        let asked = self.stop.take().is_some_and(|stop| stop.send(within).is_ok());
        asked && self.stopped.recv_timeout(within).is_ok()
    }
}

/// What one round after another is made with.
struct Rounds {
    bucket: Option<Bucket>,
    keep: KeepConfig,
    directory: PathBuf,
    metrics: ShipMetrics,
}

impl Rounds {
    async fn run(self, interval: Duration, mut asked: oneshot::Receiver<Duration>) {
        let mut failed_rounds = 0;
        let within = loop {
            tokio::select! {
                biased;
                within = &mut asked => break within,
                is_done = self.round() => failed_rounds = if is_done { 0 } else { failed_rounds + 1 },
            }
            let wait =
                if failed_rounds == 0 { interval } else { back_off(failed_rounds, uuid::Uuid::new_v4().as_u128()) };
            tokio::select! {
                within = &mut asked => break within,
                () = tokio::time::sleep(wait) => {}
            }
        };
        // A `Shipper` that was dropped asks for nothing more.
        if let Ok(within) = within
            && tokio::time::timeout(within, self.round()).await.is_err()
        {
            tracing::warn!("audit segments that are left are shipped by the next start");
        }
    }

    /// Ships every closed segment that waits, then deletes what need not be kept. Whether nothing failed.
    async fn round(&self) -> bool {
        let closed = match segment::closed(&self.directory) {
            Ok(closed) => closed,
            Err(error) => {
                self.failed(None, &Failure::Local(error));
                return false;
            }
        };
        let mut is_done = true;
        if let Some(bucket) = &self.bucket {
            let waiting: Vec<&ClosedSegment> = closed.iter().filter(|one| !Marker::stands(one)).collect();
            is_done = self.ship_all(bucket, &waiting).await;
        }
        keep::enforce(&self.directory, &closed, self.keep, self.bucket.is_some(), SystemTime::now(), &self.metrics);
        is_done
    }

    async fn ship_all(&self, bucket: &Bucket, waiting: &[&ClosedSegment]) -> bool {
        let mut left: Vec<(&ClosedSegment, Option<SystemTime>)> =
            waiting.iter().map(|&one| (one, closed_at(&one.path))).collect();
        self.show(&left);
        let mut is_done = true;
        let mut client = None;
        for &segment in waiting {
            let shipped = async {
                let client = match &client {
                    Some(client) => client,
                    None => client.insert(bucket.connect()?),
                };
                upload::ship(client, segment, SystemTime::now()).await
            };
            match shipped.await {
                Ok(marker) => {
                    self.metrics.shipped.inc();
                    self.metrics.bytes.inc_by(marker.size);
                    tracing::info!(segment = %segment.name, key = marker.key, bytes = marker.size, "an audit segment is shipped");
                    left.retain(|(one, _)| one.name != segment.name);
                }
                Err(failure) => {
                    is_done = false;
                    self.failed(Some(segment), &failure);
                    if failure.is_of_all() {
                        break; // the others would fare no better
                    }
                }
            }
            self.show(&left);
        }
        is_done
    }

    /// Shows what waits.
    fn show(&self, left: &[(&ClosedSegment, Option<SystemTime>)]) {
        self.metrics.waiting.set(i64::try_from(left.len()).unwrap_or(i64::MAX));
        let oldest = left.iter().filter_map(|(_, closed)| *closed).min();
        let age = oldest.and_then(|oldest| oldest.elapsed().ok()).unwrap_or_default();
        self.metrics.oldest.set(age.as_secs_f64());
    }

    fn failed(&self, segment: Option<&ClosedSegment>, failure: &Failure) {
        let (kind, segment) = (failure.kind(), segment.map(|segment| segment.name.to_string()));
        self.metrics.failures.with_label_values(&[kind]).inc();
        let mend = failure.mend();
        tracing::error!(kind, segment, error = %failure, mend, "audit segments are not shipped: they stay here");
    }
}

/// When a segment was closed: it has not changed since.
fn closed_at(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// How long to wait after so many failed rounds in a row: twice as long each time, and cut by up to half so that hosts that
/// failed together do not come back together.
fn back_off(failed_rounds: u32, random: u128) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(1 << failed_rounds.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    let percent = u32::try_from(random % 51).unwrap_or_default();
    longest * (100 - percent) / 100
}

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Between two rounds that only keep the bounds of this host.
const KEEP_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
