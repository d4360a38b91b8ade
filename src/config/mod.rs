//! What the configuration file says, turned into what the proxy trusts.
//!
//! [`Config::load`] reads the TOML file and every file that it names, and reports all faults at once. What it returns
//! needs no further check: certificates match their keys, key sets parse, addresses are addresses.

mod anomaly;
mod audit;
mod containment;
mod door;
mod fault;
mod fingerprint;
mod health;
mod identity;
mod keep;
mod key;
mod lasting;
mod limit;
mod listen;
mod log;
pub mod pem;
mod policy;
mod privacy;
mod reader;
mod reload;
mod revocation;
mod ship;
mod store;
mod telemetry;
mod traces;
mod trust;
mod units;
mod upstream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use audit::{AuditConfig, AuditContent};
pub use door::DoorConfig;
pub use fault::{Fault, Faults};
pub use fingerprint::Fingerprint;
pub use health::{Check, HealthConfig, RetryConfig};
pub use identity::{IssuerConfig, IssuerRules, KeyLife, KeySource};
pub use keep::KeepConfig;
pub use lasting::Lasting;
pub use listen::ListenConfig;
pub use log::LogConfig;
pub use reload::ReloadConfig;
pub use revocation::{OnStoreFailure, RevocationConfig};
pub use ship::{Encryption, Lock, Retention, ShipConfig, ShipCredentials};
pub use store::{Layout, Sentinel, StoreConfig, StoreServer, StoreTls};
pub use telemetry::{OtlpConfig, TelemetryConfig};
pub use traces::{AnswerHeader, TraceSource, TracesConfig};
pub use trust::TrustConfig;
pub use units::{duration, size};
pub use upstream::UpstreamConfig;

use crate::claude::Prices;
use crate::limit::Rule;
use crate::policy::Policy;
use crate::privacy::Privacy;
use reader::{Document, Section};

