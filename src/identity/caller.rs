//! A caller whose token has been verified.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
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
    pub(super) issued: Option<SystemTime>,
    pub(super) email: Option<String>,
    pub(super) confirmation: Confirmation,
    pub(super) required_binding: Option<RequiredBinding>,
}

/// What a token's `cnf` claim binds it to (RFC 7800); default: to nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confirmation {
    /// SHA-256 of the client certificate in DER (`x5t#S256`, RFC 8705 section 3.1).
    pub certificate: Option<[u8; 32]>,
    /// SHA-256 thumbprint of the DPoP key (`jkt`, RFC 9449 section 6.1).
    pub dpop_key: Option<[u8; 32]>,
}

/// Which binding every token of an issuer must have (`require_binding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredBinding {
    /// To a client certificate (RFC 8705).
    Certificate,
    /// To a DPoP key (RFC 9449).
    Dpop,
    /// To either.
    Any,
}

/// Not the name of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither certificate, dpop nor any")]
pub struct UnknownBinding;

impl FromStr for RequiredBinding {
    type Err = UnknownBinding;

    fn from_str(name: &str) -> Result<Self, UnknownBinding> {
        match name {
            "certificate" => Ok(Self::Certificate),
            "dpop" => Ok(Self::Dpop),
            "any" => Ok(Self::Any),
            _ => Err(UnknownBinding),
        }
    }
}

/// Who calls: a verified token and the address that it came from. Cheap to make: the token is shared with the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    token: Arc<VerifiedToken>,
    address: IpAddr,
}

impl Caller {
    /// Binds a verified token to where it came from.
    pub fn new(token: Arc<VerifiedToken>, address: IpAddr) -> Self {
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
            issued: None,
            email: None,
            confirmation: Confirmation::default(),
            required_binding: None,
        };
        Self::new(Arc::new(token), address)
    }

    /// The same caller as a member of `teams`.
    #[cfg(test)]
    pub(crate) fn in_teams(mut self, teams: &[&str]) -> Self {
        Arc::make_mut(&mut self.token).teams = teams.iter().map(|team| (*team).to_owned()).collect();
        self
    }

    /// The issuer's configured name.
    pub fn issuer(&self) -> &str {
        &self.token.issuer
    }

    /// The issuer's `subject_claim`, by default `sub`.
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

    /// The issuer's `email_claim`.
    pub fn email(&self) -> Option<&str> {
        self.token.email.as_deref()
    }

    /// The scopes of the token.
    pub fn scopes(&self) -> &[String] {
        &self.token.scopes
    }

    /// What the token is bound to.
    pub fn confirmation(&self) -> &Confirmation {
        &self.token.confirmation
    }

    /// The binding that the token's issuer demands.
    pub fn required_binding(&self) -> Option<RequiredBinding> {
        self.token.required_binding
    }

    /// When the token was issued (`iat`).
    pub fn issued(&self) -> Option<SystemTime> {
        self.token.issued
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
