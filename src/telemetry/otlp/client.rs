//! Posts what an exporter has encoded, with tries that are bounded, and reads what the collector did not take.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, Response, StatusCode};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message;
use tokio::sync::watch;

use crate::config::OtlpConfig;

/// An HTTP client as exporters take it.
pub(super) struct Client {
    http: reqwest::Client,
    /// Kept from the exporter, whose `Debug` would show them.
    headers: HeaderMap,
    /// Set once no more time is to be lost.
    stop: watch::Receiver<Option<Instant>>,
    rejected: Arc<AtomicU64>,
}

/// Tries to send one batch.
const TRIES: u32 = 4;
/// The wait after the first; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Longest wait, also when the collector asks for a longer one: the queue fills meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Longest answer that is read; it holds a count and a message.
const MAX_ANSWER: usize = 64 << 10;

impl Client {
    /// A client for the collector. Counts to `rejected` the records or spans that it takes a batch without.
    ///
    /// # Errors
    /// When there can be no client for TLS.
    pub(super) fn new(
        config: &OtlpConfig,
        stop: watch::Receiver<Option<Instant>>,
        rejected: Arc<AtomicU64>,
    ) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder()
            .timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none()) // records go where the configuration says
            .no_proxy();
        if let Some(ca) = &config.ca {
            let roots = reqwest::Certificate::from_pem_bundle(ca).map_err(|error| error.to_string())?;
            builder = builder.tls_certs_only(roots);
        }
        let http = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { http, headers: config.headers.iter().cloned().collect(), stop, rejected })
    }

    async fn try_once(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.http.request(request.method().clone(), request.uri().to_string());
        let sent = sent.headers(request.headers().clone()).headers(self.headers.clone()).body(request.body().clone());
        let mut answer = sent.send().await.map_err(reqwest::Error::without_url)?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        if let Some(wait) = answer.headers().get(RETRY_AFTER) {
            response.headers_mut().insert(RETRY_AFTER, wait.clone());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                // What it says is not known then, and its status holds all the same.
                body.clear();
                break;
            }
            body.extend_from_slice(&chunk);
        }
        *response.body_mut() = body.freeze();
        Ok(response)
    }

    /// Whether another try is worth it, and after how long.
    fn wait(tried: u32, outcome: &Result<Response<Bytes>, HttpError>) -> Option<Duration> {
        let backoff = FIRST_WAIT * 2_u32.saturating_pow(tried.saturating_sub(1));
        let wait = match outcome {
            Err(_) => backoff,
            // OTLP 1.x, "OTLP/HTTP Response", section "Retryable Response Codes".
            Ok(response) => match response.status() {
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => {
                    let asked = response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
                    asked.map_or(backoff, |asked| Duration::from_secs(asked).max(backoff))
                }
                _ => return None,
            },
        };
        (tried < TRIES).then(|| wait.min(LONGEST_WAIT))
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut stop = self.stop.clone();
        let mut tried = 0;
        loop {
            let outcome = self.try_once(&request).await;
            tried += 1;
            let is_stopping = stop.borrow_and_update().is_some();
            let Some(wait) = Self::wait(tried, &outcome).filter(|_| !is_stopping) else {
                if let Ok(response) = &outcome {
                    self.rejected.store(rejected(response), Ordering::Relaxed);
                }
                return outcome;
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.changed() => {} // one last try
            }
        }
    }
}

/// Records or spans of a batch that was taken in part: the answers for both have the same layout. One that cannot be read
/// says nothing of them.
fn rejected(response: &Response<Bytes>) -> u64 {
    let answer = ExportLogsServiceResponse::decode(response.body().as_ref()).ok();
    let partial = answer.filter(|_| response.status().is_success()).and_then(|answer| answer.partial_success);
    partial.map_or(0, |partial| u64::try_from(partial.rejected_log_records).unwrap_or_default())
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::unnecessary_wraps)] // as a client gives it
    fn answer(status: u16, retry_after: Option<&'static str>) -> Result<Response<Bytes>, HttpError> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(wait) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, wait.parse().unwrap());
        }
        Ok(response)
    }

    #[test]
    fn only_what_passes_is_tried_again_and_not_for_ever() {
        let millis = |tried, outcome| Client::wait(tried, &outcome).map(|wait| wait.as_millis());
        assert_eq!(millis(1, answer(200, None)), None);
        assert_eq!(millis(1, answer(400, None)), None);
        assert_eq!(millis(1, answer(500, None)), None);
        assert_eq!(millis(1, answer(503, None)), Some(200));
        assert_eq!(millis(3, answer(429, None)), Some(800));
        assert_eq!(millis(1, answer(429, Some("2"))), Some(2000));
        assert_eq!(millis(1, answer(429, Some("3600"))), Some(10_000));
        assert_eq!(millis(1, answer(429, Some("Wed, 21 Oct 2026 07:28:00 GMT"))), Some(200));
        assert_eq!(millis(2, Err("refused".into())), Some(400));
        assert_eq!(millis(4, answer(503, None)), None);
    }
}
