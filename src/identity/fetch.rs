//! Fetches an issuer's keys and keeps them fresh, beside the requests and never in their way.

use std::any::Any;
use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::CACHE_CONTROL;
use reqwest::{Client, Url};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::fetched::FetchedKeys;
use super::keys::KeySet;
use super::saved::SavedKeys;
use crate::config::IssuerRules;

/// Fetches one issuer's keys: at the start, every few minutes, and when a token names a key that is not known.
pub struct KeyFetcher {
    issuer_name: String,
    issuer: String,
    source: Source,
    pace: Pace,
    keys: Arc<FetchedKeys>,
    saved: Option<Arc<SavedKeys>>,
}

/// Where a key set is found.
pub(super) struct Source {
    /// The JWKS document, or the metadata that names it.
    pub(super) url: Url,
    pub(super) discover: bool,
}

/// How often and for how long keys are asked for.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// After a success.
    refresh: Duration,
    /// After a failure.
    retry: Duration,
    /// The least between two fetches, however many tokens name unknown keys.
    interval: Duration,
    /// Bound on one fetch, metadata included, connect to last byte.
    timeout: Duration,
}

/// The longest time between a failed fetch and the next.
const RETRY: Duration = Duration::from_secs(5);
/// How often tokens with unknown keys may cause a fetch.
const INTERVAL: Duration = Duration::from_secs(10);
/// Bound on one fetch.
const TIMEOUT: Duration = Duration::from_secs(10);
/// However short-lived a document says that it is, it is not fetched more often than this.
const SHORTEST_REFRESH: Duration = Duration::from_secs(60);
/// Bound on one document's size.
const MAX_DOCUMENT: usize = 1 << 20;

/// Whether keys may be fetched from `url`: by https from anywhere, by plain http from this host alone.
pub fn may_fetch(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    url.scheme() == "https" || url.scheme() == "http" && loopback
}

impl KeyFetcher {
    pub(super) fn new(
        rules: &IssuerRules,
        source: Source,
        refresh: Duration,
        keys: Arc<FetchedKeys>,
        saved: Option<SavedKeys>,
    ) -> Self {
        Self {
            issuer_name: rules.name.clone(),
            issuer: rules.issuer.clone(),
            source,
            pace: Pace { refresh, retry: RETRY, interval: INTERVAL, timeout: TIMEOUT },
            keys,
            saved: saved.map(Arc::new),
        }
    }

    /// What it is the fetcher of: one is enough, however many there are.
    pub fn subject(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.keys) as _
    }

    /// Fetches for as long as the future is polled. What fails is logged and tried again; the last good set stays until it
    /// is too old.
    pub async fn run(&self) {
        let client = match client() {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(issuer = self.issuer_name, %error, "no HTTP client for fetching keys");
                return;
            }
        };
        loop {
            let started = Instant::now();
            self.keys.begin();
            let pause = self.refresh(&client).await;
            tokio::select! {
                () = sleep_until(started + pause) => {}
                () = self.keys.wanted() => sleep_until(started + pause.min(self.pace.interval)).await,
            }
        }
    }

    /// Fetches once and keeps nothing, for whoever only wants to know whether that works; how many keys there are.
    ///
    /// # Errors
    /// Says what cannot be fetched or is no key set.
    pub async fn try_once(&self) -> Result<usize, String> {
        let client = client().map_err(|error| format!("no HTTP client: {error}"))?;
        self.fetch_in_time(&client).await.map(|(keys, _)| keys.len())
    }

    /// Fetches once; how long after its start the next fetch is due.
    async fn refresh(&self, client: &Client) -> Duration {
        let fetched = self.fetch_in_time(client).await;
        self.keys.count(fetched.is_ok());
        match fetched {
            Ok((keys, document)) => {
                let now = SystemTime::now();
                tracing::info!(issuer = self.issuer_name, keys = keys.len(), "fetched the issuer's keys");
                self.keys.put(keys, now);
                let asked = document.max_age.map(|max_age| max_age.max(SHORTEST_REFRESH));
                self.save(document.bytes, now).await;
                asked.map_or(self.pace.refresh, |asked| asked.min(self.pace.refresh))
            }
            Err(error) => {
                tracing::warn!(issuer = self.issuer_name, error, "could not fetch the issuer's keys");
                if self.keys.drop_if_old(SystemTime::now()) {
                    tracing::error!(issuer = self.issuer_name, "the issuer's last good keys are too old to be used");
                }
                self.pace.retry
            }
        }
    }

    async fn fetch_in_time(&self, client: &Client) -> Result<(KeySet, Document), String> {
        let fetched = tokio::time::timeout(self.pace.timeout, self.fetch(client)).await;
        fetched.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.pace.timeout)))
    }

    async fn fetch(&self, client: &Client) -> Result<(KeySet, Document), String> {
        let mut url = self.source.url.clone();
        if self.source.discover {
            let document = get(client, url).await?;
            let metadata: Metadata =
                serde_json::from_slice(&document.bytes).map_err(|_| "no OpenID provider metadata")?;
            // OpenID Connect Discovery 1.0 section 4.3: the issuer must be the very one that was asked for.
            if metadata.issuer != self.issuer {
                return Err("the metadata is another issuer's".to_owned());
            }
            url = Url::parse(&metadata.jwks_uri).map_err(|error| error.to_string())?;
            if !may_fetch(&url) {
                return Err("jwks_uri is not https".to_owned());
            }
        }
        let document = get(client, url).await?;
        let keys = KeySet::parse(&document.bytes).map_err(|error| format!("the document {error}"))?;
        Ok((keys, document))
    }

    /// Keeps the document for the next start. Keys that cannot be kept serve all the same.
    async fn save(&self, document: Vec<u8>, fetched: SystemTime) {
        let Some(saved) = self.saved.clone() else { return };
        let written = tokio::task::spawn_blocking(move || saved.save(&document, fetched)).await;
        if let Err(error) = written.map_err(std::io::Error::other).flatten() {
            tracing::warn!(issuer = self.issuer_name, %error, "could not keep the issuer's keys on disk");
        }
    }
}

/// Redirects would lead past the rule of what may be fetched. The time is bounded around the whole fetch.
fn client() -> reqwest::Result<Client> {
    Client::builder().redirect(reqwest::redirect::Policy::none()).build()
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

struct Document {
    bytes: Vec<u8>,
    max_age: Option<Duration>,
}

async fn get(client: &Client, url: Url) -> Result<Document, String> {
    let too_large = || format!("the document is above {MAX_DOCUMENT} bytes");
    let mut response = client.get(url).send().await.map_err(words)?;
    if !response.status().is_success() {
        return Err(format!("status {}", response.status().as_u16()));
    }
    let max_age = response.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
    if response.content_length().is_some_and(|length| length > MAX_DOCUMENT as u64) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(words)? {
        if bytes.len() + chunk.len() > MAX_DOCUMENT {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Document { bytes, max_age })
}

/// The error with what is behind it, which reqwest's own words leave out, and without the URL, which may hold a secret.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

/// The `max-age` of a `Cache-Control` header (RFC 9111 section 5.2.2.1).
fn max_age(value: &str) -> Option<Duration> {
    value.split(',').find_map(|directive| {
        let (name, seconds) = directive.trim().split_once('=')?;
        let seconds = seconds.trim_matches('"').parse().ok()?;
        name.eq_ignore_ascii_case("max-age").then(|| Duration::from_secs(seconds))
    })
}

#[cfg(test)]
mod tests;
