//! `portcullis serve`: composes the rooms into a running proxy.

mod evidence;
mod stop;
mod upkeep;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pingora::prelude::{Server, background_service};
use pingora::server::RunArgs;
use pingora::server::configuration::ServerConf;
use pingora::services::listening::Service;
use pingora_proxy::http_proxy;

use self::evidence::Evidence;
use self::stop::{Stop, keep_counts};
use self::upkeep::{ReadyOnce, Upkeep};
use super::{Outcome, load};
use crate::admin::{Admin, Readiness};
use crate::config::{AuditContent, Config, OnStoreFailure, RevocationConfig, StoreConfig};
use crate::credential::{KeyRing, keep_from_core_dumps};
use crate::gateway::{
    Announced, BoundSocket, Bounds, Gateway, MAX_ATTEMPTS, ProxyProtocol, SocketService, tls_settings,
};
use crate::identity::binding::Binder;
use crate::identity::revocation::{FileStatus, Freshness, Revocations, StoreFollower, StoreStatus};
use crate::identity::{CacheBounds, Issuers};
use crate::limit::{BodyMemory, Door, InFlight, Limits};
use crate::privacy::Listener;
use crate::store::Store;
use crate::telemetry::{LogFormat, Metrics, init_logs};
use crate::upstream::Upstream;

pub(super) fn command(path: &Path, log: LogFormat) -> Outcome {
    init_logs(log, "warn,portcullis=info");
    if let Err(error) = keep_from_core_dumps() {
        tracing::warn!(%error, "a core dump of this process would show its keys");
    }
    let proxy = Proxy::bind(load(path)?)?;
    tracing::info!(address = %proxy.address(), admin = %proxy.admin_address(), version = env!("CARGO_PKG_VERSION"), "listening");
    proxy.run(|| tracing::info!("ready"))
}

/// A proxy with its sockets bound, so that its addresses are known before it serves.
pub(super) struct Proxy {
    config: Config,
    listen: BoundSocket,
    admin: BoundSocket,
    evidence: Evidence,
    metrics: Arc<Metrics>,
}

impl Proxy {
    /// Binds the sockets and opens the audit log.
    pub(super) fn bind(mut config: Config) -> Result<Self, String> {
        let bind = |address: SocketAddr| {
            BoundSocket::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))
        };
        let listen = bind(config.listen.address)?;
        let admin = bind(config.admin)?;
        let metrics = Metrics::new().map_err(|error| format!("metrics cannot be registered: {error}"))?;
        metrics.show_most(config.telemetry.top_subjects, config.telemetry.top_teams);
        let Config { audit, telemetry, state_directory, sha256, .. } = &mut config;
        let evidence = Evidence::open(audit, telemetry, state_directory, *sha256, &metrics)?;
        Ok(Self { config, listen, admin, evidence, metrics: Arc::new(metrics) })
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
        let Self { config, listen, admin, evidence, metrics } = self;
        let evidence = Arc::new(evidence);
        let upstream = Arc::new(Upstream::new(&config.upstream));
        let keys = Arc::new(KeyRing::new(config.upstream.keys));
        let (issuers, fetchers) =
            Issuers::new(config.issuers, Some(config.state_directory.clone()), CacheBounds::default());
        let issuers = Arc::new(issuers);
        let mut others: Vec<BoxFuture<'static, ()>> = Vec::new();
        let store = connect(config.store.as_ref(), &mut others)?;
        let cut_streams = config.revocation.cut_streams;
        let Revoked { revocations, file, set, freshness } = follow(config.revocation, store.as_ref(), &mut others);
        let budgets = config.state_directory.join("budgets.json");
        let limits = Limits::new(config.limits, config.prices, store, Some(budgets));
        let binder = Arc::new(Binder::new(config.listen.origins));
        let in_flight = Arc::<InFlight>::default();
        let body_memory = BodyMemory::new(config.listen.max_bodies);
        let readiness = Readiness {
            issuers: Arc::clone(&issuers),
            upstream: Arc::clone(&upstream),
            keys: Arc::clone(&keys),
            audit: evidence.audit.clone(),
            revocations: freshness.clone(),
        };
        let trusted_proxies = config.listen.trusted_proxies;
        let privacy = config.privacy.keep_key().map_err(|error| format!("the key of tags cannot be kept: {error}"))?;
        let kept = (config.audit.content == AuditContent::Masked).then_some(config.audit.content_limit);
        let gateway = Gateway {
            door: Door::new(config.door.requests, config.door.refused_tokens),
            issuers,
            revocations: Arc::clone(&revocations),
            revocation_freshness: freshness,
            binder: Arc::clone(&binder),
            cut_streams,
            policy: config.policy,
            limits: Arc::clone(&limits),
            upstream: Arc::clone(&upstream),
            keys: Arc::clone(&keys),
            audit: evidence.audit.clone(),
            listener: Arc::new(Listener::new(privacy, kept)),
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
            revocation_file: file,
            revocation_set: set,
            limits: Arc::clone(&limits),
            binder,
            in_flight: Arc::clone(&in_flight),
            body_memory,
        };

        let drain = config.listen.drain;
        let mut server = Server::new_with_opt_and_conf(
            None,
            server_conf(config.listen.workers, drain, config.upstream.idle_connections),
        );
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
            Upkeep { fetchers, upstream, keys, limits: Arc::clone(&limits), others: Mutex::new(others) },
        ));
        server.add_service(background_service(
            "readiness",
            ReadyOnce { readiness, on_ready: Mutex::new(Some(Box::new(on_ready))) },
        ));
        server.bootstrap();
        let stop = Stop { in_flight, limits: Arc::clone(&limits), evidence: Arc::clone(&evidence), drain };
        server.run(RunArgs { shutdown_signal: Box::new(stop) });
        let counted = keep_counts(&limits);
        tracing::info!(counted, "stopped at once");
        if evidence.close() { Ok(()) } else { Err("the audit log could not be written to its end".to_owned()) }
    }
}

