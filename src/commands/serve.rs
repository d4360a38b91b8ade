//! `portcullis serve`: composes the rooms into a running proxy.

mod evidence;
mod heritage;
mod house;
mod ready;
mod reload;
mod service_manager;
mod stop;
mod watch;
mod work;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use pingora::prelude::{Server, background_service};
use pingora::server::RunArgs;
use pingora::server::configuration::ServerConf;
use pingora::services::listening::Service;
use pingora_proxy::http_proxy;
use tokio::signal::unix::SignalKind;
use tokio::sync::oneshot;

use self::evidence::Evidence;
use self::heritage::{Heritage, take_over};
use self::house::{Built, Ground, House};
use self::ready::{OnReady, ReadyOnce};
use self::reload::{Keeper, Keeping, Seen};
pub(super) use self::stop::longest as longest_stop;
use self::stop::{Stop, keep_counts};
use self::watch::Watch;
use self::work::Work;
use super::{Outcome, load};
use crate::admin::Pages;
use crate::audit::to_hex;
use crate::config::Config;
use crate::credential::keep_from_core_dumps;
use crate::gateway::{BoundSocket, Corridor, Entrance, MAX_ATTEMPTS, SocketService};
use crate::handover::{Predecessor, Successor};
use crate::telemetry::{LogFormat, Metrics, SpanTap, expect_log_signal, expect_signal, init_logs};

pub(super) fn command(path: &Path, log: LogFormat, successor: bool) -> Outcome {
    init_logs(log, "warn,portcullis=info");
    if let Err(error) = keep_from_core_dumps() {
        tracing::warn!(%error, "a core dump of this process would show its keys");
    }
    expect_log_signal();
    expect_signal(SignalKind::hangup(), "SIGHUP"); // a reload may be asked for before anybody follows it
    let predecessor = successor.then(Predecessor::on_standard_input).transpose();
    let predecessor =
        predecessor.map_err(|error| format!("--successor: the standard input has no sockets: {error}"))?;
    let heir = Heritage::successor();
    let config = load(path)?;
    config.log.level.set();
    let proxy = Proxy { heir, ..Proxy::bind(config, predecessor)? };
    tracing::info!(address = %proxy.address(), admin = %proxy.admin_address(), version = env!("CARGO_PKG_VERSION"), "listening");
    proxy.run(|| tracing::info!("ready"))
}

/// A proxy with its sockets bound, so that its addresses are known before it serves.
pub(super) struct Proxy {
    config: Config,
    listen: BoundSocket,
    admin: BoundSocket,
    evidence: Evidence,
    /// Where spans go, if requests are traced.
    spans: Option<Arc<SpanTap>>,
    metrics: Arc<Metrics>,
    /// From whom this process takes over.
    predecessor: Option<Predecessor>,
    /// Who may take over from it.
    heir: Option<Successor>,
}

