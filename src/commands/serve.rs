//! `portcullis serve`: composes the rooms into a running proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{OptionFuture, join_all, join3};
use pingora::prelude::{Server, background_service};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::background::BackgroundService;
use pingora::services::listening::Service;
use pingora_proxy::http_proxy;
use tokio::signal::unix::{SignalKind, signal};

use super::{Outcome, load};
use crate::admin::{Admin, Readiness};
use crate::audit::AuditLog;
use crate::config::Config;
use crate::gateway::{Announced, BoundSocket, Bounds, Gateway, ProxyProtocol, SocketService, tls_settings};
use crate::identity::binding::Binder;
use crate::identity::revocation::{FileFollower, Revocations};
use crate::identity::{CacheBounds, Issuers, KeyFetcher};
use crate::limit::{BodyMemory, Door, InFlight};
use crate::telemetry::{LogFormat, Metrics, init_logs};
use crate::upstream::Upstream;

pub(super) fn command(path: &Path, log: LogFormat) -> Outcome {
    init_logs(log, "warn,portcullis=info");
    let proxy = Proxy::bind(load(path)?)?;
    tracing::info!(address = %proxy.address(), admin = %proxy.admin_address(), version = env!("CARGO_PKG_VERSION"), "listening");
    proxy.run(|| tracing::info!("ready"))
}

/// A proxy with its sockets bound, so that its addresses are known before it serves.
pub(super) struct Proxy {
    config: Config,
    listen: BoundSocket,
    admin: BoundSocket,
    audit: AuditLog,
}

impl Proxy {
    /// Binds the sockets and opens the audit log.
    pub(super) fn bind(config: Config) -> Result<Self, String> {
        let bind = |address: SocketAddr| {
            BoundSocket::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))
        };
        let listen = bind(config.listen.address)?;
        let admin = bind(config.admin)?;
        let audit = AuditLog::open(&config.audit_directory)
            .map_err(|error| format!("cannot write to {}: {error}", config.audit_directory.display()))?;
        Ok(Self { config, listen, admin, audit })
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.listen.address()
    }

    /// Where metrics are.
    pub(super) fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Serves until a signal ends it; calls `on_ready` once keys and addresses are at hand.
    ///
    /// A graceful stop ends the process from within; this returns after the other kind.
    pub(super) fn run(self, on_ready: impl FnOnce() + Send + 'static) -> Outcome {
        let Self { config, listen, admin, audit } = self;
        let metrics = Metrics::new().map_err(|error| format!("metrics cannot be registered: {error}"))?;
        let metrics = Arc::new(metrics);
        let upstream = Arc::new(Upstream::new(&config.upstream));
        let (issuers, fetchers) =
            Issuers::new(config.issuers, Some(config.state_directory.clone()), CacheBounds::default());
        let issuers = Arc::new(issuers);
        let revocations = Arc::<Revocations>::default();
        let revoked_file = config.revocation.file.map(|file| file.enforce(Arc::clone(&revocations)));
        let revocation_status = revoked_file.as_ref().map(FileFollower::status);
        let in_flight = Arc::<InFlight>::default();
        let body_memory = BodyMemory::new(config.listen.max_bodies);
        let readiness =
            Readiness { issuers: Arc::clone(&issuers), upstream: Arc::clone(&upstream), audit: audit.clone() };
        let key = config.upstream.keys.into_iter().next().ok_or("no upstream key")?;
        let trusted_proxies = config.listen.trusted_proxies;
        let gateway = Gateway {
            door: Door::new(config.door.requests, config.door.refused_tokens),
            issuers,
            revocations: Arc::clone(&revocations),
            binder: Binder::new(config.listen.origins),
            cut_streams: config.revocation.cut_streams,
            policy: config.policy,
            upstream: Arc::clone(&upstream),
            key,
            audit: audit.clone(),
            metrics: Arc::clone(&metrics),
            in_flight: Arc::clone(&in_flight),
            body_memory: Arc::clone(&body_memory),
            bounds: Bounds {
                max_body: config.listen.max_body,
                max_upload: config.listen.max_upload,
                body_timeout: config.listen.body_timeout,
                trusted_proxies: trusted_proxies.clone(),
            },
        };
        let admin_pages = Admin {
            metrics,
            readiness: readiness.clone(),
            revocations,
            revocation_file: revocation_status,
            in_flight: Arc::clone(&in_flight),
            body_memory,
        };

        let drain = config.listen.drain;
        let mut server = Server::new_with_opt_and_conf(None, server_conf(config.listen.workers, drain));
        let header = config.listen.proxy_protocol.then(|| ProxyProtocol::new(&trusted_proxies));
        let proxy = Announced::new(http_proxy(&server.configuration, gateway), header.clone());
        let mut proxy = Service::new("proxy".to_owned(), proxy);
        let address = listen.address().to_string();
        match config.listen.certificate {
            None => proxy.add_tcp(&address),
            Some(certificate) => {
                let settings = tls_settings(certificate, config.listen.client_verifier);
                let settings = settings.map_err(|error| format!("TLS cannot be set up: {error}"))?;
                proxy.add_tls_with_settings(&address, None, settings);
            }
        }
        if let Some(header) = header {
            proxy.endpoints().set_pre_tls_callback(Arc::new(header));
        }
        let mut admin_service = Service::new("admin".to_owned(), admin_pages);
        admin_service.threads = Some(1);
        admin_service.add_tcp(&admin.address().to_string());

        let sockets = server.add_service(SocketService::new(vec![listen, admin]));
        server.add_service(proxy).add_dependency(&sockets);
        server.add_service(admin_service).add_dependency(&sockets);
        server.add_service(background_service(
            "keys and addresses",
            Upkeep { fetchers, upstream, revoked_file: std::sync::Mutex::new(revoked_file) },
        ));
        server.add_service(background_service(
            "readiness",
            ReadyOnce { readiness, on_ready: std::sync::Mutex::new(Some(Box::new(on_ready))) },
        ));
        server.bootstrap();
        let stop = Stop { in_flight, audit: audit.clone(), drain };
        server.run(RunArgs { shutdown_signal: Box::new(stop) });
        if audit.flush(FLUSH) { Ok(()) } else { Err("the audit log could not be flushed".to_owned()) }
    }
}

