//! The store that hosts share: Redis or Valkey, over a connection that nobody waits for.
//!
//! [`Store::upkeep`] connects, and tries the connection twice a second. [`Store::call`] has 50 ms for everything: a call
//! that takes longer or fails shuts the store for all, and until a try succeeds calls fail at once. So a store that is gone
//! costs a request nothing, and one that is slow costs some requests 50 ms.

mod connection;

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use redis::{Cmd, RedisResult};
use tokio::sync::Notify;

pub use connection::Connection;
use connection::Connector;

use crate::config::StoreConfig;

/// The store that hosts share.
pub struct Store {
    connector: Connector,
    connection: Mutex<Option<Connection>>,
    prefix: String,
    instances: u64,
    up: AtomicBool,
    /// Whether the log was told that it is down.
    told: AtomicBool,
    failures: AtomicU64,
    opened: Notify,
    call_time: Duration,
}

/// What a look at the store has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Examined {
    /// How long it took to answer.
    pub round_trip: Duration,
    /// The time by its own clock.
    pub time: SystemTime,
    /// The times by ours between which it was told.
    pub between: (SystemTime, SystemTime),
}

/// The store does not answer, or not in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store does not answer")]
pub struct StoreDown;

impl Store {
    /// A store by its configuration. Nothing is connected yet: [`Store::upkeep`] does that.
    ///
    /// # Errors
    /// Says what the client library does not take, certificates for instance.
    pub fn new(config: &StoreConfig) -> Result<Self, String> {
        Ok(Self {
            connector: Connector::new(config).map_err(|error| error.to_string())?,
            connection: Mutex::default(),
            prefix: config.prefix.clone(),
            instances: config.instances.get(),
            up: AtomicBool::new(false),
            told: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            opened: Notify::new(),
            call_time: CALL,
        })
    }

    /// The same store with another time for calls: tests share a machine.
    #[cfg(test)]
    pub(crate) fn with_time(self, call_time: Duration) -> Self {
        Self { call_time, ..self }
    }

    /// Whether the last call or try succeeded.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Calls and tries that failed; calls that were not made because the store was known to be down are not among them.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What every key begins with, as a cluster's hash tag: all keys of one prefix lie in one slot, and so a script may use
    /// any of them together.
    pub fn key(&self, name: &str) -> String {
        format!("{{{}}}:{name}", self.prefix)
    }

    /// How many hosts share the store.
    pub fn instances(&self) -> u64 {
        self.instances
    }

    /// Calls the store within 50 ms, the wait for the connection included.
    ///
    /// # Errors
    /// When it is known to be down, and when `work` fails or takes longer: then it is down from now on.
    pub async fn call<T, F>(&self, work: impl FnOnce(Connection) -> F) -> Result<T, StoreDown>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let connection = if self.is_up() { self.connection() } else { None };
        let connection = connection.ok_or(StoreDown)?;
        match within(self.call_time, work(connection)).await {
            Ok(value) => Ok(value),
            Err(problem) => {
                self.shut(&problem);
                Err(StoreDown)
            }
        }
    }

    /// Connects, tries, and connects anew. Never ends; runs once, beside the serving.
    pub async fn upkeep(&self) {
        loop {
            if self.is_up() || self.connection().is_some() {
                self.try_connection().await;
            }
            if !self.is_up() {
                self.connect().await;
            }
            // After a failure the next try waits as long as any other: a store that is too slow gets time to recover.
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until the store answers, `at_most` this long; whether it does.
    pub async fn wait_until_up(&self, at_most: Duration) -> bool {
        let wait = async {
            loop {
                let opened = self.opened.notified();
                if self.is_up() {
                    return;
                }
                opened.await;
            }
        };
        tokio::time::timeout(at_most, wait).await.is_ok()
    }

    async fn connect(&self) {
        match within(CONNECT, self.connector.connect()).await {
            Ok(connection) => {
                *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
                self.try_connection().await;
            }
            Err(problem) => self.shut(&problem),
        }
    }

    async fn try_connection(&self) {
        let Some(mut connection) = self.connection() else { return };
        match within(self.call_time, self.trial().exec_async(&mut connection)).await {
            Ok(()) => self.open(),
            Err(problem) => {
                *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.shut(&problem);
            }
        }
    }

    /// A try writes, for a store that takes no writes (a replica, one out of memory) is of no use.
    fn trial(&self) -> Cmd {
        let mut command = redis::cmd("SET");
        command.arg(self.key("try")).arg(1).arg("PX").arg(10_000);
        command
    }

    /// Makes a connection of its own and asks for what serving needs, for whoever only wants to know whether that works.
    ///
    /// # Errors
    /// Says what the store or the way to it refuses.
    pub async fn examine(&self) -> Result<Examined, String> {
        let mut connection = within(CONNECT, self.connector.connect()).await?;
        let began = Instant::now();
        within(CONNECT, redis::cmd("PING").exec_async(&mut connection)).await?;
        let round_trip = began.elapsed();
        within(CONNECT, self.trial().exec_async(&mut connection)).await?;
        let asked = SystemTime::now();
        let (seconds, micros) = within(CONNECT, redis::cmd("TIME").query_async::<(u64, u64)>(&mut connection)).await?;
        let time = Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros));
        let time = SystemTime::UNIX_EPOCH.checked_add(time).ok_or("the store's time is out of range")?;
        Ok(Examined { round_trip, time, between: (asked, SystemTime::now()) })
    }

    fn connection(&self) -> Option<Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn open(&self) {
        self.up.store(true, Ordering::Relaxed);
        self.opened.notify_waiters();
        if self.told.swap(false, Ordering::Relaxed) {
            tracing::info!("the store answers again");
        }
    }

    fn shut(&self, problem: &str) {
        self.up.store(false, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed);
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::error!(%problem, "the store does not answer: limits hold as their on_store_failure says");
        }
    }
}

async fn within<T>(time: Duration, work: impl Future<Output = RedisResult<T>>) -> Result<T, String> {
    match tokio::time::timeout(time, work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} ms", time.as_millis())),
    }
}

/// The longest that a request waits for the store.
const CALL: Duration = Duration::from_millis(50);
/// The longest that connecting may take; no request waits for it.
const CONNECT: Duration = Duration::from_secs(2);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);
