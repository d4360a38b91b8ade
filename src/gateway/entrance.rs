//! What a connection goes through before its first request: the PROXY header, where one is demanded, and TLS.
//!
//! Pingora sets both up once for the life of a listener. Here each connection meets what is in force when it comes, so that a
//! reload changes them, and sessions that began under another certificate authority are not resumed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::server::ShutdownWatch;
use tokio::time::timeout;

use super::Current;
use super::proxy_protocol::HeaderRefused;

/// How long connections are left for a last request after another process has taken over: each answer says that its connection
/// closes, and SDKs close their own when they were idle for 5 s.
pub const PARTING: Duration = Duration::from_secs(5);
/// Time for a TLS handshake.
const PATIENCE: Duration = Duration::from_secs(60);

/// An application behind the entrance of whichever gateway is in force.
pub struct Entrance<A> {
    app: Arc<A>,
    current: Current,
    /// Another process takes the connections that come.
    succeeded: Arc<AtomicBool>,
}

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
enum Closed {
    #[error(transparent)]
    Header(#[from] HeaderRefused),
    #[error("the TLS handshake failed: {0}")]
    Handshake(Box<pingora::Error>),
    #[error("the TLS handshake did not end in time")]
    Late,
    #[error("it is no socket")]
    NoSocket,
}

impl<A> Entrance<A> {
    /// The application `app`. Once `succeeded` is set, a stop leaves connections for [`PARTING`].
    pub fn new(app: A, current: &Current, succeeded: &Arc<AtomicBool>) -> Self {
        Self { app: Arc::new(app), current: Arc::clone(current), succeeded: Arc::clone(succeeded) }
    }

    async fn admit(&self, mut stream: Stream) -> Result<Stream, Closed> {
        let (header, tls) = {
            let gateway = self.current.load();
            (gateway.header.clone(), gateway.tls.as_ref().map(|tls| tls.server()))
        };
        if let Some(header) = header {
            header.take(stream.as_mut()).await?;
        }
        let Some(tls) = tls else { return Ok(stream) };
        let socket = stream.into_any().downcast::<L4Stream>().map_err(|_| Closed::NoSocket)?;
        let acceptor = Acceptor::from_server_config(tls);
        let handshake = timeout(PATIENCE, acceptor.tls_handshake(*socket)).await.map_err(|_| Closed::Late)?;
        Ok(Box::new(handshake.map_err(Closed::Handshake)?))
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Entrance<A> {
    /// Serves the connection to its end: Pingora's own applications reuse it themselves.
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        match self.admit(stream).await {
            Ok(stream) => self.app.process_new(stream, shutdown).await,
            Err(closed) => {
                tracing::warn!(reason = %closed, "closed a connection");
                None
            }
        }
    }

    /// Pingora closes idle connections here, and with them requests that have just been written to them.
    async fn cleanup(&self) {
        if self.succeeded.load(Ordering::Relaxed) {
            tokio::time::sleep(PARTING).await;
        }
        self.app.cleanup().await;
    }
}
