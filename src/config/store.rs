//! `[store]`: where hosts share what they count.

use std::num::NonZeroU64;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use super::pem;
use super::reader::Section;
use crate::credential::Secret;

/// Where hosts share what they count: Redis or Valkey.
pub struct StoreConfig {
    /// How the servers are laid out.
    pub layout: Layout,
    /// Hosts and ports, all with TLS or all without; at least one.
    pub servers: Vec<StoreServer>,
    /// Plain text when `None`.
    pub tls: Option<StoreTls>,
    /// The database's number.
    pub database: i64,
    /// The user; Redis' default one when `None`.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// What every key begins with.
    pub prefix: String,
    /// How many hosts share the limits: while the store is away, each grants its share.
    pub instances: NonZeroU64,
}

/// A server's name or address and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreServer {
    /// The name or address; a certificate must bear it.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How the servers are laid out.
#[derive(Debug)]
pub enum Layout {
    /// One server.
    Single,
    /// A cluster; the servers are where it is asked for its nodes.
    Cluster,
    /// Sentinels, which know where the master is.
    Sentinel(Sentinel),
}

/// What sentinels are asked, and as whom.
#[derive(Debug)]
pub struct Sentinel {
    /// The master's name.
    pub master: String,
    /// The user at the sentinels; the default one when `None`.
    pub user: Option<String>,
    /// The password at the sentinels, which have others than the master has, or none.
    pub password: Option<Secret>,
}

/// What TLS to the store needs, checked.
#[derive(Default)]
pub struct StoreTls {
    /// Certificates (PEM) that the server's chain must end in; `None` for the system's roots.
    pub ca: Option<Vec<u8>>,
    /// A certificate chain (PEM) and its key (PEM).
    pub client: Option<(Vec<u8>, Secret)>,
}

/// Reads the section; `Some(None)` when there is none.
#[allow(clippy::option_option)] // none at all, or one that is wrong
pub(super) fn read(root: &Section<'_>) -> Option<Option<StoreConfig>> {
    if !root.has("store") {
        return Some(None);
    }
    root.table("store", store).map(Some)
}

fn store(section: &Section<'_>) -> Option<StoreConfig> {
    section.required("redis");
    let urls = section.one_or_more_texts("redis");
    if section.has("redis") && urls.is_empty() {
        section.fault("redis", "names no server", "write \"rediss://HOST:PORT\"");
        return None;
    }
    let servers: Option<Vec<_>> = urls.iter().map(|url| server(section, url)).collect();
    let cluster = section.flag("cluster").unwrap_or_default();
    let sentinel = section.has("sentinel").then(|| section.table("sentinel", sentinel));
    let layout = match (cluster, sentinel) {
        (true, Some(_)) => {
            section.fault("cluster", "is set besides sentinel", "keep one of the two");
            None
        }
        (true, None) => Some(Layout::Cluster),
        (false, Some(master)) => master.map(Layout::Sentinel),
        (false, None) => {
            if urls.len() > 1 {
                section.fault(
                    "redis",
                    "lists several servers",
                    "set cluster = true or sentinel = { master = \"...\" }, or name one",
                );
            }
            Some(Layout::Single)
        }
    };
    let user = section.text("user");
    let password = password(section);
    let danger_plaintext = section.flag("danger_plaintext").unwrap_or_default();
    let tls = tls(section);
    let servers = servers?;
    let is_tls = servers.iter().any(|(_, tls, _)| *tls);
    if servers.iter().any(|(_, tls, _)| *tls != is_tls) {
        section.fault("redis", "mixes redis:// and rediss://", "use rediss:// for all");
    }
    if !is_tls && !danger_plaintext && servers.iter().any(|(server, ..)| !server.is_loopback()) {
        section.fault(
            "redis",
            "is plain text to another host",
            "write rediss://, or danger_plaintext = true where the network itself is trusted",
        );
    }
    let database = servers.first().map(|(.., database)| *database).unwrap_or_default();
    if cluster && database != 0 {
        section.fault("redis", "names a database", "a cluster has only database 0");
    }
    let prefix = section.text("prefix").unwrap_or_else(|| "portcullis".to_owned());
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte)) {
        section.fault("prefix", "is no prefix", "use ASCII letters, digits and -_.:");
    }
    Some(StoreConfig {
        layout: layout?,
        servers: servers.into_iter().map(|(server, ..)| server).collect(),
        tls: if is_tls { Some(tls?) } else { None },
        database,
        user,
        password: password?,
        prefix,
        instances: section.count("instances").and_then(NonZeroU64::new).unwrap_or(NonZeroU64::MIN),
    })
}

fn sentinel(section: &Section<'_>) -> Option<Sentinel> {
    let (master, password) = (section.required_text("master"), password(section));
    Some(Sentinel { master: master?, user: section.text("user"), password: password? })
}

#[allow(clippy::option_option)] // none at all, or one that is wrong
fn password(section: &Section<'_>) -> Option<Option<Secret>> {
    if !section.has("password") {
        return Some(None);
    }
    let secret = section.secret("password")?;
    if std::str::from_utf8(secret.expose()).is_err() {
        section.fault("password", "is not text", "check what the reference points at");
        return None;
    }
    Some(Some(secret))
}

