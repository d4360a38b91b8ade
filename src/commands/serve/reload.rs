//! Reload: another configuration in the place of the one in force, whole or not at all.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use super::evidence::{Evidence, Taps};
use super::house::{Built, Ground, House, log_rules};
use super::service_manager;
use super::work::{Job, Work};
use crate::admin::Admin;
use crate::audit::{Change, Hash, to_hex};
use crate::config::{Config, Fault, Faults, Lasting};
use crate::follow::{self, FollowedFile, Look};
use crate::gateway::{Current, Gateway};
use crate::telemetry::{ReloadOutcome, follow_log_signal};

/// How long a new configuration has for what it needs from others: keys of issuers, addresses, revocations.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Longest file that is followed.
const MAX_FILE: u64 = 16 << 20;

/// What requests, connections and ops see.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) gateway: Current,
    pub(super) admin: Arc<ArcSwap<Admin>>,
}

/// Keeps what is in force current, and puts another configuration in its place when told to.
pub(super) struct Keeper {
    pub(super) file: PathBuf,
    pub(super) ground: Arc<Ground>,
    pub(super) evidence: Arc<Evidence>,
    pub(super) seen: Seen,
    pub(super) house: Arc<House>,
    /// What keeps the house current, until it is begun.
    pub(super) jobs: Vec<Job>,
    pub(super) work: Work,
    pub(super) lasting: Lasting,
    pub(super) on_change: bool,
    pub(super) sha256: [u8; 32],
}

/// The service that a keeper is. Taken once, by its start.
pub(super) struct Keeping(pub(super) Mutex<Option<Keeper>>);

#[async_trait]
impl BackgroundService for Keeping {
    /// Goes on while requests are drained: revocations are in force, and what was used is counted, to the last one.
    async fn start(&self, _: ShutdownWatch) {
        let keeper = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            keeper.run().await;
        }
    }
}

/// Why a configuration is not put in force.
enum Refusal {
    /// The file is wrong.
    Faults(Vec<Fault>),
    /// It is right, and something that it needs cannot be had.
    Unready(String),
}

impl From<String> for Refusal {
    fn from(problem: String) -> Self {
        Self::Unready(problem)
    }
}

impl Seen {
    pub(super) fn of(house: &House) -> Self {
        Self {
            gateway: Arc::new(ArcSwap::new(Arc::clone(&house.gateway))),
            admin: Arc::new(ArcSwap::new(Arc::clone(&house.admin))),
        }
    }

    fn replace(&self, house: &House) -> Arc<Gateway> {
        self.admin.store(Arc::clone(&house.admin));
        self.gateway.swap(Arc::clone(&house.gateway))
    }
}

impl Keeper {
    async fn run(mut self) {
        // Before anything else: until it is asked for, this signal ends the process.
        let hangup = signal(SignalKind::hangup());
        self.work = self.work.succeeded_by(std::mem::take(&mut self.jobs));
        tokio::spawn(follow_log_signal());
        tokio::spawn(service_manager::beat());
        let Ok(hangup) = hangup else {
            tracing::error!("the signal to reload cannot be received");
            return std::future::pending().await;
        };
        let mut triggers = Triggers::new(hangup, &self.file);
        loop {
            let why = triggers.next(self.on_change).await;
            self.reload(why).await;
        }
    }

    /// Reads the file and puts it in force, or says why not.
    pub(super) async fn reload(&mut self, why: &'static str) -> ReloadOutcome {
        let metrics = Arc::clone(&self.ground.metrics);
        let outcome = match self.try_reload(why).await {
            Ok(outcome) => {
                metrics.reload.in_force(&to_hex(&self.sha256));
                outcome
            }
            Err(refusal) => {
                refusal.tell(why);
                ReloadOutcome::Refused
            }
        };
        metrics.reload.ended(outcome);
        outcome
    }

