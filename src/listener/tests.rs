use std::fs;
use std::io::{Read, Write};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection};
use rustls_pki_types::ServerName;

use super::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate and its key.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["edge.test".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// A client that believes this authority and has a certificate of `own`.
    fn client(&self, own: &Self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let (chain, key) = own.issue();
        let chain = pem::certificates(chain.as_bytes()).unwrap();
        let key = pem::private_key(key.as_bytes()).unwrap();
        Arc::new(builder.with_root_certificates(self.roots()).with_client_auth_cert(chain, key).unwrap())
    }
}

struct Files(tempfile::TempDir);

impl Files {
    fn of(server: &Authority, clients: &Authority) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write_server(&server.issue());
        files.write("ca", &clients.0.pem());
        files
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.0.path().join("new"), content).unwrap();
        fs::rename(self.0.path().join("new"), self.0.path().join(name)).unwrap();
    }

    fn write_server(&self, (chain, key): &(String, String)) {
        self.write("crt", chain);
        self.write("key", key);
    }

    fn open(&self) -> ListenerTls {
        let path = |name| self.0.path().join(name);
        let sources = TlsSources {
            certificate: path("crt"),
            key: path("key"),
            client_ca: Some(path("ca")),
            client_certificate_optional: false,
        };
        ListenerTls::open(sources).unwrap_or_else(|faults| panic!("{faults:?}"))
    }
}

/// A whole handshake in memory, with a first byte from the server so that the client has its session ticket.
fn handshake(client: &Arc<ClientConfig>, listener: &ListenerTls) -> Result<HandshakeKind, rustls::Error> {
    let name = ServerName::try_from("edge.test").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(listener.server()).unwrap();
    let mut greeted = false;
    while client.is_handshaking() || server.is_handshaking() || server.wants_write() || !greeted {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            server.read_tls(&mut wire).unwrap();
            server.process_new_packets()?;
        }
        if !server.is_handshaking() && !greeted {
            server.writer().write_all(b"x").unwrap();
            greeted = true;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            client.process_new_packets()?;
        }
    }
    let mut byte = [0];
    client.reader().read_exact(&mut byte).unwrap();
    Ok(server.handshake_kind().unwrap())
}

#[test]
fn a_new_certificate_is_shown_once_it_fits_its_key() {
    let (authority, clients, other) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::of(&authority, &clients);
    let listener = files.open();
    let (old, new) = (authority.client(&clients), other.client(&clients));
    assert!(handshake(&old, &listener).is_ok() && handshake(&new, &listener).is_err());
    let renewed = other.issue();
    files.write("crt", &renewed.0);
    listener.look(SystemTime::now());
    assert!(listener.is_faulty() && handshake(&old, &listener).is_ok(), "the key is still another's");
    files.write("key", &renewed.1);
    listener.look(SystemTime::now());
    assert!(!listener.is_faulty() && handshake(&new, &listener).is_ok() && handshake(&old, &listener).is_err());
    assert_eq!(listener.reloads_total(), 1);
    // The same once more is no other set: sessions go on.
    files.write_server(&renewed);
    listener.look(SystemTime::now());
    assert_eq!(listener.reloads_total(), 1);
}

#[test]
fn a_session_does_not_outlive_the_authority_that_it_began_under() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::of(&authority, &clients);
    let listener = files.open();
    let client = authority.client(&clients);
    assert_eq!(handshake(&client, &listener).unwrap(), HandshakeKind::Full);
    assert_eq!(handshake(&client, &listener).unwrap(), HandshakeKind::Resumed);
    files.write("ca", &others.0.pem());
    listener.look(SystemTime::now());
    assert!(handshake(&client, &listener).is_err());
    assert!(handshake(&authority.client(&others), &listener).is_ok());
}

#[test]
fn what_does_not_fit_keeps_the_old_set_and_is_told_by_its_key() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = Files::of(&authority, &clients);
    let listener = files.open();
    let client = authority.client(&clients);
    for (name, content) in [("crt", ""), ("key", "-----BEGIN"), ("ca", "x")] {
        let good = fs::read_to_string(files.0.path().join(name)).unwrap();
        files.write(name, content);
        listener.look(SystemTime::now());
        assert!(listener.is_faulty() && handshake(&client, &listener).is_ok(), "{name}");
        let faults = ListenerTls::open(listener.sources().clone()).err().unwrap();
        let keys: Vec<_> = faults.iter().map(|fault| fault.key_and_problem().0.rsplit('.').next().unwrap()).collect();
        let expected = match name {
            "crt" => "certificate",
            "ca" => "client_ca",
            _ => "key",
        };
        assert_eq!(keys, [expected]);
        files.write(name, &good);
        listener.look(SystemTime::now());
        assert!(!listener.is_faulty(), "{name}");
    }
    fs::remove_file(files.0.path().join("key")).unwrap();
    listener.look(SystemTime::now() + Duration::from_secs(1));
    assert!(listener.is_faulty() && handshake(&client, &listener).is_ok());
    assert_eq!(listener.reloads_total(), 0);
}
