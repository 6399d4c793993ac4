//! The closed list of OAuth errors (architecture §8).

use std::borrow::Cow;

/// Registered error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// 400.
    InvalidRequest,
    /// 401 (+ `WWW-Authenticate` if Basic was tried).
    InvalidClient,
    /// 400, always (RT-6).
    InvalidGrant,
    /// 400.
    UnauthorizedClient,
    /// 400.
    UnsupportedGrantType,
    /// 400 (redirect).
    UnsupportedResponseType,
    /// 400.
    InvalidScope,
    /// 400 (RFC 8707).
    InvalidTarget,
    /// 400 (RFC 7591).
    InvalidRedirectUri,
    /// 400 (RFC 7591).
    InvalidClientMetadata,
    /// Redirect, or 403 page.
    AccessDenied,
    /// 503 + `Retry-After`.
    TemporarilyUnavailable,
    /// 500.
    ServerError,
}

impl ErrorCode {
    /// The registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::AccessDenied => "access_denied",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }

    /// The HTTP status at machine endpoints.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidClient => 401,
            Self::AccessDenied => 403,
            Self::TemporarilyUnavailable => 503,
            Self::ServerError => 500,
            _ => 400,
        }
    }
}

/// An OAuth error: code and description go out, the cause goes to the log with the request id.
#[derive(Debug, thiserror::Error)]
#[error("{}: {description}", code.as_str())]
pub struct Error {
    /// The registered code.
    pub code: ErrorCode,
    /// For the client's developer. Ours, never a provider's words, never a stranger's bytes.
    pub description: Cow<'static, str>,
    /// For the log.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a cause.
    pub fn new(code: ErrorCode, description: impl Into<Cow<'static, str>>) -> Self {
        Self { code, description: description.into(), cause: None }
    }

    /// With a cause for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}