/// Everything that serving needs, checked.
pub struct Config {
    /// The file.
    pub file: PathBuf,
    /// What each section says.
    pub sections: BTreeMap<String, Fingerprint>,
    /// What cannot change while the proxy runs.
    pub lasting: Lasting,
    /// When it is read again.
    pub reload: ReloadConfig,
    /// Where clients connect.
    pub listen: ListenConfig,
    /// Where metrics and health are served.
    pub admin: SocketAddr,
    /// Whose tokens are believed; at least one, each with another `iss`.
    pub issuers: Vec<IssuerConfig>,
    /// Which of their tokens are good no longer.
    pub revocation: RevocationConfig,
    /// Who may ask what.
    pub policy: Policy,
    /// How much comes in from one address, before anything is judged.
    pub door: DoorConfig,
    /// How much callers may use, in the order of the file.
    pub limits: Vec<Rule>,
    /// What calls cost.
    pub prices: Prices,
    /// Where hosts share what they count; `None` is in memory.
    pub store: Option<StoreConfig>,
    /// Where allowed calls go.
    pub upstream: UpstreamConfig,
    /// SHA-256 of the file's text.
    pub sha256: [u8; 32],
    /// What is written down.
    pub audit: AuditConfig,
    /// Which personal data is looked for.
    pub privacy: Privacy,
    /// What is looked for that is out of the ordinary; `None`: nothing.
    pub anomaly: Option<crate::anomaly::Options>,
    /// What follows it.
    pub containments: Vec<crate::containment::Rule>,
    /// Where records and measurements are sent.
    pub telemetry: TelemetryConfig,
    /// How much the operational log tells.
    pub log: LogConfig,
    /// The folder for what outlives a restart, key sets and budgets; it exists and can be written.
    pub state_directory: PathBuf,
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// Every fault of the file and of the files that it names.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Faults(vec![Fault {
                file: path.to_owned(),
                line: None,
                key: String::new(),
                problem: format!("cannot read it: {error}"),
                mend: "name a file that this user can read".to_owned(),
            }])
        })?;
        Self::parse(path, text)
    }

    /// Checks `text` as the content of the file at `path`; relative paths start from that file's folder.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: String) -> Result<Self, Faults> {
        let sha256 = Sha256::digest(&text).into();
        Document::new(path, text).read(|root| {
            let listen = root.required("listen").and_then(|()| root.table("listen", listen::read));
            let admin = root.table("admin", |admin| admin.parsed("address", "an address with a port"));
            let issuers = identity::read(root);
            let revocation = root.table("revocation", revocation::read);
            let names: Vec<&str> = issuers.iter().flatten().map(|issuer| issuer.rules.name.as_str()).collect();
            let policy = policy::read(root, &names);
            if let (Some(listen), Some(issuers)) = (&listen, &issuers)
                && listen.origins.is_empty()
                && issuers.iter().any(|issuer| issuer.rules.may_require_proofs())
            {
                root.fault(
                    "listen",
                    "has no origins, and an issuer's require_binding may be met by proofs",
                    "add origins = [\"https://gateway.example\"]: a proof that was made for another host must not serve here",
                );
            }
            let door = root.table("door", door::read);
            let limits = limit::read(root);
            let prices = limit::read_prices(root);
            let store = store::read(root);
            if let (Some(None), Some(_)) = (&store, &revocation.store_key) {
                root.fault(
                    "revocation",
                    "has a store_key and there is no [store]",
                    "add [store] with the servers' URL",
                );
            }
            let grants: Vec<&str> = policy.iter().flat_map(Policy::grant_names).collect();
            let upstream = root
                .required("upstream")
                .and_then(|()| root.table("upstream", |section| upstream::read(section, &grants)));
            let audit = root.required("audit").and_then(|()| root.table("audit", audit::read));
            let telemetry = telemetry::read(root);
            let log = root.table("log", log::read);
            if let (Some(listen), Some(TelemetryConfig { traces: Some(traces), .. })) = (&listen, &telemetry)
                && traces.accept == TraceSource::TrustedProxies
                && listen.trusted_proxies.is_empty()
            {
                root.fault(
                    "telemetry",
                    "has traces that accept those of trusted_proxies, and there are none",
                    "list the proxies in [listen] trusted_proxies, or say accept = \"never\"",
                );
            }
            let state_directory = root.table("state", |state| {
                let directory = state.path("directory").unwrap_or_else(|| default_state_directory(state.source()));
                writable(state, directory)
            });
            let anomaly = root.table("anomaly", anomaly::read);
            let containments = containment::read(root, anomaly.is_some());
            let privacy = root.table("privacy", |section| privacy::read(section, state_directory.as_deref()));
            let reload = root.table("reload", reload::read);
            root.refuse_unenforced("cache");
            let sections = root.names().into_iter().filter_map(|name| Some((root.fingerprint_of(&name)?, name)));
            let sections: BTreeMap<_, _> = sections.map(|(fingerprint, name)| (name, fingerprint)).collect();
            let (listen, upstream, audit, state_directory) = (listen?, upstream?, audit?, state_directory?);
            let admin = admin.unwrap_or(DEFAULT_ADMIN);
            let signing_key = audit.signing_key.as_ref().map(|key| key.public().id());
            let lasting = [
                ("listen.address", listen.address.to_string()),
                ("listen.workers", listen.workers.to_string()),
                ("listen.drain", format!("{:?}", listen.drain)),
                ("admin.address", admin.to_string()),
                ("store", sections.get("store").copied().map(Fingerprint::to_text).unwrap_or_default()),
                ("anomaly", sections.get("anomaly").copied().map(Fingerprint::to_text).unwrap_or_default()),
                ("containment", sections.get("containment").copied().map(Fingerprint::to_text).unwrap_or_default()),
                ("upstream.idle_connections", upstream.idle_connections.to_string()),
                ("audit.directory", audit.directory.display().to_string()),
                ("audit.signing_key", signing_key.unwrap_or_default()),
                ("state.directory", state_directory.display().to_string()),
            ];
            let lasting = Lasting::new(lasting.map(|(key, value)| (key, root.line_of(key), value)));
            Some(Self {
                file: path.to_owned(),
                sections,
                lasting,
                reload,
                listen,
                admin,
                issuers: issuers?,
                revocation,
                policy: policy?,
                door,
                limits: limits?,
                prices: prices?,
                store: store?,
                upstream,
                sha256,
                audit,
                privacy: privacy?,
                anomaly,
                containments: containments?,
                telemetry: telemetry?,
                log,
                state_directory,
            })
        })
    }
}

/// The admin address when the file gives none: loopback, for what it shows is for ops alone.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);

/// systemd's, where it gives one (`StateDirectory=` in systemd.exec(5)); else a folder beside the configuration with its
/// name, so that two configurations do not share their budgets.
fn default_state_directory(config: &Path) -> PathBuf {
    std::env::var_os("STATE_DIRECTORY").map_or_else(|| config.with_extension("state"), PathBuf::from)
}

/// The folder, made for this user alone if it is missing, and tried by writing a file to it.
fn writable(section: &Section<'_>, directory: PathBuf) -> Option<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let probe = directory.join(format!(".portcullis-probe-{}", std::process::id()));
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    let tried = made.and_then(|()| std::fs::write(&probe, b"")).and_then(|()| std::fs::remove_file(&probe));
    if let Err(error) = tried {
        section.fault(
            "directory",
            format!("cannot write to {}: {error}", directory.display()),
            "name a folder that this user can write",
        );
        return None;
    }
    Some(directory)
}

#[cfg(test)]
mod tests;
