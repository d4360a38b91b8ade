//! The client certificate of a connection.

use pingora::protocols::tls::SslDigest;
use pingora_proxy::Session;

/// SHA-256 of the leaf certificate in DER that the client showed in its TLS handshake, which is what a token's `x5t#S256`
/// holds (RFC 8705 section 3.1); `None` without TLS or without one. A resumed TLS session counts with the certificate of
/// its first handshake.
///
/// Only a certificate that the listener asked for and verified gets here: without `client_ca` none is asked for. Pingora has
/// the hash computed once a connection.
pub(super) fn client_certificate(session: &Session) -> Option<[u8; 32]> {
    session.digest()?.ssl_digest.as_deref().and_then(hash)
}

/// Pingora leaves the digest empty when there was no certificate.
fn hash(digest: &SslDigest) -> Option<[u8; 32]> {
    digest.cert_digest.as_slice().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_certificate_is_no_hash() {
        let with = |digest: Vec<u8>| hash(&SslDigest::new("", "TLSv1.3", None, None, digest));
        assert_eq!(with(Vec::new()), None);
        assert_eq!(with(vec![1; 20]), None);
        assert_eq!(with(vec![1; 32]), Some([1; 32]));
    }
}
