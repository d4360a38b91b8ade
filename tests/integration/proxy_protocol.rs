//! A listener behind a balancer that passes TCP on, and says by the PROXY protocol whose connection it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{Proxy, Sandbox, log_of, unique_id};

const REQUEST: &[u8] = b"GET /v1/models HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n";
const TLS: &str = "tls = { certificate = \"server.crt\", key = \"server.key\" }\n";

/// A proxy that believes headers of `trusted`.
struct Listener {
    proxy: Proxy,
}

impl Listener {
    fn start(trusted: &str, tls: &str) -> Self {
        let name = format!("proxy-protocol-{}", unique_id());
        let keys = format!("{tls}trusted_proxies = [\"{trusted}\"]\nproxy_protocol = true\n\n[admin]");
        Self { proxy: Proxy::start(&name, |text| text.replace("[admin]", &keys)) }
    }

    async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.proxy.base_url.strip_prefix("http://").unwrap()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Whom the record has as the client of the request with this answer.
    async fn recorded_client(&self, answer: &str) -> String {
        let id = answer.lines().find_map(|line| line.strip_prefix("x-portcullis-request-id: "));
        let id = id.unwrap_or_else(|| panic!("no request id: {answer}"));
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let records = log_of(&self.proxy.audit);
            if let Some(line) = records.lines().find(|line| line.contains(id) && line.ends_with('}')) {
                let record: Value = serde_json::from_str(line).unwrap();
                return record["client"].as_str().unwrap().to_owned();
            }
            assert!(Instant::now() < deadline, "no record of {id}");
            tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a deadline
        }
    }

    /// What comes back on a plain connection that begins with `header`; nothing if it is closed.
    async fn plain(&self, header: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The proxy may have closed already.
        let _ = stream.write_all(&[header, REQUEST].concat()).await;
        rest(stream).await
    }
}

/// Everything up to the end; a reset is an end too.
async fn rest(mut stream: impl AsyncRead + Unpin) -> String {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// The same request over TLS on a stream whose header has been sent; `None` if there is no handshake.
async fn over_tls(stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<String> {
    let pem = std::fs::read(&Sandbox::shared().ready.ca_file).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream);
    let mut stream = tokio::time::timeout(Duration::from_secs(30), connecting).await.unwrap().ok()?;
    stream.write_all(REQUEST).await.unwrap();
    Some(rest(stream).await)
}

/// A header of version 2: TCP over IPv4 from 198.51.100.7:40000, with a TLV.
fn v2(command: u8) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, 0x11, 0, 17]);
    header.extend([198, 51, 100, 7, 10, 0, 0, 1, 0x9c, 0x40, 0x01, 0xbb]);
    header.extend([0x04, 0, 2, 0, 0]);
    header
}

const V1: &[u8] = b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n";

#[tokio::test]
async fn the_client_of_a_plain_connection_is_the_headers() {
    let listener = Listener::start("127.0.0.1/32", "");
    for (header, client) in [
        (V1, "2001:db8::7"),
        (&v2(0x21), "198.51.100.7"),
        // A health check of the balancer is the balancer's own.
        (&v2(0x20), "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ] {
        let answer = listener.plain(header).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{}: {answer}", header.escape_ascii());
        assert_eq!(listener.recorded_client(&answer).await, client);
    }
    // However the bytes come.
    let mut stream = listener.connect().await;
    for byte in [&v2(0x21), REQUEST].concat() {
        stream.write_all(&[byte]).await.unwrap();
    }
    let answer = rest(stream).await;
    assert_eq!(listener.recorded_client(&answer).await, "198.51.100.7");
}

#[tokio::test]
async fn the_client_of_a_tls_connection_is_the_headers() {
    let listener = Listener::start("127.0.0.1/32", TLS);
    for (header, client) in [(V1, "2001:db8::7"), (&v2(0x21), "198.51.100.7"), (&v2(0x20), "127.0.0.1")] {
        let mut stream = listener.connect().await;
        stream.write_all(header).await.unwrap();
        let answer = over_tls(stream).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{}: {answer}", header.escape_ascii());
        assert_eq!(listener.recorded_client(&answer).await, client);
    }
    // Within TLS it is too late.
    assert!(over_tls(listener.connect().await).await.is_none(), "a handshake without a header");
}

#[tokio::test]
async fn a_second_request_on_the_connection_has_the_same_client() {
    let listener = Listener::start("127.0.0.1/32", "");
    let mut stream = listener.connect().await;
    stream.write_all(V1).await.unwrap();
    stream.write_all(b"HEAD /api/hello HTTP/1.1\r\nhost: gateway\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{}", answer.escape_ascii());
    }
    assert_eq!(listener.recorded_client(&String::from_utf8(answer).unwrap()).await, "2001:db8::7");
    stream.write_all(REQUEST).await.unwrap();
    assert_eq!(listener.recorded_client(&rest(stream).await).await, "2001:db8::7");
}

#[tokio::test]
async fn a_connection_without_a_header_is_closed() {
    let listener = Listener::start("127.0.0.1/32", "");
    for header in [&b""[..], b"PROXY TCP4 nobody 10.0.0.1 1 2\r\n", &v2(0x22), &[b'P'; 300]] {
        assert_eq!(listener.plain(header).await, "", "{}", header.escape_ascii());
    }
    // One that never comes is not waited for.
    let mut silent = listener.connect().await;
    silent.write_all(b"PROXY TCP4 ").await.unwrap();
    assert_eq!(rest(silent).await, "");
}

#[tokio::test]
async fn a_header_of_anybody_else_is_not_believed() {
    let listener = Listener::start("10.0.0.0/8", "");
    for header in [V1, &v2(0x21), &v2(0x20), b""] {
        assert_eq!(listener.plain(header).await, "", "{}", header.escape_ascii());
    }
    let listener = Listener::start("10.0.0.0/8", TLS);
    let mut stream = listener.connect().await;
    stream.write_all(V1).await.unwrap();
    assert!(over_tls(stream).await.is_none(), "a handshake behind an untrusted header");
}
