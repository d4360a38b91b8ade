//! Beats of the signals, and what follows them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::time::MissedTickBehavior;

use crate::anomaly::{Options, Signals, Snapshot, StateFile};
use crate::audit::{AuditLog, Containment, VERSION, rfc3339};
use crate::containment::{ContainmentFile, Containments, Event, LiftFile, MAX_FILE, Released, Rule};
use crate::follow::{self, FollowedFile, Look};

/// The signals and the containments, with the files that they outlive a restart by.
pub(super) struct Watch {
    pub(super) signals: Option<Arc<Signals>>,
    pub(super) containments: Arc<Containments>,
    state: StateFile,
    file: ContainmentFile,
    lifts: LiftFile,
    /// The file of lifts as it was at the last look.
    followed: Mutex<Option<FollowedFile>>,
    audit: AuditLog,
    /// Another process watches and writes the files: the one before, or the one after.
    rests: AtomicBool,
    /// Held while the file of containments is written: an older state must not land on a newer one.
    saving: Mutex<()>,
}

/// Time between two writes of what was learnt.
const SAVE: Duration = Duration::from_secs(300);
/// Time between two beats where no signals are.
const BEAT: Duration = Duration::from_secs(10);

impl Watch {
    /// Reads what is in force and what was learnt. Blocks.
    ///
    /// # Errors
    /// When what is in force cannot be read: a restart would lift it.
    pub(super) fn open(
        options: Option<Options>,
        rules: Vec<Rule>,
        folder: &std::path::Path,
        audit: AuditLog,
    ) -> Result<Self, String> {
        let file = ContainmentFile::within(folder);
        let held = file.load().map_err(|problem| format!("{problem}; take it away to begin with no containment"))?;
        let state = StateFile::within(folder);
        Ok(Self {
            signals: options.map(|options| Arc::new(state.load(options))),
            containments: Arc::new(Containments::new(rules, held)),
            state,
            file,
            lifts: LiftFile::within(folder),
            followed: Mutex::default(),
            audit,
            rests: AtomicBool::new(false),
            saving: Mutex::default(),
        })
    }

    /// Beats, and follows what is to be lifted, for as long as the future is polled.
    pub(super) async fn run(self: Arc<Self>) {
        let beats = async {
            let interval = self.signals.as_ref().map_or(BEAT, |signals| signals.interval());
            let mut beat = tokio::time::interval(interval);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut saved = Instant::now();
            loop {
                beat.tick().await;
                if self.rests() {
                    continue;
                }
                self.beat().await;
                if saved.elapsed() >= SAVE {
                    saved = Instant::now();
                    let watch = Arc::clone(&self);
                    let _ = tokio::task::spawn_blocking(move || watch.keep()).await; // fails only at a stop
                }
            }
        };
        let lifts = async {
            let mut look = tokio::time::interval(follow::INTERVAL);
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                look.tick().await;
                if self.rests() {
                    continue;
                }
                let watch = Arc::clone(&self);
                let ids = tokio::task::spawn_blocking(move || watch.look()).await.unwrap_or_default();
                if !ids.is_empty() {
                    self.tell(self.containments.lift(&ids, SystemTime::now())).await;
                }
            }
        };
        tokio::join!(beats, lifts);
    }

    /// Leaves watching to another process; once this returns, nothing is written any more. Blocks.
    pub(super) fn rest(&self) {
        self.rests.store(true, Ordering::Relaxed);
        drop(self.saving.lock().unwrap_or_else(PoisonError::into_inner)); // a write that is under way ends first
    }

    /// Watches again: the other process does not.
    pub(super) fn wake(&self) {
        self.rests.store(false, Ordering::Relaxed);
    }

    /// Goes on where another process rests, with what it has in force. Blocks.
    ///
    /// # Errors
    /// When that cannot be read; what was in force at the start stays so.
    pub(super) fn go_on(&self) -> Result<(), String> {
        let held = self.file.load().map(|held| self.containments.adopt(held));
        self.wake();
        held
    }

    fn rests(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }

    /// Writes what was learnt. Blocks.
    pub(super) fn keep(&self) {
        if self.rests() {
            return;
        }
        if let Some(signals) = &self.signals
            && let Err(error) = self.state.save(signals)
        {
            tracing::error!(%error, "cannot write what is usual: a restart would go on from an older state");
        }
    }

    fn save(&self) -> std::io::Result<()> {
        let _one = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        if self.rests() { Ok(()) } else { self.file.save(&self.containments.held()) }
    }

    async fn beat(self: &Arc<Self>) {
        let now = SystemTime::now();
        let snapshot = self.signals.as_ref().map_or_else(Arc::<Snapshot>::default, |signals| signals.beat(now));
        self.tell(self.containments.beat(&snapshot, now)).await;
    }

    /// What the file of lifts says, if it has changed.
    fn look(&self) -> Vec<String> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let content = match &mut *followed {
            Some(file) => match file.look() {
                Ok(Look::Changed(content)) => content,
                Ok(Look::AsBefore) | Err(_) => return Vec::new(),
            },
            None => match FollowedFile::open(self.lifts.path(), MAX_FILE) {
                Ok((file, content)) => {
                    *followed = Some(file);
                    content
                }
                Err(_) => return Vec::new(), // nobody has lifted anything yet
            },
        };
        LiftFile::parse(&content)
    }

    /// Keeps and records what has changed.
    async fn tell(self: &Arc<Self>, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let watch = Arc::clone(self);
        let saved = tokio::task::spawn_blocking(move || watch.save()).await;
        if let Err(error) = saved.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            tracing::error!(%error, "cannot write the containments: a restart would change them");
        }
        let time = rfc3339(SystemTime::now());
        for event in events {
            let (held, name, cause) = match &event {
                Event::Contained(held) => (held, "contained", None),
                Event::Released(held, Released::Expired) => (held, "released", Some("expired")),
                Event::Released(held, Released::Lifted) => (held, "released", Some("lifted")),
            };
            let (rule, mode, action) = (&held.rule, held.mode.name(), held.action.name());
            tracing::warn!(containment = held.id, rule, mode, action, target = %held.target, cause, "{name}");
            let line = Containment {
                event: name,
                version: VERSION,
                time: &time,
                containment: &held.id,
                rule,
                mode,
                signal: held.signal.name(),
                score: held.score,
                kind: held.target.kind(),
                issuer: held.target.issuer(),
                name: held.target.name(),
                action,
                to: held.action.to_what(),
                since: &rfc3339(held.since),
                until: &rfc3339(held.until),
                cause,
            };
            self.audit.write_containment(&line).await;
        }
    }
}
