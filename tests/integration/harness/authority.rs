//! Certificate authorities of the tests' own, so that trust can be changed, broken and rotated.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

/// A certificate authority; each one has a key of its own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// When a certificate may be used.
#[derive(Debug, Clone, Copy)]
pub enum Validity {
    /// From yesterday for a month.
    Current,
    /// Until yesterday.
    Expired,
}

/// A certificate with its private key.
pub struct Certified {
    certificate: rcgen::Certificate,
    key: KeyPair,
    /// No other certificate of this process has it.
    pub serial: u64,
}

impl Authority {
    /// An authority with this common name.
    pub fn new(name: &str) -> Self {
        let mut params = params(name, &[], Validity::Current);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The authority's certificate, as `ca` files have it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// The pin of the authority's key.
    pub fn pin(&self) -> String {
        pin(self.0.key())
    }

    /// A server's certificate with a fresh key, for these names and addresses.
    pub fn server(&self, names: &[&str], validity: Validity) -> Certified {
        self.issue(names, validity, ExtendedKeyUsagePurpose::ServerAuth, KeyPair::generate().unwrap())
    }

    /// The same for the name that the proxies of the tests look for.
    pub fn api(&self) -> Certified {
        self.server(&["api.anthropic.com"], Validity::Current)
    }

    /// A server's certificate for the key of `former`, as a renewal that keeps a pin.
    pub fn renewed(&self, former: &Certified, names: &[&str]) -> Certified {
        let key = KeyPair::from_pem(&former.key_pem()).unwrap();
        self.issue(names, Validity::Current, ExtendedKeyUsagePurpose::ServerAuth, key)
    }

    /// A client's certificate with a fresh key.
    pub fn client(&self, name: &str, validity: Validity) -> Certified {
        self.issue(&[name], validity, ExtendedKeyUsagePurpose::ClientAuth, KeyPair::generate().unwrap())
    }

    fn issue(&self, names: &[&str], validity: Validity, purpose: ExtendedKeyUsagePurpose, key: KeyPair) -> Certified {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let mut params = params(names[0], names, validity);
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial.into());
        Certified { certificate: params.signed_by(&key, &self.0).unwrap(), key, serial }
    }
}

impl Certified {
    /// The certificate, without its authority's.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The private key, PKCS#8.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The certificate.
    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// The private key, PKCS#8.
    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }

    /// The pin of the certificate's key.
    pub fn pin(&self) -> String {
        pin(&self.key)
    }
}

/// The certificates of these authorities, as a peer trusts them.
pub fn roots(authorities: &[&Authority]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.0.der().clone()).unwrap();
    }
    roots
}

/// SHA-256 of a key's `SubjectPublicKeyInfo` in base64, as RFC 7469 section 2.4 defines pins.
fn pin(key: &KeyPair) -> String {
    STANDARD.encode(Sha256::digest(key.subject_public_key_info()))
}

fn params(common_name: &str, names: &[&str], validity: Validity) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = match validity {
        Validity::Current => (now - Duration::days(1), now + Duration::days(30)),
        Validity::Expired => (now - Duration::days(30), now - Duration::days(1)),
    };
    params
}