    async fn try_reload(&mut self, why: &'static str) -> Result<ReloadOutcome, Refusal> {
        let file = self.file.clone();
        let mut config =
            blocking(move || Config::load(&file)).await?.map_err(|Faults(faults)| Refusal::Faults(faults))?;
        let faults = self.lasting.refuse(&config.lasting, &self.file);
        if !faults.is_empty() {
            return Err(Refusal::Faults(faults));
        }
        let changed = House::changed_sections(&config.sections, &self.house);
        if changed.is_empty() && config.sha256 == self.sha256 {
            tracing::info!(why, "the configuration is as before");
            return Ok(ReloadOutcome::Unchanged);
        }
        let (sha256, on_change, rules) = (config.sha256, config.reload.on_change, log_rules(&config.audit));
        let level = config.log.level;
        let (subjects, teams) = (config.telemetry.top_subjects, config.telemetry.top_teams);
        let asked = Evidence::carriers_of(&mut config, &changed);
        let evidence = Arc::clone(&self.evidence);
        let (carriers, taps) = blocking(move || evidence.prepare(asked)).await??;
        let (lines, spans) = match taps {
            Some(Taps { lines, spans }) => (Some(lines), spans),
            None => (None, self.house.gateway.tracer.as_ref().map(|tracer| tracer.spans())),
        };
        let prepared = async {
            let (ground, before) = (Arc::clone(&self.ground), Arc::clone(&self.house));
            let Built { house, jobs } = blocking(move || House::build(config, &ground, Some(&before), spans)).await??;
            let work = self.work.succeeded_by(jobs);
            until_ready(&house, &self.house).await?;
            let change = Change { rules, configuration: Hash(sha256), changed: changed.clone(), tap: lines };
            let told = self.ground.audit.change(change).await;
            told.map_err(|_| Refusal::Unready("the audit log cannot take the line that tells of it".to_owned()))?;
            Ok((house, work))
        };
        let (house, work) = match prepared.await {
            Ok(prepared) => prepared,
            Err(refusal) => {
                blocking(move || carriers.give_up()).await?;
                return Err(refusal);
            }
        };

        // From here on all of it is done.
        level.set();
        self.ground.metrics.show_most(subjects, teams);
        if !house.has_revocations_of(&self.house) {
            house.enforce_revocations();
        }
        let former = self.seen.replace(&house);
        (self.house, self.work) = (Arc::new(house), work);
        (self.sha256, self.on_change) = (sha256, on_change);
        let evidence = Arc::clone(&self.evidence);
        std::thread::spawn(move || {
            evidence.take_over(carriers);
            drop(former); // what is large of it goes here, if no request holds it
        });
        let outcome = if changed.is_empty() { ReloadOutcome::Unchanged } else { ReloadOutcome::Applied };
        tracing::info!(
            why,
            changed = changed.join(", "),
            sha256 = to_hex(&sha256),
            "another configuration is in force"
        );
        Ok(outcome)
    }
}

/// Waits until `house` may take the place of `before`.
async fn until_ready(house: &House, before: &House) -> Result<(), Refusal> {
    let until = Instant::now() + READY_WITHIN;
    loop {
        let missing = house.missing(before);
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Refusal::Unready(format!("{} did not come in time", missing.join(", "))));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Refusal {
    /// Every fault on a line of its own, and then what becomes of it.
    fn tell(&self, why: &'static str) {
        let problem = match self {
            Self::Unready(problem) => problem.clone(),
            Self::Faults(faults) => {
                for fault in faults {
                    let Fault { file, line, key, problem, mend } = fault;
                    let file = file.display();
                    tracing::error!(%file, line, key, problem, mend, "the new configuration has a fault");
                }
                format!("it has {} fault(s)", faults.len())
            }
        };
        tracing::error!(why, problem, "the new configuration is refused; the old one stays in force");
    }
}

/// What asks for a reload.
struct Triggers {
    hangup: Signal,
    file: PathBuf,
    followed: Option<FollowedFile>,
    /// The file has changed, and may still be being written.
    changing: bool,
}

impl Triggers {
    fn new(hangup: Signal, file: &std::path::Path) -> Self {
        Self { hangup, file: file.to_owned(), followed: None, changing: false }
    }

    /// Waits for the next reason to reload.
    async fn next(&mut self, on_change: bool) -> &'static str {
        if !on_change {
            (self.followed, self.changing) = (None, false);
            self.hangup.recv().await;
            return "SIGHUP";
        }
        let mut beat = tokio::time::interval(follow::INTERVAL);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    return "SIGHUP";
                }
                _ = beat.tick() => {
                    if self.has_changed().await {
                        return "its file has changed";
                    }
                }
            }
        }
    }

    /// Looks at the file; whether it has changed and is at rest again.
    async fn has_changed(&mut self) -> bool {
        let (file, mut followed) = (self.file.clone(), self.followed.take());
        let looked = tokio::task::spawn_blocking(move || {
            let look = match &mut followed {
                Some(followed) => followed.look().map_err(drop),
                // What it holds at the first look is what was read, or is read by a signal.
                None => FollowedFile::open(&file, MAX_FILE)
                    .map(|(file, _)| followed = Some(file))
                    .map(|()| Look::AsBefore)
                    .map_err(drop),
            };
            (followed, look)
        });
        let Ok((followed, look)) = looked.await else { return false };
        self.followed = followed;
        match look {
            Ok(Look::Changed(_)) => {
                self.changing = true;
                false
            }
            Ok(Look::AsBefore) => std::mem::take(&mut self.changing),
            Err(()) => false, // it may be on its way; who takes it away for good meant no reload
        }
    }
}

/// Does `work`, which may block or take long, beside the tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    // A panic's message may repeat what was being read.
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refusal::Unready("reading it failed within the proxy".to_owned()))
}
