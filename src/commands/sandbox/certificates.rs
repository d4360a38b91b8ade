//! The sandbox's own certificate authority.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// Makes a CA and writes `ca.crt`; then certificates with their keys for the proxy (`server`), for the stand-in upstream
/// (`upstream`) and for the proxy as the upstream's client (`client`).
pub(super) fn make(directory: &Path) -> Result<(), String> {
    let authority = authority().map_err(|error| format!("cannot make a certificate authority: {error}"))?;
    write(&directory.join("ca.crt"), authority.pem().as_bytes())?;
    let loopback = || vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let mut upstream = loopback();
    upstream.push("api.anthropic.com".to_owned());
    for (name, hosts, purpose) in [
        ("server", loopback(), ExtendedKeyUsagePurpose::ServerAuth),
        ("upstream", upstream, ExtendedKeyUsagePurpose::ServerAuth),
        ("client", vec!["edge.portcullis.sandbox".to_owned()], ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let (certificate, key) = leaf(&authority, name, hosts, purpose)
            .map_err(|error| format!("cannot make the certificate {name}: {error}"))?;
        write(&directory.join(format!("{name}.crt")), certificate.as_bytes())?;
        write(&directory.join(format!("{name}.key")), key.as_bytes())?;
    }
    Ok(())
}

/// Writes a file that only this user can read.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), String> {
    let written = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    written
        .and_then(|mut file| io::Write::write_all(&mut file, content))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = params("Portcullis sandbox CA", Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn leaf(
    authority: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    hosts: Vec<String>,
    purpose: ExtendedKeyUsagePurpose,
) -> Result<(String, String), rcgen::Error> {
    let mut params = params(&format!("Portcullis sandbox {name}"), hosts)?;
    params.extended_key_usages = vec![purpose];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, authority)?.pem(), key.serialize_pem()))
}

fn params(common_name: &str, hosts: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // Three months, from yesterday for clocks that run late: clients may refuse certificates that live for decades, and we
    // warn of those that end within one.
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::days(1);
    params.not_after = now + time::Duration::days(90);
    Ok(params)
}
