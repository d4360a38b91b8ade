//! A caller whose token has been verified.

use std::net::IpAddr;
use std::time::SystemTime;

/// What a token says, after its signature, issuer, audience and times were checked. Only
/// [`Issuers::verify`](super::Issuers::verify) makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) token_id: Option<String>,
    pub(super) teams: Vec<String>,
    pub(super) scopes: Vec<String>,
    pub(super) expires: SystemTime,
}

/// Who calls: a verified token and the address that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    token: VerifiedToken,
    address: IpAddr,
}

impl Caller {
    /// Binds a verified token to where it came from.
    pub fn new(token: VerifiedToken, address: IpAddr) -> Self {
        Self { token, address }
    }

    /// A caller that no token stands behind.
    #[cfg(test)]
    pub(crate) fn for_tests(subject: &str, scopes: &[&str], address: IpAddr, expires: SystemTime) -> Self {
        let token = VerifiedToken {
            issuer: "test".to_owned(),
            subject: subject.to_owned(),
            token_id: None,
            teams: Vec::new(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            expires,
        };
        Self::new(token, address)
    }

    /// The issuer's configured name.
    pub fn issuer(&self) -> &str {
        &self.token.issuer
    }

    /// The `sub` claim.
    pub fn subject(&self) -> &str {
        &self.token.subject
    }

    /// The `jti` claim.
    pub fn token_id(&self) -> Option<&str> {
        self.token.token_id.as_deref()
    }

    /// The teams of the issuer's `team_claim`.
    pub fn teams(&self) -> &[String] {
        &self.token.teams
    }

    /// Whether the token carries `scope`.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.token.scopes.iter().any(|carried| carried == scope)
    }

    /// The client's address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// When the token expires.
    pub fn expires(&self) -> SystemTime {
        self.token.expires
    }
}
