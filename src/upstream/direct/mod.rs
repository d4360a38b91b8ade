//! Requests of our own to the upstream: health checks, trials of keys, exchanges of tokens, `doctor`.
//!
//! They share the [`Trust`] of Pingora's connections and nothing else: each has a connection of its own, which ends with the
//! answer. A call is one future, and leaves nothing behind when it is dropped.

mod fault;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin as Pinned, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, ProtocolVersion};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use fault::{DirectFault, TlsFault, is_about_certificate};

use super::pin::Pin;
use super::trust::{Trust, TrustStore};
use crate::expiry::Validity;

/// Longest head of an answer.
const MAX_HEAD: usize = 64 << 10;
/// Longest body of an answer.
const MAX_BODY: usize = 1 << 20;
/// How long a TLS 1.3 upstream has for its word about our client certificate, which it can only say after the handshake.
pub(super) const LAST_WORD: Duration = Duration::from_secs(1);

/// Makes requests of our own.
pub struct Direct {
    trust: Option<Arc<TrustStore>>,
    host: Option<HeaderValue>,
    timeouts: ConnectTimeouts,
}

/// Bounds on setting a connection up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectTimeouts {
    /// On TCP.
    pub tcp: Duration,
    /// On TLS, from the first byte.
    pub tls: Duration,
}

/// What a handshake has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// `None` is plain text.
    pub tls: Option<TlsHandshake>,
}

/// What TLS has agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsHandshake {
    /// Such as `TLSv1_3`.
    pub version: &'static str,
    /// Who has signed the upstream's certificate, by its distinguished name.
    pub leaf_issuer: String,
    /// When the upstream's certificate ends.
    pub leaf_not_after: SystemTime,
    /// The upstream's public key, as a pin.
    pub leaf_pin: Pin,
}

impl Direct {
    /// Connections are made with what `trust` has in force, or in plain text without it. Requests carry `host` as their
    /// `Host`, or the address where it is empty.
    pub fn new(trust: Option<Arc<TrustStore>>, host: &str, timeouts: ConnectTimeouts) -> Self {
        let host = HeaderValue::from_str(host).ok().filter(|host| !host.is_empty());
        Self { trust, host, timeouts }
    }

    /// What TLS is set up with; `None` is plain text.
    pub fn trust(&self) -> Option<&Arc<TrustStore>> {
        self.trust.as_ref()
    }

    /// Connects and completes TLS, resuming nothing, so that all certificates are verified anew.
    ///
    /// A TLS 1.3 upstream can refuse our client certificate only after the handshake. So its first word is waited for: the
    /// refusal, or the session ticket that servers send to clients whom they accept. One that says neither within a second
    /// has accepted, as far as can be known: only a request would tell. No request is under way meanwhile, whose bytes could
    /// turn the refusal into a reset.
    ///
    /// # Errors
    /// [`DirectFault`]
    pub async fn handshake(&self, address: SocketAddr) -> Result<Handshake, DirectFault> {
        let tcp = self.tcp(address).await?;
        let Some(store) = &self.trust else { return Ok(Handshake { tls: None }) };
        let mut stream = self.tls(store, store.current().complete(), tcp).await?;
        let (_, session) = stream.get_ref();
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        let unreadable = || TlsFault::Other("the upstream's certificate does not parse".to_owned());
        let shown = TlsHandshake {
            version: session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS"),
            leaf_issuer: leaf.and_then(issuer).ok_or_else(unreadable)?,
            leaf_not_after: leaf.and_then(|leaf| Validity::of(leaf).ok()).ok_or_else(unreadable)?.not_after,
            leaf_pin: leaf.and_then(Pin::of).ok_or_else(unreadable)?,
        };
        if session.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            && let Ok(said) = timeout(LAST_WORD, last_word(&mut stream)).await
        {
            said?;
        }
        Ok(Handshake { tls: Some(shown) })
    }

    /// Has the verifier of `trust` see the leaf that is shown at `address`.
    pub(super) async fn learn(&self, trust: &Trust, address: SocketAddr) -> Result<(), DirectFault> {
        let tcp = self.tcp(address).await?;
        if let Some(store) = &self.trust {
            self.tls(store, trust.complete(), tcp).await?;
        }
        Ok(())
    }

