//! What a reason to refuse has to say besides.

use std::fmt;

use crate::claude::ServerTool;

/// Which of an upstream's times ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overdue {
    /// To the head of the answer.
    #[error("no first byte")]
    FirstByte,
    /// Between two pieces of the answer.
    #[error("silence within the answer")]
    Silence,
    /// To the end of the answer.
    #[error("the whole took too long")]
    Total,
}

/// What is wrong with a token's signature or claims. For the record alone: the caller is told only that it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// The header or the claims are not what a JWT has.
    #[error("malformed")]
    Malformed,
    /// The header's algorithm is not among the issuer's.
    #[error("algorithm")]
    Algorithm,
    /// The header carries or points to a key of its own, or has a critical extension.
    #[error("header")]
    Header,
    /// No key of the issuer fits the header.
    #[error("key")]
    Key,
    /// The signature does not verify.
    #[error("signature")]
    Signature,
    /// `aud` names nobody here.
    #[error("audience")]
    Audience,
    /// A claim that must be there is not, or has a wrong type.
    #[error("claims")]
    Claims,
}

/// What is wrong with a token's binding to its sender. For the record alone, but for which kind of proof is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BindingFault {
    /// The issuer demands a binding and the token has none.
    #[error("the token is not bound, and its issuer demands it")]
    Unbound,
    /// Bound to a client certificate, and the connection has another or none.
    #[error("not the client certificate of the token")]
    Certificate,
    /// Bound to a DPoP key, and there is no proof, or several.
    #[error("no DPoP proof")]
    ProofMissing,
    /// The DPoP proof is not one for this request, this token and this moment.
    #[error("the DPoP proof does not hold")]
    ProofInvalid,
    /// The DPoP proof was used before.
    #[error("the DPoP proof is a replay")]
    ProofReplayed,
}

/// A part of the API that a grant may open or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feature {
    /// A tool that the API runs itself, such as web search, by the name that grants know it by.
    ServerTool(ServerTool),
    /// `mcp_servers`: the API calls out to hosts that the body names.
    McpServers,
    /// Content from the Files API.
    Files,
    /// Skills in a container.
    Skills,
    /// A value of `anthropic-beta`.
    Beta(String),
    /// `inference_geo`: what the body asks for, where another is required.
    InferenceGeo(Option<String>),
}

impl Feature {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::ServerTool(_) => "server_tool_forbidden",
            Self::McpServers => "mcp_servers_forbidden",
            Self::Files => "files_forbidden",
            Self::Skills => "skills_forbidden",
            Self::Beta(_) => "beta_forbidden",
            Self::InferenceGeo(_) => "inference_geo_forbidden",
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServerTool(name) => write!(f, "the server tool `{name}`"),
            Self::McpServers => f.write_str("`mcp_servers`"),
            Self::Files => f.write_str("files"),
            Self::Skills => f.write_str("skills"),
            Self::Beta(value) => write!(f, "the beta `{value}`"),
            Self::InferenceGeo(Some(geo)) => write!(f, "`inference_geo` \"{geo}\""),
            Self::InferenceGeo(None) => f.write_str("a call without `inference_geo`"),
        }
    }
}
