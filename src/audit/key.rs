//! The key that checkpoints are signed with, and the public half that they are verified with.

use std::path::Path;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

use super::hash::{Hash, parse_hex, to_hex};
use crate::credential::{Secret, read_or_make};

/// An Ed25519 key pair.
pub struct SigningKey(Ed25519KeyPair);

/// The public half of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

/// The file in the state folder that holds the key of a host that was given none.
const FILE: &str = "audit-signing.key";

impl SigningKey {
    /// Reads PKCS#8 (RFC 8410), as PEM or as DER.
    ///
    /// # Errors
    /// When it is no such key.
    pub fn parse(secret: &Secret) -> Result<Self, String> {
        let pem = PrivatePkcs8KeyDer::from_pem_slice(secret.expose());
        let der = pem.as_ref().map_or(secret.expose(), PrivatePkcs8KeyDer::secret_pkcs8_der);
        // OpenSSL leaves the public half out, which the stricter reader would miss.
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map(Self)
            .map_err(|_| "is no Ed25519 key in PKCS#8; `openssl genpkey -algorithm ed25519` makes one".to_owned())
    }

    /// The key that this host made for itself, made now if there is none. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else, or cannot be made.
    pub fn of_host(state_directory: &Path) -> Result<Self, String> {
        let path = state_directory.join(FILE);
        let secret = read_or_make(&path, || {
            let failed = |_| std::io::Error::other("no key could be generated");
            let pair = Ed25519KeyPair::generate().map_err(failed)?;
            let der = pair.to_pkcs8v1().map_err(failed)?;
            Ok(Secret::new(pem("PRIVATE KEY", der.as_ref()).as_bytes().to_vec()))
        });
        let secret = secret.map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&secret).map_err(|fault| format!("{} {fault}", path.display()))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        PublicKey(key)
    }

    pub(super) fn sign(&self, text: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        for (to, from) in signature.iter_mut().zip(self.0.sign(text).as_ref()) {
            *to = *from;
        }
        signature
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}

impl PublicKey {
    /// Reads a PEM (`SubjectPublicKeyInfo`, RFC 8410), or 64 hex digits.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        if let Some(key) = parse_hex(text.trim_ascii()) {
            return Ok(Self(key));
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text).ok();
        let raw = der.as_ref().and_then(|der| der.strip_prefix(SPKI)).and_then(|raw| raw.try_into().ok());
        raw.map(Self).ok_or_else(|| "is neither the PEM of an Ed25519 public key nor its 64 hex digits".to_owned())
    }

    /// Reads the hex that a checkpoint bears.
    pub(super) fn parse_hex(hex: &str) -> Option<Self> {
        parse_hex(hex.as_bytes()).map(Self)
    }

    /// The PEM that [`PublicKey::parse`] and OpenSSL read.
    pub fn to_pem(self) -> String {
        pem("PUBLIC KEY", &[SPKI, &self.0].concat()).to_string()
    }

    /// As checkpoints bear it.
    pub fn to_hex(self) -> String {
        to_hex(&self.0)
    }

    /// What it is called: the first 16 hex digits of its SHA-256.
    pub fn id(self) -> String {
        let mut id = Hash::of_bytes(&self.0).to_string();
        id.truncate(16);
        id
    }

    pub(super) fn verifies(self, text: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(text, signature).is_ok()
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// The DER of a `SubjectPublicKeyInfo` for Ed25519 up to the key itself (RFC 8410 §4).
const SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(format!("-----BEGIN {label}-----\n"));
    for (at, character) in base64.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_makes_its_key_once_and_openssl_reads_both_halves() {
        let folder = tempfile::tempdir().unwrap();
        let made = SigningKey::of_host(folder.path()).unwrap();
        let read = SigningKey::of_host(folder.path()).unwrap();
        assert_eq!(made.public(), read.public());
        let public = made.public();
        assert!(public.verifies(b"text", &read.sign(b"text")));
        assert!(!public.verifies(b"other", &read.sign(b"text")));
        assert_eq!(PublicKey::parse(public.to_pem().as_bytes()), Ok(public));
        assert_eq!(PublicKey::parse(format!("{}\n", public.to_hex()).as_bytes()), Ok(public));
        let pem = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n") && pem.ends_with("\n-----END PRIVATE KEY-----\n"));
        assert!(!format!("{made:?}").contains(pem.lines().nth(1).unwrap()));
    }

    /// RFC 8410 §10.1 and §10.3.
    #[test]
    fn the_keys_of_the_rfc_are_read() {
        let private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        let key = SigningKey::parse(&Secret::new(private.as_bytes().to_vec())).unwrap();
        assert_eq!(key.public(), PublicKey::parse(public.as_bytes()).unwrap());
        assert_eq!(key.public().to_pem(), public);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for other in [&b""[..], b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"00ff"] {
            assert!(PublicKey::parse(other).is_err());
            assert!(SigningKey::parse(&Secret::new(other.to_vec())).is_err());
        }
    }
}
