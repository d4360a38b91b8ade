use std::time::{Duration, SystemTime};

use super::super::direct::{Direct, DirectFault, TlsFault};
use super::super::testing::{Authority, DAY, Files, Leaf, Listening, NAME, TIMEOUTS};
use super::*;
use crate::credential::SecretSource;

/// A store over files of its own, with the authority that both CA and client certificate are of.
struct Followed {
    authority: Authority,
    client: Leaf,
    files: Files,
    store: Arc<TrustStore>,
}

impl Followed {
    fn new() -> Self {
        let authority = Authority::new();
        let client = authority.leaf("edge");
        let files = Files::new(&authority, Some(&client));
        Self { store: files.store(&[]), authority, client, files }
    }

    /// The generation after another look, and whether the files are faulty.
    fn look(&self) -> (u64, bool) {
        self.store.look(SystemTime::now());
        (self.store.current().generation(), self.store.is_faulty())
    }

    fn serial(&self) -> String {
        self.store.current().client().unwrap().serial()
    }
}

#[test]
fn a_certificate_that_is_written_before_its_key_is_taken_over_with_it() {
    let followed = Followed::new();
    assert_eq!(followed.look(), (0, false));
    let (first, next) = (followed.serial(), followed.authority.leaf("edge"));
    followed.files.write("client.pem", &next.pem);
    assert_eq!([followed.look(), followed.look()], [(0, true); 2]);
    assert_eq!(followed.serial(), first);
    followed.files.write("client.key", &next.key.serialize_pem());
    assert_eq!(followed.look(), (1, false));
    assert_ne!(followed.serial(), first);
    assert_eq!((followed.look(), followed.store.reloads_total()), ((1, false), 1));
}

#[test]
fn what_does_not_fit_keeps_the_set_in_force() {
    let other = Authority::new().leaf("edge");
    let expired = Authority::new().leaf_of("edge", other.key, -9, -1);
    let key = expired.key.serialize_pem();
    for (name, content) in [
        ("client.pem", &*expired.pem),
        ("client.pem", "-----BEGIN CERTIFICATE-----\nMIIB"),
        ("client.pem", ""),
        ("client.key", &key),
        ("client.key", "-----BEGIN PRIVATE KEY-----\nMIGH"),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        ("ca.pem", &Authority::valid(-9, -1).pem()),
    ] {
        let followed = Followed::new();
        followed.files.write(name, content);
        assert_eq!([followed.look(), followed.look()], [(0, true); 2], "{name} {content}");
        followed.files.write("client.pem", &followed.client.pem);
        followed.files.write("client.key", &followed.client.key.serialize_pem());
        followed.files.write("ca.pem", &followed.authority.pem());
        assert_eq!(followed.look(), (0, false), "{name}: as it was is no change");
    }
}

#[test]
fn a_renewed_certificate_of_the_same_key_is_a_change() {
    let followed = Followed::new();
    let key = rcgen::KeyPair::from_pem(&followed.client.key.serialize_pem()).unwrap();
    followed.files.write("client.pem", &followed.authority.leaf_of("edge", key, -1, 90).pem);
    assert_eq!(followed.look(), (1, false));
}

#[test]
fn a_set_that_fits_only_later_is_taken_over_then() {
    let followed = Followed::new();
    let key = rcgen::KeyPair::from_pem(&followed.client.key.serialize_pem()).unwrap();
    followed.files.write("client.pem", &followed.authority.leaf_of("edge", key, 1, 90).pem);
    assert_eq!(followed.look(), (0, true));
    followed.store.look(SystemTime::now() + 2 * DAY);
    assert_eq!((followed.store.current().generation(), followed.store.is_faulty()), (1, false));
}

#[test]
fn the_ends_of_client_certificate_and_of_the_first_ca_are_told() {
    let followed = Followed::new();
    let days = |followed: &Followed| {
        let days = |end: SystemTime| end.duration_since(SystemTime::now()).unwrap().as_secs().div_ceil(24 * 3600);
        followed.store.expiries().iter().map(|end| (end.certificate, days(end.not_after))).collect::<Vec<_>>()
    };
    assert_eq!(days(&followed), [("upstream_client", 60), ("upstream_ca", 300)]);
    let bundle = [Authority::valid(-9, -1), Authority::valid(-9, 100), Authority::valid(-9, 50)];
    followed.files.write("ca.pem", &bundle.map(|authority| authority.pem()).concat());
    assert_eq!(followed.look(), (1, false));
    assert_eq!(days(&followed), [("upstream_client", 60), ("upstream_ca", 50)]);
    assert_eq!(followed.store.current().ca().unwrap().len(), 2, "the one that has ended is left out");
    assert_eq!(followed.store.current().left_out(), 1);
}

#[test]
fn all_faults_are_told_at_once_and_nothing_of_the_key() {
    let authority = Authority::new();
    let leaf = authority.leaf("edge");
    let files = Files::new(&authority, Some(&leaf));
    files.write("ca.pem", "");
    files.write("client.key", "my-secret-key");
    let name = NAME.try_into().unwrap();
    let faults = TrustStore::open(name, files.sources(&[]), SystemTime::now()).err().unwrap();
    let expected = [
        TrustFault::Ca("holds no certificate".to_owned()),
        TrustFault::ClientKey("holds no private key in PEM".to_owned()),
    ];
    assert_eq!(faults, expected);
}

#[test]
fn a_key_in_the_environment_is_read_with_the_certificate() {
    let authority = Authority::new();
    let files = Files::new(&authority, Some(&authority.leaf("edge")));
    let mut sources = files.sources(&[]);
    sources.client.as_mut().unwrap().1 = SecretSource::Environment("PORTCULLIS_NO_SUCH_VARIABLE".to_owned());
    let name = NAME.try_into().unwrap();
    let faults = TrustStore::open(name, sources, SystemTime::now()).err().unwrap();
    assert_eq!(faults[0].key_and_problem().0, "client_key");
}

#[tokio::test]
async fn connections_after_a_change_are_made_with_the_new_set() {
    let followed = Followed::new();
    let next = Authority::new();
    let upstream = Listening::tls(next.asking(&next.leaf(NAME), rustls::ALL_VERSIONS)).await;
    let direct = Direct::new(Some(Arc::clone(&followed.store)), NAME, TIMEOUTS);
    let mut shaken = Vec::new();
    let client = next.leaf("edge");
    let key = client.key.serialize_pem();
    for (name, content) in [("none", ""), ("ca.pem", &next.pem()), ("client.pem", &client.pem), ("client.key", &key)] {
        followed.files.write(name, content);
        followed.look();
        shaken.push(direct.handshake(upstream.address).await.err());
    }
    let [before, with_ca, with_certificate, after] = shaken.try_into().unwrap();
    assert_eq!(before, Some(TlsFault::UnknownIssuer.into()));
    let refused = |fault| matches!(fault, Some(DirectFault::Tls(TlsFault::ClientCertificateRefused(_))));
    assert!(
        refused(with_ca) && refused(with_certificate),
        "the old certificate is shown until the new one has its key"
    );
    assert_eq!(after, None);
}

#[tokio::test]
async fn a_change_is_in_force_within_a_second() {
    let followed = Followed::new();
    let following = tokio::spawn(Arc::clone(&followed.store).follow());
    followed.files.write("ca.pem", &Authority::new().pem());
    let changed = async {
        while followed.store.reloads_total() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), changed).await.unwrap();
    assert_eq!(followed.store.current().generation(), 1);
    following.abort();
}
