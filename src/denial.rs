//! Every reason to refuse a request, with what the caller learns of it and what the record and the metric say.

mod detail;

use std::time::Duration;

pub use detail::{BindingFault, Feature, Overdue, TokenFault};

use crate::claude::{EndpointGroup, ErrorType, Model};
use crate::limit::Measure;
use crate::privacy::Kind;

/// Why a request was refused or could not be completed. Closed: a new variant does not compile until it has a wire form.
///
/// The `Display` text is for the audit record and the log; the caller reads [`Denial::message`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The client's address is denied, or is in no allowed network.
    #[error("the client's address is not allowed: {rule}")]
    AddressForbidden {
        /// The network that denies it, or that none allows it.
        rule: String,
    },
    /// No credential at all.
    #[error("no credential presented")]
    CredentialMissing,
    /// `Authorization` and `x-api-key` differ, or one of them is there twice.
    #[error("credentials that differ")]
    CredentialConflict,
    /// Not a JWT: another scheme, other bytes, too long.
    #[error("the credential is no JWT")]
    CredentialMalformed,
    /// An Anthropic key or OAuth token in place of the corporate token.
    #[error("an Anthropic credential was presented")]
    AnthropicCredential,
    /// The token stands in the path or the query, where logs would keep it.
    #[error("the credential is repeated in the URL")]
    CredentialInUrl,
    /// No `[[issuer]]` has the token's `iss`.
    #[error("no issuer is configured for the token's iss")]
    IssuerUnknown,
    /// The issuer's keys have not been had yet.
    #[error("the keys of issuer {issuer} are not available")]
    IssuerUnavailable {
        /// The issuer's configured name.
        issuer: String,
    },
    /// The signature, its algorithm or its key.
    #[error("token refused: {0}")]
    TokenInvalid(TokenFault),
    /// `exp` has passed.
    #[error("the token has expired")]
    TokenExpired,
    /// `nbf` or `iat` is still to come.
    #[error("the token is not valid yet")]
    TokenNotYetValid,
    /// The token, its subject or all tokens up to a moment were revoked.
    #[error("the token is revoked: {by}")]
    TokenRevoked {
        /// What revoked it: `token_id`, `subject` or `issued_before`.
        by: &'static str,
    },
    /// The token is bound to a client certificate (RFC 8705) or a DPoP key (RFC 9449) and comes without the proof, or its
    /// issuer demands a binding that it lacks.
    #[error("the token's binding: {0}")]
    TokenBinding(BindingFault),
    /// Whether tokens are revoked cannot be known at the moment.
    #[error("revocations cannot be read: {0}")]
    RevocationUnavailable(String),
    /// Lives longer than the issuer's `max_lifetime`.
    #[error("the token's lifetime is above max_lifetime")]
    TokenLifetime,
    /// No endpoint of the API has this method and path.
    #[error("no known endpoint has this method and path")]
    EndpointUnknown,
    /// No grant of the caller lists the endpoint.
    #[error("no grant of the caller lists the endpoint {endpoint}")]
    EndpointForbidden {
        /// The endpoint asked for.
        endpoint: EndpointGroup,
    },
    /// No grant of the caller covers the model at this endpoint.
    #[error("no grant of the caller covers the model {model} at {endpoint}")]
    ModelForbidden {
        /// The model asked for.
        model: Model,
        /// The endpoint asked for.
        endpoint: EndpointGroup,
    },
    /// Above the ceiling of every grant that covers the model.
    #[error("max_tokens {asked} is above the grant's {ceiling}")]
    MaxTokensForbidden {
        /// What the body asks for.
        asked: u64,
        /// The highest ceiling among the grants that cover the model.
        ceiling: u64,
    },
    /// A rule that denies covers the call.
    #[error("denied by the rule {rule}")]
    RuleDenied {
        /// The rule's name.
        rule: String,
    },
    /// The grant that has the say over the model is closed at this hour.
    #[error("outside the hours of {rule}")]
    HoursForbidden {
        /// The grant's name.
        rule: String,
    },
    /// The thinking budget is above the grant's ceiling.
    #[error("a thinking budget of {asked} is above the grant's {ceiling}")]
    ThinkingForbidden {
        /// What the body asks for.
        asked: u64,
        /// The highest ceiling among the grants that cover the model.
        ceiling: u64,
    },
    /// The call uses a feature that no grant of the caller for the model opens.
    #[error("no grant of the caller opens {0}")]
    FeatureForbidden(Feature),
    /// A cost limit covers the call and the price of its model is not known.
    #[error("no price is known for the model {model}")]
    PriceUnknown {
        /// The model asked for.
        model: Model,
    },
    /// More requests or refused tokens from one address than the door lets in.
    #[error("the door is closed to the address: {0}")]
    DoorClosed(&'static str),
    /// The caller or its team is contained, after an alarm.
    #[error("contained by the rule {rule}")]
    Contained {
        /// The rule's name.
        rule: String,
    },
    /// The same, to a rate.
    #[error("throttled by the rule {rule}")]
    Throttled {
        /// The rule's name.
        rule: String,
        /// When a retry is worth it.
        retry_after: Duration,
    },
    /// A limit of the caller is reached.
    #[error("the limit {limit} on {measure} is reached")]
    LimitReached {
        /// The limit's name.
        limit: String,
        /// What it bounds.
        measure: Measure,
        /// When a retry is worth it; `None` when this call alone is above the limit.
        retry_after: Option<Duration>,
    },
    /// A stream used more than was reserved for it, and the limit says that it ends then.
    #[error("the stream spent what the limit {limit} on {measure} reserved for it")]
    LimitSpent {
        /// The limit's name.
        limit: String,
        /// What it bounds.
        measure: Measure,
    },
    /// The shared store does not answer, and a limit says that nothing passes without it.
    #[error("the store of limit {limit} does not answer")]
    StoreUnavailable {
        /// The limit's name.
        limit: String,
    },
    /// A header or a request line that cannot be judged, such as an upgrade to another protocol.
    #[error("malformed request: {0}")]
    RequestMalformed(&'static str),
    /// The body cannot be judged.
    #[error("malformed body: {0}")]
    BodyMalformed(String),
    /// The body is in a content encoding.
    #[error("the body is in a content encoding")]
    BodyEncoded,
    /// It has personal data or a secret in it that the configuration stops; the value itself is told nowhere.
    #[error("the request contains {}", kind.name())]
    ContentForbidden {
        /// What it is.
        kind: Kind,
    },
    /// The body is longer than the configured bound.
    #[error("the body is above {limit} bytes")]
    BodyTooLarge {
        /// The bound in bytes.
        limit: usize,
    },
    /// The client stopped sending its body.
    #[error("the body did not come in time")]
    BodyTimeout,
    /// All bodies together are at their bound.
    #[error("the memory for request bodies is used up")]
    BodyMemory,
    /// The audit log cannot be written.
    #[error("the audit log cannot be written")]
    AuditUnavailable,
    /// The process ends, and the time for requests under way is over.
    #[error("the gateway stops")]
    Stopping,
    /// No endpoint of the upstream has an address that may be used.
    #[error("no upstream address: {0}")]
    UpstreamAddress(String),
    /// Connecting or the TLS handshake failed.
    #[error("the upstream could not be reached: {0}")]
    UpstreamUnreachable(String),
    /// The upstream was silent for too long.
    #[error("the upstream did not answer in time: {0}")]
    UpstreamTimeout(Overdue),
    /// The upstream broke off, or sent what is no HTTP.
    #[error("the upstream failed: {0}")]
    UpstreamFailed(String),
    /// The upstream answered with a redirect, which would lead the client past this proxy.
    #[error("the upstream answered with a redirect")]
    UpstreamRedirect,
    /// No key is there for this caller, or none that the upstream takes.
    #[error("no upstream key: {0}")]
    UpstreamKey(String),
    /// A fault of this proxy.
    #[error("internal fault: {0}")]
    Internal(String),
}

impl Denial {
    /// Every [`reason`](Self::reason).
    pub const REASONS: [&str; 56] = [
        "address_forbidden",
        "credential_missing",
        "credential_conflict",
        "credential_malformed",
        "anthropic_credential",
        "credential_in_url",
        "issuer_unknown",
        "issuer_unavailable",
        "token_invalid",
        "token_expired",
        "token_not_yet_valid",
        "token_revoked",
        "token_binding",
        "revocation_unavailable",
        "token_lifetime",
        "endpoint_unknown",
        "endpoint_forbidden",
        "model_forbidden",
        "max_tokens_forbidden",
        "rule_denied",
        "hours_forbidden",
        "thinking_forbidden",
        "server_tool_forbidden",
        "mcp_servers_forbidden",
        "files_forbidden",
        "skills_forbidden",
        "beta_forbidden",
        "inference_geo_forbidden",
        "price_unknown",
        "door_closed",
        "limit_requests",
        "limit_input_tokens",
        "limit_output_tokens",
        "limit_concurrent",
        "limit_concurrent_streams",
        "budget_spent",
        "limit_spent",
        "store_unavailable",
        "request_malformed",
        "body_malformed",
        "body_encoded",
        "content_forbidden",
        "body_too_large",
        "body_timeout",
        "body_memory",
        "audit_unavailable",
        "upstream_address",
        "upstream_unreachable",
        "upstream_timeout",
        "upstream_failed",
        "upstream_redirect",
        "upstream_key",
        "internal",
        "stopping",
        "contained",
        "contained_rate",
    ];

    /// The metric's label and the record's `reason`. These names are part of the contract with dashboards.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::AddressForbidden { .. } => "address_forbidden",
            Self::CredentialMissing => "credential_missing",
            Self::CredentialConflict => "credential_conflict",
            Self::CredentialMalformed => "credential_malformed",
            Self::AnthropicCredential => "anthropic_credential",
            Self::CredentialInUrl => "credential_in_url",
            Self::IssuerUnknown => "issuer_unknown",
            Self::IssuerUnavailable { .. } => "issuer_unavailable",
            Self::TokenInvalid(_) => "token_invalid",
            Self::TokenExpired => "token_expired",
            Self::TokenNotYetValid => "token_not_yet_valid",
            Self::TokenRevoked { .. } => "token_revoked",
            Self::TokenBinding(_) => "token_binding",
            Self::RevocationUnavailable(_) => "revocation_unavailable",
            Self::TokenLifetime => "token_lifetime",
            Self::EndpointUnknown => "endpoint_unknown",
            Self::EndpointForbidden { .. } => "endpoint_forbidden",
            Self::ModelForbidden { .. } => "model_forbidden",
            Self::MaxTokensForbidden { .. } => "max_tokens_forbidden",
            Self::RuleDenied { .. } => "rule_denied",
            Self::HoursForbidden { .. } => "hours_forbidden",
            Self::ThinkingForbidden { .. } => "thinking_forbidden",
            Self::FeatureForbidden(feature) => feature.reason(),
            Self::PriceUnknown { .. } => "price_unknown",
            Self::DoorClosed(_) => "door_closed",
            Self::Contained { .. } => "contained",
            Self::Throttled { .. } => "contained_rate",
            Self::LimitReached { measure, .. } => match measure {
                Measure::Requests => "limit_requests",
                Measure::InputTokens => "limit_input_tokens",
                Measure::OutputTokens => "limit_output_tokens",
                Measure::Concurrent => "limit_concurrent",
                Measure::ConcurrentStreams => "limit_concurrent_streams",
                Measure::Cost => "budget_spent",
            },
            Self::LimitSpent { .. } => "limit_spent",
            Self::StoreUnavailable { .. } => "store_unavailable",
            Self::RequestMalformed(_) => "request_malformed",
            Self::BodyMalformed(_) => "body_malformed",
            Self::BodyEncoded => "body_encoded",
            Self::ContentForbidden { .. } => "content_forbidden",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodyMemory => "body_memory",
            Self::AuditUnavailable => "audit_unavailable",
            Self::Stopping => "stopping",
            Self::UpstreamAddress(_) => "upstream_address",
            Self::UpstreamUnreachable(_) => "upstream_unreachable",
            Self::UpstreamTimeout(_) => "upstream_timeout",
            Self::UpstreamFailed(_) => "upstream_failed",
            Self::UpstreamRedirect => "upstream_redirect",
            Self::UpstreamKey(_) => "upstream_key",
            Self::Internal(_) => "internal",
        }
    }

    /// The rule that decided, where one did.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::AddressForbidden { rule }
            | Self::RuleDenied { rule }
            | Self::HoursForbidden { rule }
            | Self::Contained { rule }
            | Self::Throttled { rule, .. } => Some(rule),
            Self::LimitReached { limit, .. } | Self::LimitSpent { limit, .. } | Self::StoreUnavailable { limit } => {
                Some(limit)
            }
            _ => None,
        }
    }

    /// The API's error type, and with it the status.
    pub fn error_type(&self) -> ErrorType {
        match self {
            Self::CredentialMissing
            | Self::CredentialConflict
            | Self::CredentialMalformed
            | Self::AnthropicCredential
            | Self::IssuerUnknown
            | Self::TokenInvalid(_)
            | Self::TokenExpired
            | Self::TokenNotYetValid
            | Self::TokenRevoked { .. }
            | Self::TokenBinding(_)
            | Self::TokenLifetime => ErrorType::Authentication,
            Self::AddressForbidden { .. }
            | Self::EndpointForbidden { .. }
            | Self::ModelForbidden { .. }
            | Self::MaxTokensForbidden { .. }
            | Self::RuleDenied { .. }
            | Self::HoursForbidden { .. }
            | Self::ThinkingForbidden { .. }
            | Self::FeatureForbidden(_)
            | Self::Contained { .. }
            | Self::PriceUnknown { .. } => ErrorType::Permission,
            Self::LimitReached { measure: Measure::Cost, .. } | Self::LimitSpent { measure: Measure::Cost, .. } => {
                ErrorType::Billing
            }
            Self::DoorClosed(_) | Self::Throttled { .. } | Self::LimitReached { .. } | Self::LimitSpent { .. } => {
                ErrorType::RateLimit
            }
            Self::EndpointUnknown => ErrorType::NotFound,
            Self::CredentialInUrl
            | Self::RequestMalformed(_)
            | Self::BodyMalformed(_)
            | Self::BodyEncoded
            | Self::ContentForbidden { .. } => ErrorType::InvalidRequest,
            Self::BodyTooLarge { .. } => ErrorType::RequestTooLarge,
            Self::BodyTimeout => ErrorType::RequestTimeout,
            Self::BodyMemory => ErrorType::Overloaded,
            Self::IssuerUnavailable { .. }
            | Self::RevocationUnavailable(_)
            | Self::StoreUnavailable { .. }
            | Self::UpstreamKey(_)
            | Self::AuditUnavailable
            | Self::Stopping => ErrorType::Unavailable,
            Self::UpstreamAddress(_)
            | Self::UpstreamUnreachable(_)
            | Self::UpstreamFailed(_)
            | Self::UpstreamRedirect => ErrorType::BadGateway,
            Self::UpstreamTimeout(_) => ErrorType::Timeout,
            Self::Internal(_) => ErrorType::Internal,
        }
    }

    /// What the caller is told: what to do, and nothing that would help to forge a token or map the inside.
    pub fn message(&self) -> String {
        match self {
            Self::AddressForbidden { .. } => "Your network address may not use this gateway. Ask your administrator.".to_owned(),
            Self::CredentialMissing => {
                "No credential. Send your company token as `Authorization: Bearer` or `x-api-key`.".to_owned()
            }
            Self::CredentialConflict => {
                "Two credentials that differ. Send your company token once; unset a stray ANTHROPIC_API_KEY.".to_owned()
            }
            Self::CredentialMalformed => "The credential is not a company token (a JWT).".to_owned(),
            Self::AnthropicCredential => {
                "An Anthropic credential was sent. This gateway takes your company token; unset ANTHROPIC_API_KEY and sign in \
                 with your company."
                    .to_owned()
            }
            Self::CredentialInUrl => "The URL holds your token. Send it in a header only, and get a new one.".to_owned(),
            Self::IssuerUnknown | Self::TokenInvalid(_) | Self::TokenLifetime | Self::TokenRevoked { .. } => {
                "The token was refused. Get a new one from your company's sign-in.".to_owned()
            }
            Self::TokenExpired => "The token has expired. Get a new one.".to_owned(),
            Self::TokenNotYetValid => "The token is not valid yet. Check this computer's clock.".to_owned(),
            Self::TokenBinding(BindingFault::Unbound) => {
                "Tokens of this issuer must be bound to a client certificate or to a DPoP key.".to_owned()
            }
            Self::TokenBinding(BindingFault::Certificate) => {
                "The token is bound to a client certificate that this connection does not show.".to_owned()
            }
            Self::TokenBinding(_) => "The token needs a fresh DPoP proof for this request.".to_owned(),
            Self::IssuerUnavailable { .. } | Self::RevocationUnavailable(_) => "Tokens cannot be verified at the moment. Try again shortly.".to_owned(),
            Self::EndpointUnknown => "This gateway knows no such endpoint.".to_owned(),
            Self::EndpointForbidden { endpoint } => format!("You have no grant for the endpoint `{endpoint}`."),
            Self::ModelForbidden { model, endpoint } => format!("You have no grant for the model `{model}` at `{endpoint}`."),
            Self::MaxTokensForbidden { ceiling, .. } => format!("max_tokens: at most {ceiling} with your grants for this model."),
            Self::RuleDenied { .. } => "A rule of your administrator denies this call.".to_owned(),
            Self::HoursForbidden { .. } => "Your grant for this model is closed at this hour.".to_owned(),
            Self::ThinkingForbidden { ceiling, .. } => {
                format!(
                    "thinking: at most {ceiling} tokens with your grants for this model; set thinking.budget_tokens, disable \
                     thinking, or lower max_tokens."
                )
            }
            Self::FeatureForbidden(feature) => format!("You have no grant for {feature} with this model."),
            Self::PriceUnknown { model } => {
                format!("The gateway knows no price for the model `{model}`, and you have a cost limit. Ask your administrator.")
            }
            Self::DoorClosed(_) => "Too many requests from your network address.".to_owned(),
            Self::Contained { .. } => {
                "Your use is out of the ordinary, and is stopped for a while. Ask your administrator.".to_owned()
            }
            Self::Throttled { .. } => {
                "Your use is out of the ordinary, and is slowed for a while. Ask your administrator.".to_owned()
            }
            Self::LimitReached { measure, retry_after: Some(_), .. } => format!("Your limit on {measure} is reached."),
            Self::LimitReached { measure, retry_after: None, .. } => {
                format!("This request alone is above your limit on {measure}.")
            }
            Self::LimitSpent { measure, .. } => format!("Your limit on {measure} is spent, and the answer ends here."),
            Self::StoreUnavailable { .. } => "Your limits cannot be read at the moment. Try again shortly.".to_owned(),
            Self::RequestMalformed(what) => format!("The request is malformed: {what}."),
            Self::BodyMalformed(what) => what.clone(),
            Self::BodyEncoded => "The body must not be in a content encoding: send it as plain JSON.".to_owned(),
            Self::ContentForbidden { kind } => format!(
                "The request contains {}, which must not be sent. Take it out, or ask your administrator if it is none.",
                kind.name()
            ),
            Self::BodyTooLarge { limit } => format!("The request body is above {limit} bytes."),
            Self::BodyTimeout => "The request body did not arrive in time.".to_owned(),
            Self::BodyMemory => "The gateway holds as many requests as it may. Try again shortly.".to_owned(),
            Self::AuditUnavailable => "The gateway cannot record requests at the moment and serves none until it can.".to_owned(),
            Self::Stopping => "The gateway is being stopped. Try again shortly.".to_owned(),
            Self::UpstreamAddress(_) | Self::UpstreamUnreachable(_) => "The gateway cannot reach the Claude API.".to_owned(),
            Self::UpstreamKey(_) => "The gateway has no key for the Claude API that serves you. Ask your administrator.".to_owned(),
            Self::UpstreamTimeout(_) => "The Claude API did not answer in time.".to_owned(),
            Self::UpstreamFailed(_) | Self::UpstreamRedirect => "The Claude API's answer could not be used.".to_owned(),
            Self::Internal(_) => "The gateway failed. The request id leads your administrator to the cause.".to_owned(),
        }
    }

    /// How long to wait before a retry is worth it, for refusals that pass by themselves.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::BodyMemory
            | Self::IssuerUnavailable { .. }
            | Self::RevocationUnavailable(_)
            | Self::StoreUnavailable { .. }
            | Self::DoorClosed(_)
            | Self::AuditUnavailable
            | Self::Stopping => Some(Duration::from_secs(1)),
            Self::LimitReached { retry_after, .. } => *retry_after,
            Self::Throttled { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether clients are told not to retry by themselves: a budget does not come back within their patience, a call that
    /// is above a whole limit never passes, and SDKs would sleep for however long `retry-after` says.
    pub fn forbids_retry(&self) -> bool {
        match self {
            Self::LimitReached { measure, retry_after, .. } => {
                *measure == Measure::Cost || retry_after.is_none_or(|wait| wait > PATIENCE)
            }
            _ => false,
        }
    }
}

/// How long a client may be told to wait before it tries again by itself: longer than any wait for a limit per minute.
const PATIENCE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;

/// Every reason, for tests of what lists them.
#[cfg(test)]
pub(crate) fn reasons() -> Vec<&'static str> {
    tests::all().iter().map(Denial::reason).collect()
}