/// The shared store, if there is one; that it is connected is upkeep's.
fn connect(
    config: Option<&StoreConfig>,
    upkeep: &mut Vec<BoxFuture<'static, ()>>,
) -> Result<Option<Arc<Store>>, String> {
    let Some(config) = config else { return Ok(None) };
    let store = Arc::new(Store::new(config).map_err(|error| format!("the store cannot be used: {error}"))?);
    let connected = Arc::clone(&store);
    upkeep.push(async move { connected.upkeep().await }.boxed());
    Ok(Some(store))
}

/// Revocations in force, and how following their sources goes.
struct Revoked {
    revocations: Arc<Revocations>,
    file: Option<Arc<FileStatus>>,
    set: Option<Arc<StoreStatus>>,
    freshness: Option<Freshness>,
}

fn follow(config: RevocationConfig, store: Option<&Arc<Store>>, upkeep: &mut Vec<BoxFuture<'static, ()>>) -> Revoked {
    let revocations = Arc::<Revocations>::default();
    let file = config.file.map(|file| {
        let follower = file.enforce(Arc::clone(&revocations));
        let status = follower.status();
        upkeep.push(follower.run().boxed());
        status
    });
    let set = config.store_key.zip(store.cloned()).map(|(key, store)| {
        let follower = StoreFollower::new(store, key, Arc::clone(&revocations));
        let status = follower.status();
        upkeep.push(follower.run().boxed());
        status
    });
    let freshness = set.clone().filter(|_| config.on_store_failure == OnStoreFailure::Closed);
    let freshness = freshness.map(|set| Freshness { set, most: config.max_staleness });
    Revoked { revocations, file, set, freshness }
}

fn server_conf(workers: usize, drain: Duration, idle_connections: usize) -> ServerConf {
    ServerConf {
        threads: workers,
        // `Stop` ends the process when the last request has; Pingora's own sleep is only the backstop.
        grace_period_seconds: Some(drain.as_secs() + 5),
        graceful_shutdown_timeout_seconds: Some(1),
        max_retries: MAX_ATTEMPTS, // when to stop before is the gateway's to say
        upstream_keepalive_pool_size: idle_connections,
        ..ServerConf::default()
    }
}