/// The server, whether TLS is spoken to it, and the database.
fn server(section: &Section<'_>, url: &str) -> Option<(StoreServer, bool, i64)> {
    let Ok(info): Result<ConnectionInfo, _> = url.into_connection_info() else {
        section.fault("redis", "is not a URL such as \"rediss://redis.internal:6379\"", "write scheme, host and port");
        return None;
    };
    let redis = info.redis_settings();
    if redis.password().is_some() || redis.username().is_some() {
        section.fault(
            "redis",
            "carries a user or a password",
            "take them out of the URL: user = \"...\" and password = { file = \"...\" }",
        );
        return None;
    }
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => Some((StoreServer { host: host.clone(), port: *port }, false, redis.db())),
        ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
            Some((StoreServer { host: host.clone(), port: *port }, true, redis.db()))
        }
        _ => {
            section.fault("redis", "is neither redis:// nor rediss:// with a checked certificate", "use rediss://");
            None
        }
    }
}

fn tls(section: &Section<'_>) -> Option<StoreTls> {
    let mut ca = None;
    if section.has("ca") {
        let file = section.file("ca")?;
        section.usable("ca", pem::authorities(&file))?;
        ca = Some(file);
    }
    let (has_certificate, has_key) = (section.has("client_certificate"), section.has("client_key"));
    if has_certificate != has_key {
        section.fault("", "has only one of client_certificate and client_key", "mutual TLS needs both");
        return None;
    }
    if !has_certificate {
        return Some(StoreTls { ca, client: None });
    }
    let file = section.file("client_certificate")?;
    let chain = section.usable("client_certificate", pem::certificates(&file))?;
    let secret = section.secret("client_key")?;
    let key = section.usable("client_key", pem::private_key(secret.expose()))?;
    section.usable("client_certificate", pem::certified_key(chain, key))?;
    Some(StoreTls { ca, client: Some((file, secret)) })
}

impl StoreServer {
    /// Whether it is this host.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.trim_matches(['[', ']']).parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::reader::Document;
    use super::*;

    fn parse(text: &str) -> Result<Option<StoreConfig>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), "hunter2\n").unwrap();
        let file = folder.path().join("portcullis.toml");
        Document::new(Path::new(&file), text.to_owned()).read(read).map_err(|faults| faults.to_string())
    }

    #[test]
    fn layouts_are_read() {
        assert!(parse("").unwrap().is_none());
        let store = parse(
            "[store]\nredis = \"rediss://redis.internal:6380/3\"\npassword = { file = \"password\" }\nuser = \"edge\"\ninstances = 4",
        );
        let store = store.unwrap().unwrap();
        assert_eq!(store.servers, [StoreServer { host: "redis.internal".to_owned(), port: 6380 }]);
        assert!(matches!(store.layout, Layout::Single));
        assert_eq!((store.database, &*store.prefix), (3, "portcullis"));
        assert_eq!(store.password.unwrap().expose(), b"hunter2");
        assert_eq!((store.user.as_deref(), store.instances.get(), store.tls.is_some()), (Some("edge"), 4, true));
        let store = parse("[store]\nredis = [\"redis://127.0.0.1:1\", \"redis://[::1]:2\"]\ncluster = true");
        let store = store.unwrap().unwrap();
        assert!(matches!(store.layout, Layout::Cluster));
        assert_eq!((store.servers.len(), store.tls.is_some()), (2, false));
        let sentinel = "sentinel = { master = \"main\", password = { file = \"password\" } }";
        let store = parse(&format!("[store]\nredis = [\"rediss://a:1\", \"rediss://b:2\"]\n{sentinel}"));
        let Layout::Sentinel(sentinel) = store.unwrap().unwrap().layout else { panic!("no sentinel") };
        assert_eq!((&*sentinel.master, sentinel.user), ("main", None));
        assert_eq!(sentinel.password.unwrap().expose(), b"hunter2");
    }

    #[test]
    fn faults_name_their_mend_and_never_the_password() {
        for (text, expected) in [
            ("", "store.redis: is missing"),
            ("redis = []", "store.redis: names no server"),
            ("redis = \"redis.internal\"", "store.redis: is not a URL"),
            (
                "redis = \"rediss://edge:hunter2@redis.internal\"",
                "carries a user or a password; take them out of the URL",
            ),
            ("redis = \"redis://redis.internal\"", "is plain text to another host; write rediss://"),
            ("redis = \"rediss://redis.internal/#insecure\"", "is neither redis:// nor rediss://"),
            ("redis = [\"rediss://a\", \"rediss://b\"]", "lists several servers; set cluster = true"),
            ("redis = [\"rediss://a\", \"redis://localhost\"]\ncluster = true", "mixes redis:// and rediss://"),
            ("redis = \"rediss://a/1\"\ncluster = true", "a cluster has only database 0"),
            ("redis = \"rediss://a\"\nprefix = \"{x}\"", "store.prefix: is no prefix"),
            ("redis = \"rediss://a\"\npassword = \"hunter2\"", "store.password: is a value"),
            ("redis = \"rediss://a\"\nclient_certificate = \"password\"", "has only one of client_certificate"),
            ("redis = \"rediss://a\"\nca = \"password\"", "store.ca: holds no certificate"),
        ] {
            let faults = parse(&format!("[store]\n{text}")).err().unwrap_or_default();
            assert!(faults.contains(expected) && !faults.contains("hunter2"), "{text}: {faults}");
        }
    }
}
