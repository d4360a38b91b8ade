//! Fetches an issuer's keys and keeps them fresh, beside the requests and never in their way.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Url};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::issuer::FetchedKeys;
use super::keys::KeySet;
use crate::config::IssuerRules;

/// Fetches one issuer's keys: at the start, every few minutes, and when a token names a key that is not known.
pub struct KeyFetcher {
    issuer_name: String,
    issuer: String,
    url: Url,
    discover: bool,
    keys: Arc<FetchedKeys>,
}

/// How old a good key set may get.
const REFRESH: Duration = Duration::from_secs(300);
/// How long a failed fetch is left alone.
const RETRY: Duration = Duration::from_secs(5);
/// How often tokens with unknown keys may cause a fetch.
const INTERVAL: Duration = Duration::from_secs(10);
/// Bound on one document, connect to last byte.
const TIMEOUT: Duration = Duration::from_secs(10);
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
    pub(super) fn new(rules: &IssuerRules, url: Url, discover: bool, keys: Arc<FetchedKeys>) -> Self {
        Self { issuer_name: rules.name.clone(), issuer: rules.issuer.clone(), url, discover, keys }
    }

    /// Fetches for as long as the future is polled. What fails is logged and tried again; the last good set stays.
    pub async fn run(&self) {
        let client = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(issuer = self.issuer_name, %error, "no HTTP client for fetching keys");
                return;
            }
        };
        loop {
            let fetched = Instant::now();
            let next = match self.fetch(&client).await {
                Ok(set) => {
                    tracing::info!(issuer = self.issuer_name, keys = set.len(), "fetched the issuer's keys");
                    self.keys.set.store(Some(Arc::new(set)));
                    REFRESH
                }
                Err(error) => {
                    tracing::warn!(issuer = self.issuer_name, error, "could not fetch the issuer's keys");
                    RETRY
                }
            };
            tokio::select! {
                () = sleep_until(fetched + next) => {}
                () = self.keys.wanted.notified() => sleep_until(fetched + INTERVAL).await,
            }
        }
    }

    async fn fetch(&self, client: &Client) -> Result<KeySet, String> {
        let mut url = self.url.clone();
        if self.discover {
            let metadata: Metadata =
                serde_json::from_slice(&get(client, url).await?).map_err(|_| "no OpenID provider metadata")?;
            // OpenID Connect Discovery 1.0 section 4.3: the issuer must be the very one that was asked for.
            if metadata.issuer != self.issuer {
                return Err("the metadata is another issuer's".to_owned());
            }
            url = Url::parse(&metadata.jwks_uri).map_err(|error| error.to_string())?;
            if !may_fetch(&url) {
                return Err("jwks_uri is not https".to_owned());
            }
        }
        KeySet::parse(&get(client, url).await?).map_err(|error| error.to_string())
    }
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

async fn get(client: &Client, url: Url) -> Result<Vec<u8>, String> {
    let mut response = client.get(url).send().await.map_err(|error| error.without_url().to_string())?;
    if !response.status().is_success() {
        return Err(format!("status {}", response.status().as_u16()));
    }
    let mut document = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| error.without_url().to_string())? {
        if document.len() + chunk.len() > MAX_DOCUMENT {
            return Err(format!("the document is above {MAX_DOCUMENT} bytes"));
        }
        document.extend_from_slice(&chunk);
    }
    Ok(document)
}
