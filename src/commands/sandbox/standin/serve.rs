//! Sockets, TLS and the faults below HTTP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Standin;
use super::wire::{GarbageSwitch, Wire};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(50);

/// Which connection a request came on, counted from one. An extension of every request.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionNumber(pub u64);

/// A fault that no response can express. As an extension of a response it replaces the response.
#[derive(Debug, Clone, Copy)]
pub enum WireFault {
    /// HTTP/1.1: the connection is closed. HTTP/2: the stream is reset.
    Close,
    /// What the connection sends from now on is no HTTP.
    Garbage,
}

/// Accepts until the task is dropped, and takes the open connections with it.
///
/// `tls` must demand a client certificate and offer `h2` and `http/1.1` in its ALPN protocols. Without it anybody who
/// reaches the listener can use the stand-in.
pub async fn serve(standin: Arc<Standin>, listener: TcpListener, tls: Option<Arc<ServerConfig>>) {
    let acceptor = tls.map(TlsAcceptor::from);
    let router = Arc::clone(&standin).router();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely out of file descriptors, which passes.
            tokio::time::sleep(AFTER_ACCEPT_ERROR).await;
            continue;
        };
        let connection = Connection { standin: Arc::clone(&standin), router: router.clone() };
        connections.spawn(connection.run(stream, acceptor.clone()));
    }
}

struct Connection {
    standin: Arc<Standin>,
    router: Router,
}

impl Connection {
    async fn run(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        // Each event has to leave when it is written.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let Some(acceptor) = acceptor else {
            return self.speak_http(stream).await;
        };
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
        // A client without the right certificate is no connection: it gets no number.
        if let Ok(Ok(stream)) = handshake.await {
            self.speak_http(stream).await;
        }
    }

    async fn speak_http(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let number = ConnectionNumber(self.standin.count_connection());
        let garbage = GarbageSwitch::default();
        let io = TokioIo::new(Wire::new(stream, garbage.clone()));
        let router = TowerToHyperService::new(self.router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(number);
            let response = router.call(request);
            let garbage = garbage.clone();
            async move {
                let Ok(response) = response.await;
                inflict(response, &garbage)
            }
        });
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http1().timer(TokioTimer::new());
        server.http2().timer(TokioTimer::new());
        // An error here is a fault of the client or one of ours on purpose.
        let _ended = server.serve_connection(io, service).await;
    }
}

fn inflict(response: Response, garbage: &GarbageSwitch) -> io::Result<Response> {
    match response.extensions().get::<WireFault>() {
        Some(WireFault::Close) => Err(io::Error::other("closed as the scenario asks")),
        Some(WireFault::Garbage) => {
            garbage.set();
            Ok(response)
        }
        None => Ok(response),
    }
}
