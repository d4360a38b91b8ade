//! An upstream that does to every connection what a script says, byte by byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::upstream::{listener, runtime};

/// What is done next to a connection. After the last step it is closed.
#[derive(Debug, Clone)]
pub enum Step {
    /// Reads a request with its body.
    ReadRequest,
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes so many times.
    Flood(Vec<u8>, usize),
    /// Waits until [`Scripted::go_on`], so that the peer has read what came before.
    Await,
    /// Does nothing more until the peer closes.
    Stall,
    /// Resets the connection.
    Reset,
    /// Closes the TCP connection without the end of TLS.
    Cut,
}

/// Where the steps are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// On the bare connection.
    Tcp,
    /// Inside TLS, where the upstream speaks it.
    Http,
}

/// A running scripted upstream.
pub struct Scripted {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    tls: Option<Arc<ServerConfig>>,
    script: Mutex<(Layer, Vec<Step>)>,
    requests: AtomicUsize,
    go_on: Notify,
}

impl Scripted {
    /// Starts one on a free port, which closes every connection at first.
    pub fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = listener(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let script = Mutex::new((Layer::Tcp, Vec::new()));
        let state = Arc::new(State { tls, script, requests: AtomicUsize::new(0), go_on: Notify::new() });
        let play = Arc::clone(&state);
        let accepting = runtime().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&play).play(stream));
            }
        });
        Self { address, state, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does these steps to every connection to come.
    pub fn play(&self, layer: Layer, steps: &[Step]) {
        *self.state.script.lock().unwrap() = (layer, steps.to_vec());
    }

    /// Lets one connection go on that awaits it, or will.
    pub fn go_on(&self) {
        self.state.go_on.notify_one();
    }

    /// How many requests were read.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    async fn play(self: Arc<Self>, stream: TcpStream) {
        let (layer, steps) = self.script.lock().unwrap().clone();
        match &self.tls {
            Some(tls) if layer == Layer::Http => {
                if let Ok(stream) = TlsAcceptor::from(Arc::clone(tls)).accept(stream).await {
                    self.take(steps, stream).await;
                }
            }
            _ => self.take(steps, stream).await,
        }
    }

    /// Takes the steps; what fails because the peer has left shows in what the peer did.
    async fn take(&self, steps: Vec<Step>, mut wire: impl Wire) {
        for step in steps {
            match step {
                Step::ReadRequest if read_request(&mut wire).await.is_some() => {
                    self.requests.fetch_add(1, Ordering::Relaxed);
                }
                Step::ReadRequest => return,
                Step::Send(bytes) => {
                    let _ = wire.write_all(&bytes).await;
                    let _ = wire.flush().await;
                }
                Step::Flood(bytes, times) => {
                    for _ in 0..times {
                        if wire.write_all(&bytes).await.is_err() {
                            return;
                        }
                    }
                }
                Step::Await => self.go_on.notified().await,
                Step::Stall => return drain(&mut wire).await,
                Step::Reset => return wire.tcp().set_zero_linger().unwrap(),
                Step::Cut => {
                    let _ = wire.tcp().shutdown().await;
                    return drain(&mut wire).await;
                }
            }
        }
        let _ = wire.shutdown().await;
        drain(&mut wire).await; // what is closed with bytes unread would be a reset
    }
}

/// A connection, with or without TLS.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&mut self) -> &mut TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&mut self) -> &mut TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&mut self) -> &mut TcpStream {
        self.get_mut().0
    }
}

async fn drain(wire: &mut impl Wire) {
    let mut bytes = [0; 4096];
    while wire.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}

/// Reads a head and as much body as it announces; `None` when the peer leaves before.
async fn read_request(wire: &mut impl Wire) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(wire.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.split_once("\r\n"));
    let mut body = vec![0; length.map_or(0, |(length, _)| length.parse().unwrap())];
    wire.read_exact(&mut body).await.ok().map(|_| ())
}
