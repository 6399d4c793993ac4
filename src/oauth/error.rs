//! The closed list of OAuth errors (architecture §8).

use std::{borrow::Cow, time::Duration};

use crate::{
    store,
    token::{MintFailed, NotSpent, ProofRefused, RenewFailed},
    upstream,
};

/// Registered error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// 400.
    InvalidRequest,
    /// 401 (+ `WWW-Authenticate` if Basic was tried).
    InvalidClient,
    /// 401 with a Bearer challenge (RFC 6750 §3.1), where a registration needs or has a token.
    InvalidToken,
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
    /// 400 (RFC 8628 §3.5).
    AuthorizationPending,
    /// 400 (RFC 8628 §3.5).
    SlowDown,
    /// 400 (RFC 8628 §3.5).
    ExpiredToken,
    /// 429 + `Retry-After`. No RFC's, but the name that the MCP SDKs know.
    TooManyRequests,
    /// 400 (RFC 9449 §5).
    InvalidDpopProof,
    /// 400, with `DPoP-Nonce` (RFC 9449 §8).
    UseDpopNonce,
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
            Self::InvalidToken => "invalid_token",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::AccessDenied => "access_denied",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::TooManyRequests => "too_many_requests",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }

    /// The HTTP status at machine endpoints.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidClient | Self::InvalidToken => 401,
            Self::AccessDenied => 403,
            Self::TooManyRequests => 429,
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
    /// How long to wait before the next try, where that is known.
    pub wait: Option<Duration>,
}

impl Error {
    /// An error without a cause.
    pub fn new(code: ErrorCode, description: impl Into<Cow<'static, str>>) -> Self {
        Self { code, description: description.into(), cause: None, wait: None }
    }

    /// With a cause for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// With the time after which it is worth another try.
    #[must_use]
    pub const fn after(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Writes the cause to the log, once, where the error becomes an answer. A client's own mistakes are no warnings.
    pub(super) fn log(&self, endpoint: &'static str) {
        let code = self.code.as_str();
        match (self.code, &self.cause) {
            (ErrorCode::ServerError | ErrorCode::TemporarilyUnavailable, Some(cause)) => {
                tracing::error!(endpoint, code, description = %self.description, %cause);
            }
            (_, Some(cause)) => tracing::warn!(endpoint, code, description = %self.description, %cause),
            (_, None) => tracing::debug!(endpoint, code, description = %self.description),
        }
    }
}

/// 503, never "no": the client may try again (RT-6).
impl From<store::Unavailable> for Error {
    fn from(outage: store::Unavailable) -> Self {
        Self::new(ErrorCode::TemporarilyUnavailable, "the store does not answer, try again").because(outage)
    }
}

/// RFC 9449 §5, §8.
impl From<ProofRefused> for Error {
    fn from(why: ProofRefused) -> Self {
        let code = match why {
            ProofRefused::Nonce => ErrorCode::UseDpopNonce,
            _ => ErrorCode::InvalidDpopProof,
        };
        Self::new(code, why.to_string())
    }
}

impl From<NotSpent> for Error {
    fn from(not: NotSpent) -> Self {
        match not {
            NotSpent::Refused(why) => why.into(),
            NotSpent::Unavailable(outage) => outage.into(),
        }
    }
}

/// The provider's words stay in the cause (S29).
impl From<upstream::Failed> for Error {
    fn from(failed: upstream::Failed) -> Self {
        match failed {
            upstream::Failed::Denied => Self::new(ErrorCode::AccessDenied, "the identity provider denied the login"),
            upstream::Failed::Refused { what, cause } => {
                let error = Self::new(ErrorCode::ServerError, "the login at the identity provider failed");
                error.because(format!("{what}: {}", cause.unwrap_or_default()))
            }
            upstream::Failed::Unreachable { cause } => {
                Self::new(ErrorCode::TemporarilyUnavailable, "the identity provider does not answer, try again")
                    .because(cause)
            }
        }
    }
}

/// Behaviour 24: only a login that has ended is `invalid_grant`; everything that may pass is 503.
impl From<RenewFailed> for Error {
    fn from(failed: RenewFailed) -> Self {
        match failed {
            RenewFailed::Ended => {
                Self::new(ErrorCode::InvalidGrant, "the login at the identity provider has ended; log in again")
            }
            RenewFailed::Unreachable(cause) => {
                Self::new(ErrorCode::TemporarilyUnavailable, "the identity provider does not answer, try again")
                    .because(cause)
            }
            RenewFailed::Store(outage) => outage.into(),
        }
    }
}

impl From<MintFailed> for Error {
    fn from(failed: MintFailed) -> Self {
        match failed {
            MintFailed::UpstreamExpired => {
                Self::new(ErrorCode::InvalidGrant, "the login at the identity provider has expired; log in again")
            }
            MintFailed::Crypto(_) => {
                Self::new(ErrorCode::ServerError, "the access token could not be made").because(failed)
            }
        }
    }
}