impl Proxy {
    /// Binds the sockets, but those that `predecessor` hands over, and opens the audit log.
    pub(super) fn bind(mut config: Config, mut predecessor: Option<Predecessor>) -> Result<Self, String> {
        let mut bind = |address: SocketAddr| {
            let inherited = predecessor.as_mut().and_then(|predecessor| predecessor.take_socket(address));
            let bound = inherited.map_or_else(|| BoundSocket::bind(address), BoundSocket::adopt);
            bound.map_err(|error| format!("cannot listen on {address}: {error}"))
        };
        let listen = bind(config.listen.address)?;
        let admin = bind(config.admin)?;
        let metrics = Metrics::new().map_err(|error| format!("metrics cannot be registered: {error}"))?;
        metrics.show_most(config.telemetry.top_subjects, config.telemetry.top_teams);
        let metrics = Arc::new(metrics);
        let Config { audit, telemetry, state_directory, sha256, .. } = &mut config;
        let (evidence, spans) = Evidence::open(audit, telemetry, state_directory, *sha256, &metrics)?;
        config.lasting.also("listen.address", listen.address().to_string());
        config.lasting.also("admin.address", admin.address().to_string());
        Ok(Self { config, listen, admin, evidence, spans, metrics, predecessor, heir: None })
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
    /// A stop ends the process from within; this returns when signals cannot be had, or when that takes too long.
    pub(super) fn run(self, on_ready: impl FnOnce() + Send + 'static) -> Outcome {
        let Self { mut config, listen, admin, evidence, spans, metrics, predecessor, heir } = self;
        let evidence = Arc::new(evidence);
        let (anomaly, rules) = (config.anomaly.take(), std::mem::take(&mut config.containments));
        let watch = Arc::new(Watch::open(anomaly, rules, &config.state_directory, evidence.audit.clone())?);
        let ground = Ground {
            watch: Arc::clone(&watch),
            audit: evidence.audit.clone(),
            metrics: Arc::clone(&metrics),
            in_flight: Arc::default(),
            revocations: Arc::default(),
            store: Ground::connect(config.store.as_ref())?,
        };
        let (drain, connect, conf) = (config.listen.drain, config.upstream.connect, server_conf(&config));
        let (file, sha256, lasting) = (config.file.clone(), config.sha256, config.lasting.clone());
        let on_change = config.reload.on_change;
        let Built { house, jobs } = House::build(config, &ground, None, spans)?;
        house.enforce_revocations();
        metrics.reload.in_force(&to_hex(&sha256));
        let (seen, limits) = (Seen::of(&house), Arc::clone(&house.gateway.limits));
        let (in_flight, ready) = (Arc::clone(&ground.in_flight), Arc::clone(&seen.admin));

        let shared = [&listen, &admin].map(|socket| socket.share().map_err(|error| error.to_string()));
        let heritage = Heritage::new(heir, shared.into_iter().collect::<Result<Vec<_>, _>>()?);
        let mut server = Server::new_with_opt_and_conf(None, conf);
        let proxy = Entrance::new(
            http_proxy(&server.configuration, Corridor::new(&seen.gateway)),
            &seen.gateway,
            heritage.succeeded(),
        );
        let mut proxy = Service::new("proxy".to_owned(), proxy);
        proxy.add_tcp(&listen.address().to_string());
        let mut admin_service = Service::new("admin".to_owned(), Pages(Arc::clone(&seen.admin)));
        admin_service.threads = Some(1);
        admin_service.add_tcp(&admin.address().to_string());

        let is_first = predecessor.is_none();
        if !is_first {
            watch.rest(); // until it takes over
        }
        let (open, opened) = predecessor.is_some().then(oneshot::channel).unzip();
        let sockets = server.add_service(SocketService::new(vec![listen, admin], opened));
        server.add_service(proxy).add_dependency(&sockets);
        server.add_service(admin_service).add_dependency(&sockets);
        let (counts, log, resting) = (Arc::clone(&limits), Arc::clone(&evidence), Arc::clone(&watch));
        let on_ready: OnReady = match predecessor.zip(open) {
            None => Box::new(on_ready),
            // It waits for another process: not on a thread of tasks.
            Some((predecessor, open)) => Box::new(move || {
                std::thread::spawn(move || {
                    take_over(predecessor, &counts, &resting, &log, open);
                    on_ready();
                });
            }),
        };
        let keeper = Keeper {
            file,
            ground: Arc::new(ground),
            evidence: Arc::clone(&evidence),
            seen,
            house: Arc::new(house),
            jobs,
            work: Work::default(),
            lasting,
            on_change,
            sha256,
        };
        server.add_service(background_service("upkeep and reload", Keeping(Mutex::new(Some(keeper)))));
        server.add_service(background_service(
            "readiness",
            ReadyOnce { admin: ready, is_first, on_ready: Mutex::new(Some(on_ready)) },
        ));
        server.bootstrap();
        if is_first {
            service_manager::listening();
        }
        let (counts, log, watched) = (Arc::clone(&limits), Arc::clone(&evidence), Arc::clone(&watch));
        let stop = Stop { heritage, in_flight, limits: counts, evidence: log, watch: watched, drain, connect };
        server.run(RunArgs { shutdown_signal: Box::new(stop) });
        let counted = keep_counts(&limits);
        watch.keep();
        tracing::info!(counted, "stopped at once");
        if evidence.close() { Ok(()) } else { Err("the audit log could not be written to its end".to_owned()) }
    }
}

/// What Pingora takes at its start, and keeps: none of it can be reloaded.
fn server_conf(config: &Config) -> ServerConf {
    ServerConf {
        threads: config.listen.workers,
        // `Stop` ends the process when the last request has; Pingora's own sleep is only the backstop.
        grace_period_seconds: Some(longest_stop(config.listen.drain, config.upstream.connect).as_secs() + 1),
        graceful_shutdown_timeout_seconds: Some(1),
        max_retries: MAX_ATTEMPTS, // when to stop before is the gateway's to say
        upstream_keepalive_pool_size: config.upstream.idle_connections,
        ..ServerConf::default()
    }
}
