//! Why a segment was not shipped.

use std::io;

/// Why a segment was not shipped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The store does not take us for who we are, or does not let us.
    #[error("the store refuses us: {0}")]
    Credentials(object_store::Error),
    /// A secret that says who we are cannot be read.
    #[error("the credential {0}")]
    Secret(String),
    /// There is no such bucket.
    #[error("there is no such bucket: {0}")]
    Bucket(object_store::Error),
    /// Any other failure of the store, or of the way there.
    #[error("{0}")]
    Store(object_store::Error),
    /// What was read back is not what was sent.
    #[error("what the store gives back of {0} is not what it was sent")]
    Mismatch(String),
    /// Another object has the key.
    #[error("another object has the key {0}, and it does not hold this segment")]
    Conflict(String),
    /// A file on this host.
    #[error("{0}")]
    Local(#[from] io::Error),
}

impl Failure {
    /// Of a failed upload.
    pub(super) fn of_put(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Bucket(error),
            other => Self::of_get(other),
        }
    }

    /// Of a failed download.
    pub(super) fn of_get(error: object_store::Error) -> Self {
        match error {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Self::Credentials(error)
            }
            other => Self::Store(other),
        }
    }

    /// The metric's label.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Credentials(_) | Self::Secret(_) => "credentials",
            Self::Bucket(_) => "bucket",
            Self::Store(_) => "store",
            Self::Mismatch(_) => "mismatch",
            Self::Conflict(_) => "conflict",
            Self::Local(_) => "local",
        }
    }

    /// What ops can do.
    pub(super) fn mend(&self) -> &'static str {
        match self {
            Self::Credentials(_) => "check the access key and its policy: docs/audit-shipping.md lists the actions",
            Self::Secret(_) => "point it at the secret",
            Self::Bucket(_) => "make the bucket, with Object Lock, or correct audit.ship.url",
            Self::Store(_) => "it is tried again",
            Self::Mismatch(_) | Self::Conflict(_) => "find out who wrote to the bucket: nothing is overwritten",
            Self::Local(_) => "check the log's folder",
        }
    }

    /// Whether the next segment would meet it too.
    pub(super) fn is_of_all(&self) -> bool {
        matches!(self, Self::Credentials(_) | Self::Secret(_) | Self::Bucket(_) | Self::Store(_))
    }
}
