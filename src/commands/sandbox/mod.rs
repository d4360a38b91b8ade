//! `portcullis sandbox`: the whole system on loopback, for trying it out and for tests.
//!
//! A certificate authority, a token issuer with a key set, a stand-in for the Claude API behind mutual TLS, and the proxy
//! in front of it, serving a configuration that is written to the sandbox's folder with everything else.

mod certificates;
mod issuer;
mod standin;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use self::issuer::Issuer;
use self::standin::Standin;
use super::serve::Proxy;
use super::token::{self, Claims};
use super::{Outcome, load};
use crate::config::pem;
use crate::telemetry::{LogFormat, init_logs};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the proxy listens [default: a free port of 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Listen without TLS
    #[arg(long)]
    plaintext: bool,
    /// The folder for every file that is made [default: a fresh temporary one]
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
    /// Write a JSON object with addresses, token and files to this file once everything listens
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

pub(super) fn command(arguments: Arguments) -> Outcome {
    init_logs(LogFormat::Text, "warn");
    let directory = directory(arguments.directory)?;
    let peers = Peers::start(&directory)?;
    let config_file = directory.join("portcullis.toml");
    let listen = arguments.listen.unwrap_or_else(loopback);
    certificates::write(&config_file, configuration(listen, arguments.plaintext, &peers).as_bytes())?;

    let config = load(&config_file)?;
    let issuer = config.issuers.first().ok_or("the sandbox has no issuer")?;
    let claims = Claims {
        subject: "sandbox-user",
        scope: SCOPES,
        team: Some("sandbox"),
        lifetime: Duration::from_secs(12 * 3600),
    };
    let token = token::sign(issuer, None, &claims)?;
    let audit_directory = config.audit.directory.clone();
    let proxy = Proxy::bind(config, None)?;
    // With the ports that were free, `check` and `serve` can be tried on the file too.
    let bound =
        configuration(proxy.address(), arguments.plaintext, &peers).replace(ADMIN, &proxy.admin_address().to_string());
    certificates::write(&config_file, bound.as_bytes())?;

    let scheme = if arguments.plaintext { "http" } else { "https" };
    let summary = Summary {
        base_url: format!("{scheme}://{}", proxy.address()),
        admin_url: format!("http://{}", proxy.admin_address()),
        ca_file: directory.join("ca.crt"),
        token,
        config_file,
        audit_directory,
        upstream_url: format!("https://{}", peers.upstream),
        issuer_url: format!("http://{}", peers.issuer),
    };
    proxy.run(move || {
        if let Some(file) = &arguments.ready_file
            && let Err(fault) = summary.write(file)
        {
            eprintln!("{fault}");
        }
        println!("{}", summary.text());
    })
}

/// What the token that is printed may do; Opus shows a refusal.
const SCOPES: &str = "claude:sonnet claude:haiku";

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// The folder, fresh or as told, readable by this user alone.
fn directory(told: Option<PathBuf>) -> Result<PathBuf, String> {
    use std::os::unix::fs::DirBuilderExt;
    let directory =
        told.unwrap_or_else(|| std::env::temp_dir().join(format!("portcullis-{}", uuid::Uuid::now_v7().simple())));
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.and_then(|()| directory.canonicalize())
        .map_err(|error| format!("cannot make the folder {}: {error}", directory.display()))
}

/// Addresses as `conf/sandbox.toml` has them.
const LISTEN: &str = "127.0.0.1:8443";
const ADMIN: &str = "127.0.0.1:9464";
const UPSTREAM: &str = "127.0.0.1:8444";
const ISSUER: &str = "127.0.0.1:8445";
const TLS: &str = "tls = { certificate = \"server.crt\", key = \"server.key\" }\n";

/// The sandbox's configuration with the addresses of this one.
fn configuration(listen: SocketAddr, plaintext: bool, peers: &Peers) -> String {
    let mut text = include_str!("../../../conf/sandbox.toml")
        .replace(LISTEN, &listen.to_string())
        .replace(UPSTREAM, &peers.upstream.to_string())
        .replace(ISSUER, &peers.issuer.to_string());
    if listen.port() == 0 {
        text = text.replace(ADMIN, &loopback().to_string());
    }
    if plaintext {
        text = text.replace(TLS, "");
    }
    text
}

/// The stand-ins for the world outside, on a runtime of their own that ends with this value.
struct Peers {
    _runtime: Runtime,
    upstream: SocketAddr,
    issuer: SocketAddr,
}

impl Peers {
    /// Makes keys and certificates in `directory`, and starts the issuer and the stand-in upstream.
    fn start(directory: &Path) -> Result<Self, String> {
        let fault = |error: std::io::Error| format!("cannot start the sandbox's peers: {error}");
        certificates::make(directory)?;
        let issuer = Issuer::make(&directory.join("issuer.key"))?;
        let key = format!("sk-ant-sandbox-{}", uuid::Uuid::new_v4().simple());
        certificates::write(&directory.join("anthropic-key"), key.as_bytes())?;
        let tls = Arc::new(upstream_tls(directory)?);

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .thread_name("sandbox")
            .build()
            .map_err(fault)?;
        let (issuer_socket, upstream_socket) = runtime
            .block_on(async { Ok((TcpListener::bind(loopback()).await?, TcpListener::bind(loopback()).await?)) })
            .map_err(fault)?;
        let issuer_address = issuer_socket.local_addr().map_err(fault)?;
        let upstream_address = upstream_socket.local_addr().map_err(fault)?;
        runtime.spawn(issuer.serve(issuer_socket, format!("http://{issuer_address}")));
        runtime.spawn(standin::serve(Standin::new(&key), upstream_socket, Some(tls)));
        Ok(Self { _runtime: runtime, upstream: upstream_address, issuer: issuer_address })
    }
}

/// TLS that demands a certificate of the sandbox's CA.
fn upstream_tls(directory: &Path) -> Result<ServerConfig, String> {
    let read = |name: &str| std::fs::read(directory.join(name)).map_err(|error| format!("cannot read {name}: {error}"));
    let mut roots = RootCertStore::empty();
    for authority in pem::authorities(&read("ca.crt")?)? {
        roots.add(authority).map_err(|error| error.to_string())?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().map_err(|error| error.to_string())?;
    let chain = pem::certificates(&read("upstream.crt")?)?;
    let key = pem::private_key(&read("upstream.key")?)?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What a user or a test needs to know of a sandbox.
struct Summary {
    base_url: String,
    admin_url: String,
    ca_file: PathBuf,
    token: String,
    config_file: PathBuf,
    audit_directory: PathBuf,
    upstream_url: String,
    issuer_url: String,
}

impl Summary {
    /// Writes the summary as JSON, whole or not at all: whoever waits for the file may read it at once.
    fn write(&self, file: &Path) -> Result<(), String> {
        let content = json!({
            "base_url": self.base_url,
            "admin_url": self.admin_url,
            "ca_file": self.ca_file,
            "token": self.token,
            "config_file": self.config_file,
            "audit_directory": self.audit_directory,
            "upstream_url": self.upstream_url,
            "issuer_url": self.issuer_url,
        });
        let draft = file.with_extension("part");
        certificates::write(&draft, content.to_string().as_bytes())?;
        std::fs::rename(&draft, file).map_err(|error| format!("cannot write {}: {error}", file.display()))
    }

    /// The same for people, with lines that can be pasted into a shell.
    fn text(&self) -> String {
        let trust = if self.base_url.starts_with("https") {
            format!("--cacert {} ", self.ca_file.display())
        } else {
            String::new()
        };
        let python_trust =
            if trust.is_empty() { String::new() } else { format!("SSL_CERT_FILE={} ", self.ca_file.display()) };
        let curl = |token: &str, model: &str| {
            format!(
                "curl -sS {trust}{}/v1/messages -H 'Authorization: Bearer {token}' -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' \
                 -d '{{\"model\":\"{model}\",\"max_tokens\":64,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'",
                self.base_url
            )
        };
        let mut text = String::new();
        let _ = writeln!(
            text,
            "Portcullis sandbox: a stand-in for Claude behind mutual TLS, and the proxy in front of it.\n"
        );
        let _ = writeln!(text, "Token of sandbox-user ({SCOPES}):\n{}\n", self.token);
        let _ = writeln!(text, "An answer:\n{}\n", curl(&self.token, "claude-haiku-4-5"));
        let _ = writeln!(
            text,
            "A refusal, for the token has no scope for Opus:\n{}\n",
            curl(&self.token, "claude-opus-5-5")
        );
        let _ = writeln!(text, "A refusal, for the token is none:\n{}\n", curl("invalid-jwt", "claude-haiku-4-5"));
        let _ = writeln!(
            text,
            "The Python SDK:\n{python_trust}ANTHROPIC_BASE_URL={} ANTHROPIC_AUTH_TOKEN={} python3 -c 'import anthropic; \
             print(anthropic.Anthropic().messages.create(model=\"claude-haiku-4-5\", max_tokens=64, messages=[{{\"role\": \"user\", \"content\": \"Hello\"}}]).content)'\n",
            self.base_url, self.token
        );
        let _ = writeln!(text, "Configuration  {}", self.config_file.display());
        let _ = writeln!(text, "Audit records  {}/audit-*.jsonl", self.audit_directory.display());
        let _ = write!(text, "Metrics        {}/metrics\nStop with Ctrl-C.", self.admin_url);
        text
    }
}
