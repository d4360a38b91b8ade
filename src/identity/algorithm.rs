//! The signature algorithms that a token may have (RFC 7518 section 3.1, RFC 8037).

use std::fmt;
use std::str::FromStr;

/// A signature algorithm. There is no `none`.
#[allow(missing_docs)] // the names are the standard's own
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];

    /// The `alg` value.
    pub fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }

    /// For HMAC the fewest bytes that a secret may have (RFC 7518 section 3.2); `None` for signatures by a key pair.
    pub fn shortest_secret(self) -> Option<usize> {
        match self {
            Self::HS256 => Some(32),
            Self::HS384 => Some(48),
            Self::HS512 => Some(64),
            _ => None,
        }
    }

    /// Whether it needs a shared secret.
    pub fn is_hmac(self) -> bool {
        self.shortest_secret().is_some()
    }

    /// The same as the library for signing knows it; it has no ES512.
    pub fn for_signing(self) -> Option<jsonwebtoken::Algorithm> {
        self.name().parse().ok()
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no signature algorithm has this name")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// By the exact name. `Ed25519` is the newer name of the one curve that `EdDSA` stands for here (RFC 9864).
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or(UnknownAlgorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_and_none_is_none() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
        }
        assert_eq!("Ed25519".parse(), Ok(Algorithm::EdDSA));
        for name in ["none", "None", "", "hs256", "RS256 ", "ES256K", "HS1", "Ed448"] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name}");
        }
    }

    #[test]
    fn only_es512_cannot_be_signed_with() {
        let lacking: Vec<_> =
            Algorithm::ALL.into_iter().filter(|algorithm| algorithm.for_signing().is_none()).collect();
        assert_eq!(lacking, [Algorithm::ES512]);
    }
}
