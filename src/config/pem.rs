//! Certificates and keys from PEM text, each checked before anything that panics on a bad one sees it.

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// All certificates of a PEM text, the leaf first as in the file.
///
/// # Errors
/// Says what is wrong when a block is damaged or there is no certificate.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| format!("has a damaged certificate: {error}"))?;
    if chain.is_empty() {
        return Err("holds no certificate".to_owned());
    }
    Ok(chain)
}

/// The certificates of a PEM text, each fit to be a root.
///
/// # Errors
/// As [`certificates`], and for one that does not parse.
pub fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = certificates(pem)?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| format!("has a certificate that is of no use: {error}"))?;
    }
    Ok(certificates)
}

/// The first private key of a PEM text (PKCS#1, PKCS#8 or SEC1).
///
/// # Errors
/// Says that there is none, without repeating any of the text.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| "holds no private key in PEM".to_owned())
}

/// A certificate chain with its key.
///
/// # Errors
/// Says so when the certificate does not parse or the key is another certificate's.
pub fn certified_key(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<CertifiedKey, String> {
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
        .map_err(|error| format!("does not fit its key: {error}"))
}