    /// Sends one request by HTTP/1.1 and gives the whole answer, of at most 1 MiB, within a bound on everything from the
    /// connection to the last byte. Of the request's URI only path and query are sent.
    ///
    /// A refusal of our client certificate may show here as [`DirectFault::Http`] alone: a reset overtakes the alert when the
    /// request's bytes meet a closed connection. [`Direct::handshake`] tells for sure.
    ///
    /// # Errors
    /// [`DirectFault`]
    pub async fn send(
        &self,
        address: SocketAddr,
        request: Request<Bytes>,
        within: Duration,
    ) -> Result<Response<Bytes>, DirectFault> {
        let request = self.addressed(address, request)?;
        let answer = async {
            let tcp = self.tcp(address).await?;
            match &self.trust {
                Some(store) => exchange(self.tls(store, store.current().resuming(), tcp).await?, request).await,
                None => exchange(tcp, request).await,
            }
        };
        timeout(within, answer).await.unwrap_or(Err(DirectFault::Timeout))
    }

    /// The request as it goes over the connection.
    fn addressed(&self, address: SocketAddr, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, DirectFault> {
        let unusable = |error: &dyn std::error::Error| DirectFault::Http(error.to_string());
        let (mut head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        head.uri = Uri::try_from(target).map_err(|error| unusable(&error))?;
        let host = match &self.host {
            Some(host) => host.clone(),
            None => HeaderValue::try_from(address.to_string()).map_err(|error| unusable(&error))?,
        };
        head.headers.insert(HOST, host);
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        Ok(Request::from_parts(head, Full::new(body)))
    }

    async fn tcp(&self, address: SocketAddr) -> Result<TcpStream, DirectFault> {
        let connected = timeout(self.timeouts.tcp, TcpStream::connect(address)).await;
        let stream = connected.map_err(|_| DirectFault::TcpTimeout)?;
        stream.map_err(|error| DirectFault::Tcp(error.to_string()))
    }

    async fn tls(
        &self,
        store: &TrustStore,
        config: Arc<ClientConfig>,
        tcp: TcpStream,
    ) -> Result<TlsStream<TcpStream>, DirectFault> {
        let connector = TlsConnector::from(config);
        let connected = timeout(self.timeouts.tls, connector.connect(store.server_name().clone(), tcp)).await;
        connected.map_err(|_| DirectFault::TlsTimeout)?.map_err(|error| DirectFault::of_io(&error))
    }
}

/// Who has signed a certificate; `None` when it does not parse.
fn issuer(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.issuer().to_string())
}

/// Reads until the upstream has sent a session ticket, data, an alert, or the connection's end.
async fn last_word(stream: &mut TlsStream<TcpStream>) -> Result<(), DirectFault> {
    let mut byte = [0];
    poll_fn(|context| {
        let mut buffer = ReadBuf::new(&mut byte);
        match Pinned::new(&mut *stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                let ended = TlsFault::Other("the upstream ends the connection after the handshake".to_owned());
                Poll::Ready(Err(ended.into()))
            }
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(DirectFault::of_io(&error))),
            Poll::Pending if stream.get_ref().1.tls13_tickets_received() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// One request and its answer over a connection, which is driven by this very future.
async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, DirectFault>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let http = |error: hyper::Error| DirectFault::of_http(&error);
    let mut builder = http1::Builder::new();
    builder.max_header_size(MAX_HEAD).max_buf_size(MAX_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(http)?;
    let answer = pin!(async move {
        let (head, body) = sender.send_request(request).await.map_err(http)?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| {
            let unread = || DirectFault::Http(error.to_string());
            if error.is::<LengthLimitError>() {
                return DirectFault::TooLarge;
            }
            error.downcast_ref::<hyper::Error>().map_or_else(unread, DirectFault::of_http)
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    });
    match select(answer, Box::pin(connection)).await {
        Either::Left((answer, _)) => answer,
        // The connection may end before the last of its answer is taken.
        Either::Right((_, answer)) => answer.await,
    }
}

#[cfg(test)]
mod tests;
