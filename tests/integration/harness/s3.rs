//! Real stores that speak S3's language: `SeaweedFS`, which checks signatures and keeps retention, and moto, which knows
//! which buckets there are. And a way to them that can be cut.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Process, unique_id};

/// A running store.
pub struct S3 {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

/// What a store says of one version of an object.
#[derive(Debug, serde::Deserialize)]
pub struct Version {
    pub key: String,
    #[serde(rename = "version")]
    pub id: String,
    pub lock: Option<String>,
    pub until: Option<String>,
    pub encryption: Option<String>,
    pub r#type: String,
    pub metadata: std::collections::BTreeMap<String, String>,
}

/// What both stores take for a pair of keys.
pub const ACCESS_KEY: &str = "portcullis-test";
/// See [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "a-secret-of-this-test";

/// The `SeaweedFS` that tests share, each with a bucket of its own.
pub fn seaweed() -> &'static S3 {
    static SHARED: LazyLock<S3> = LazyLock::new(|| {
        let folder = folder();
        let identities = serde_json::json!({ "identities": [{
            "name": "test", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            "credentials": [{ "accessKey": ACCESS_KEY, "secretKey": SECRET_KEY }],
        }] });
        let file = folder.path().join("identities.json");
        std::fs::write(&file, identities.to_string()).unwrap();
        let ports: [u16; 8] = quiet_ports();
        let mut command = Command::new(installed("bin/weed"));
        command.args(["-logtostderr", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=200"]);
        command.args(["-master.volumeSizeLimitMB=16", "-master.telemetry=false"]);
        command.args(["-s3", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
        command.arg(format!("-dir={}", folder.path().display())).arg(format!("-s3.config={}", file.display()));
        for (part, [http, grpc]) in ["s3", "master", "volume", "filer"].iter().zip(ports.as_chunks().0) {
            command.args([format!("-{part}.port={http}"), format!("-{part}.port.grpc={grpc}")]);
        }
        for part in ["s3", "filer"] {
            command.arg(format!("-{part}.localSocket={}", folder.path().join(part).display()));
        }
        // Without a key of its own it cannot encrypt.
        command.env("WEED_S3_SSE_KEK", "5a".repeat(32));
        S3::start(&command, "Start Seaweed S3 API Server", ports[0], folder)
    });
    &SHARED
}

/// The moto that tests share. It takes every key.
pub fn moto() -> &'static S3 {
    static SHARED: LazyLock<S3> = LazyLock::new(|| {
        let [port] = quiet_ports();
        let mut command = Command::new(installed("bin/moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        S3::start(&command, "Running on", port, folder())
    });
    &SHARED
}

impl S3 {
    fn start(command: &Command, sign: &str, port: u16, folder: TempDir) -> Self {
        // They log to standard error, and the sign is there.
        let mut shell = Command::new("sh");
        shell.arg("-c").arg("exec \"$0\" \"$@\" 2>&1").arg(command.get_program()).args(command.get_args());
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(folder.path());
        Self { port, _process: Process::start(shell, sign), _folder: folder }
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A bucket with Object Lock that nobody else has.
    pub fn bucket(&self) -> String {
        let name = format!("evidence-{}", unique_id());
        self.make(&name);
        name
    }

    /// Makes the bucket.
    pub fn make(&self, bucket: &str) {
        self.ask::<()>(&["make", bucket]);
    }

    /// Puts an object that holds `text`.
    pub fn put(&self, bucket: &str, key: &str, text: &str) {
        self.ask::<()>(&["put", bucket, key, text]);
    }

    /// Every version in the bucket.
    pub fn versions(&self, bucket: &str) -> Vec<Version> {
        self.ask(&["versions", bucket])
    }

    /// Deletes a version; the code of the refusal, if it is one.
    pub fn delete(&self, bucket: &str, one: &Version) -> Option<String> {
        self.ask(&["delete", bucket, &one.key, &one.id])
    }

    /// Downloads every object; their keys.
    pub fn fetch(&self, bucket: &str, folder: &Path) -> Vec<String> {
        self.ask(&["fetch", bucket, folder.to_str().unwrap()])
    }

    fn ask<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/s3/bucket.py");
        let output = Command::new(installed("bin/python"))
            .args([script, &self.endpoint()])
            .args(arguments)
            .envs([("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)])
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// A program of the virtual environment that `make test` makes.
pub fn installed(program: &str) -> PathBuf {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/s3/.venv")).join(program);
    assert!(path.exists(), "`make test` installs {}", path.display());
    path
}

/// A folder for a store's data. What a test leaves there `cargo clean` removes.
fn folder() -> TempDir {
    tempfile::Builder::new().prefix("s3-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Ports that are free, below those that the kernel gives to clients (`ip_local_port_range` begins at 32768): none is taken
/// before its server binds it.
fn quiet_ports<const N: usize>() -> [u16; N] {
    static NEXT: LazyLock<AtomicU16> =
        LazyLock::new(|| AtomicU16::new(u16::try_from(std::process::id() % 10_000).unwrap()));
    let mut free = std::iter::from_fn(|| Some(20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 12_000))
        .filter(|&port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
    [(); N].map(|()| free.next().unwrap())
}

/// A way to a store, on a port of its own: closed at first, and able to take requests there and keep the answers back.
pub struct Way {
    pub port: u16,
    target: u16,
    answers: watch::Sender<bool>,
    forwarding: Option<JoinHandle<()>>,
}

impl Way {
    /// A way that nobody listens on yet.
    pub fn to(store: &S3) -> Self {
        let [port] = quiet_ports();
        Self { port, target: store.port, answers: watch::Sender::new(true), forwarding: None }
    }

    /// Where it begins.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Listens, and forwards.
    pub async fn open(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let (target, answers) = (self.target, self.answers.subscribe());
        self.forwarding = Some(tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(forward(client, target, answers.clone()));
            }
        }));
    }

    /// Lets answers through, or keeps them back.
    pub fn let_answers(&self, through: bool) {
        self.answers.send_replace(through);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Some(forwarding) = &self.forwarding {
            forwarding.abort();
        }
    }
}

async fn forward(client: TcpStream, target: u16, mut answers: watch::Receiver<bool>) -> std::io::Result<()> {
    let store = TcpStream::connect(("127.0.0.1", target)).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_store, mut to_store) = store.into_split();
    let there = tokio::io::copy(&mut from_client, &mut to_store);
    let back = async move {
        let mut piece = vec![0; 64 << 10];
        loop {
            let length = from_store.read(&mut piece).await?;
            if length == 0 || answers.wait_for(|through| *through).await.is_err() {
                return to_client.shutdown().await;
            }
            to_client.write_all(piece.get(..length).unwrap_or_default()).await?;
        }
    };
    tokio::try_join!(there, back).map(drop)
}