fn server_conf(workers: usize, drain: Duration) -> ServerConf {
    ServerConf {
        threads: workers,
        // `Stop` ends the process when the last request has; Pingora's own sleep is only the backstop.
        grace_period_seconds: Some(drain.as_secs() + 5),
        graceful_shutdown_timeout_seconds: Some(1),
        max_retries: 4,
        ..ServerConf::default()
    }
}

/// Work beside the requests: issuers' keys, the upstream's addresses, revocations.
struct Upkeep {
    fetchers: Vec<KeyFetcher>,
    upstream: Arc<Upstream>,
    /// Taken once, by the service's start.
    revoked_file: std::sync::Mutex<Option<FileFollower>>,
}

#[async_trait]
impl BackgroundService for Upkeep {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let fetching = join_all(self.fetchers.iter().map(KeyFetcher::run));
        let revoked_file = self.revoked_file.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let following = OptionFuture::from(revoked_file.map(FileFollower::run));
        tokio::select! {
            // Together: where there is nothing to fetch, names are resolved all the same, and the reverse.
            _ = join3(fetching, self.upstream.keep_resolving(), following) => {}
            _ = shutdown.changed() => {}
        }
    }
}

type OnReady = Box<dyn FnOnce() + Send>;

/// Says once that the proxy is ready.
struct ReadyOnce {
    readiness: Readiness,
    on_ready: std::sync::Mutex<Option<OnReady>>,
}

#[async_trait]
impl BackgroundService for ReadyOnce {
    async fn start(&self, _: ShutdownWatch) {
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        while !self.readiness.missing().is_empty() {
            beat.tick().await;
        }
        let on_ready = self.on_ready.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(on_ready) = on_ready {
            on_ready();
        }
    }
}

/// Ends the process: at once on SIGINT, after the requests under way on SIGTERM and SIGQUIT.
struct Stop {
    in_flight: Arc<InFlight>,
    audit: AuditLog,
    drain: Duration,
}

/// Time for connections that were accepted at the last moment to become requests.
const SETTLE: Duration = Duration::from_millis(100);

#[async_trait]
impl ShutdownSignalWatch for Stop {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut terminate), Ok(mut quit), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::quit()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("signals cannot be received");
            return ShutdownSignal::FastShutdown;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
            _ = interrupt.recv() => return ShutdownSignal::FastShutdown,
        }
        let (in_flight, audit, drain) = (Arc::clone(&self.in_flight), self.audit.clone(), self.drain);
        tracing::info!(requests = in_flight.count(), "draining");
        std::thread::spawn(move || {
            std::thread::sleep(SETTLE);
            let left = in_flight.wait_for_none(drain);
            let recorded = audit.flush(FLUSH);
            tracing::info!(requests_cut = left, recorded, "stopped");
            std::process::exit(i32::from(!recorded));
        });
        ShutdownSignal::GracefulTerminate
    }
}

/// Longest wait for the audit log at the end.
const FLUSH: Duration = Duration::from_secs(5);
