//! Connections, whatever the servers' layout.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisFuture, RedisResult, TlsCertificates, TlsMode, Value,
};

use crate::config::{Layout, StoreConfig, StoreServer, StoreTls};
use crate::credential::Secret;

/// A connection that many calls share; cheap to clone. It does not reconnect by itself: a call fails, and a new connection
/// is made beside the calls.
#[derive(Clone)]
pub enum Connection {
    /// To one server.
    Single(MultiplexedConnection),
    /// To the nodes of a cluster.
    Cluster(ClusterConnection),
}

/// What makes connections.
pub(super) enum Connector {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
    Sentinel(Box<Sentinels>),
}

/// Where the master is asked for, and how it and the sentinels are spoken to.
pub(super) struct Sentinels {
    addresses: Vec<ConnectionAddr>,
    master: String,
    master_login: RedisConnectionInfo,
    /// At the sentinels themselves.
    login: RedisConnectionInfo,
    tls: Option<TlsCertificates>,
}

impl Connector {
    pub fn new(config: &StoreConfig) -> RedisResult<Self> {
        let settings = login(config.user.as_deref(), config.password.as_ref()).set_db(config.database);
        let tls = config.tls.as_ref().map(certificates);
        let addresses = || config.servers.iter().map(|server| address(server, tls.is_some()));
        let infos = || -> RedisResult<Vec<ConnectionInfo>> {
            addresses()
                .map(|address| Ok(address.into_connection_info()?.set_redis_settings(settings.clone())))
                .collect()
        };
        Ok(match &config.layout {
            Layout::Single => {
                let info = infos()?.into_iter().next().ok_or_else(no_server)?;
                Self::Single(Box::new(match tls {
                    Some(tls) => Client::build_with_tls(info, tls)?,
                    None => Client::open(info)?,
                }))
            }
            Layout::Cluster => {
                // One attempt: whoever calls has no time for more.
                let mut builder = ClusterClientBuilder::new(infos()?).retries(0).connection_timeout(super::CONNECT);
                if let Some(tls) = tls {
                    builder = builder.tls(TlsMode::Secure).certs(tls);
                }
                Self::Cluster(Box::new(builder.build()?))
            }
            Layout::Sentinel(sentinel) => Self::Sentinel(Box::new(Sentinels {
                addresses: addresses().collect(),
                master: sentinel.master.clone(),
                master_login: settings,
                login: login(sentinel.user.as_deref(), sentinel.password.as_ref()),
                tls,
            })),
        })
    }

    pub async fn connect(&self) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(super::CONNECT))
            .set_response_timeout(Some(super::CONNECT))
            .set_pipeline_buffer_size(CALLS);
        match self {
            Self::Single(client) => {
                client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Single)
            }
            Self::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
            // The master is looked up for every connection: it moves.
            Self::Sentinel(sentinels) => {
                sentinels.client()?.get_async_connection_with_config(&config).await.map(Connection::Single)
            }
        }
    }
}

impl Sentinels {
    fn client(&self) -> RedisResult<SentinelClient> {
        let mut builder = SentinelClientBuilder::new(self.addresses.clone(), &self.master, SentinelServerType::Master)?
            .set_client_to_redis_db(self.master_login.db());
        if let Some(user) = self.master_login.username() {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = self.master_login.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(user) = self.login.username() {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = self.login.password() {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if let Some(tls) = &self.tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(tls.clone())
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(tls.clone());
        }
        builder.build()
    }
}

fn login(user: Option<&str>, password: Option<&Secret>) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default();
    if let Some(user) = user {
        login = login.set_username(user);
    }
    // The configuration refuses a password that is not text.
    if let Some(password) = password.and_then(|secret| std::str::from_utf8(secret.expose()).ok()) {
        login = login.set_password(password);
    }
    login
}

fn address(server: &StoreServer, tls: bool) -> ConnectionAddr {
    let (host, port) = (server.host.clone(), server.port);
    if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn certificates(tls: &StoreTls) -> TlsCertificates {
    let client = tls.client.as_ref().map(|(certificate, key)| ClientTlsConfig {
        client_cert: certificate.clone(),
        client_key: key.expose().to_vec(),
    });
    TlsCertificates { client_tls: client, root_cert: tls.ca.clone() }
}

fn no_server() -> redis::RedisError {
    redis::RedisError::from((redis::ErrorKind::InvalidClientConfig, "no server"))
}

/// Calls that may wait in a connection for their turn to be sent.
const CALLS: usize = 4_096;

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
