//! What a refused request hears: 401 and 403 with one `WWW-Authenticate` (RFC 6750 §3, RFC 9728 §5.1), the rest without.
//!
//! One challenge and not two, since clients stumble over a list: `DPoP` (RFC 9449 §7.1) where the request used it or has to,
//! `Bearer` for everybody else. That proofs are understood here, a client that would make them reads in the metadata.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::Body;
use crate::{
    crypto::jwt::proof::PROOF_ALGS,
    domain::{Resource, Scope},
    token::{ProofRefused, Refused},
};

/// Why a request goes no further. The closed list; each has one status, one code and one sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `Host` is none of ours (S23).
    Misdirected,
    /// `Origin` is none of those admitted (RS-5, S23).
    ForeignOrigin,
    /// No Resource there.
    NoResource,
    /// `CONNECT` and `TRACE`: the one would tunnel, the other would echo the injected token (S26).
    Method,
    /// Dot segments below a Resource, which would leave it at the target (S17, S28).
    Path,
    /// `access_token` in the query (CH-7, RFC 6750 §2.3).
    QueryToken,
    /// More than one `Authorization`.
    TwoCredentials,
    /// No bearer token at all: a challenge without `error` (CH-2).
    NoCredentials,
    /// The token is nothing of ours.
    Invalid,
    /// The token is past its time.
    Expired,
    /// The token is for another Resource (S4).
    WrongAudience,
    /// The Grant is gone.
    Revoked,
    /// The token is bound to a key, and came as a bearer token (RFC 9449 §7.1).
    Bound,
    /// The token is not bound to a key, and came with a proof.
    NotBound,
    /// The token is bound to another key than the proof's.
    OtherKey,
    /// The Resource lets bound tokens in alone.
    ProofDemanded,
    /// The proof is none for this request.
    Proof(ProofRefused),
    /// The target refused what we injected: the person has to log in anew.
    UpstreamRefused,
    /// The target refused what the operator configured: no login of anybody's can mend that.
    OperatorRefused,
    /// The token holds none of the Resource's scopes (CH-4).
    InsufficientScope,
    /// The headers say another thing than the message, or two things (RS-8).
    HeaderMismatch,
    /// The message is no JSON-RPC, or two readers would take it for two things (RS-8).
    AmbiguousMessage,
    /// The session belongs to somebody else; said as if there were none (SES-2, S24).
    NoSession,
    /// The store does not answer.
    Unavailable,
    /// The request body was over the door's limit.
    TooLarge,
    /// The target cannot be reached, or broke off before it answered.
    Unreachable,
    /// The target did not answer in time.
    TimedOut,
}

impl Refusal {
    const fn status(self) -> StatusCode {
        match self {
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::ForeignOrigin | Self::InsufficientScope => StatusCode::FORBIDDEN,
            Self::NoResource | Self::NoSession => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Path | Self::QueryToken | Self::TwoCredentials | Self::HeaderMismatch | Self::AmbiguousMessage => {
                StatusCode::BAD_REQUEST
            }
            Self::NoCredentials
            | Self::Invalid
            | Self::Expired
            | Self::WrongAudience
            | Self::Revoked
            | Self::Bound
            | Self::NotBound
            | Self::OtherKey
            | Self::ProofDemanded
            | Self::Proof(_)
            | Self::UpstreamRefused => StatusCode::UNAUTHORIZED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::OperatorRefused | Self::Unreachable => StatusCode::BAD_GATEWAY,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn body(self) -> Cow<'static, str> {
        match self {
            Self::Proof(why) => Cow::Owned(format!(r#"{{"error":"{}","error_description":"{why}"}}"#, proof_code(why))),
            other => Cow::Borrowed(other.fixed_body()),
        }
    }

    const fn fixed_body(self) -> &'static str {
        match self {
            Self::Misdirected => {
                r#"{"error":"misdirected_request","error_description":"this host name is not served here"}"#
            }
            Self::ForeignOrigin => {
                r#"{"error":"invalid_origin","error_description":"this browser origin may not call here"}"#
            }
            Self::NoResource => r#"{"error":"not_found","error_description":"there is no MCP server at this path"}"#,
            Self::Method => {
                r#"{"error":"method_not_allowed","error_description":"CONNECT and TRACE are not passed on"}"#
            }
            Self::Path => r#"{"error":"invalid_request","error_description":"the path must not hold dot segments"}"#,
            Self::QueryToken => {
                r#"{"error":"invalid_request","error_description":"access tokens are not accepted in the query (RFC 6750 section 2.3); use the Authorization header"}"#
            }
            Self::TwoCredentials => {
                r#"{"error":"invalid_request","error_description":"more than one Authorization header"}"#
            }
            Self::NoCredentials => {
                r#"{"error":"unauthorized","error_description":"an access token is needed; see WWW-Authenticate"}"#
            }
            Self::Invalid => r#"{"error":"invalid_token","error_description":"the access token is not valid"}"#,
            Self::Expired => r#"{"error":"invalid_token","error_description":"the access token has expired"}"#,
            Self::WrongAudience => {
                r#"{"error":"invalid_token","error_description":"the access token is for another resource"}"#
            }
            Self::Revoked => r#"{"error":"invalid_token","error_description":"the access token was revoked"}"#,
            Self::Bound => {
                r#"{"error":"invalid_token","error_description":"the access token is bound to a key; use the DPoP scheme"}"#
            }
            Self::NotBound => {
                r#"{"error":"invalid_token","error_description":"the access token is not bound to a key; use the Bearer scheme"}"#
            }
            Self::OtherKey => {
                r#"{"error":"invalid_token","error_description":"the access token is bound to another key"}"#
            }
            Self::ProofDemanded => {
                r#"{"error":"invalid_token","error_description":"this resource takes access tokens that are bound to a key alone (DPoP)"}"#
            }
            Self::Proof(_) => r#"{"error":"invalid_dpop_proof"}"#,
            Self::UpstreamRefused => {
                r#"{"error":"invalid_token","error_description":"the MCP server no longer accepts the login behind this token"}"#
            }
            Self::OperatorRefused => {
                r#"{"error":"bad_gateway","error_description":"the MCP server refuses the credentials that its operator configured"}"#
            }
            Self::InsufficientScope => {
                r#"{"error":"insufficient_scope","error_description":"the access token holds none of the scopes of this resource"}"#
            }
            Self::HeaderMismatch => {
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32020,"message":"the Mcp-* headers and the message do not agree"}}"#
            }
            Self::AmbiguousMessage => {
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"not one clear JSON-RPC message"}}"#
            }
            Self::NoSession => r#"{"error":"not_found","error_description":"no such session"}"#,
            Self::Unavailable => {
                r#"{"error":"temporarily_unavailable","error_description":"tokens cannot be checked right now"}"#
            }
            Self::TooLarge => r#"{"error":"too_large","error_description":"the request body is too large"}"#,
            Self::Unreachable => r#"{"error":"bad_gateway","error_description":"the MCP server cannot be reached"}"#,
            Self::TimedOut => {
                r#"{"error":"gateway_timeout","error_description":"the MCP server did not answer in time"}"#
            }
        }
    }

    /// The challenge's own attributes; `None` where there is no challenge (CH-8: only on 401 and 403).
    fn error(self) -> Option<Cow<'static, str>> {
        match self {
            Self::Proof(why) => {
                Some(Cow::Owned(format!(r#"error="{}", error_description="{why}", "#, proof_code(why))))
            }
            other => other.fixed_error().map(Cow::Borrowed),
        }
    }

    const fn fixed_error(self) -> Option<&'static str> {
        match self {
            Self::NoCredentials => Some(""),
            Self::Invalid => Some(r#"error="invalid_token", error_description="the access token is not valid", "#),
            Self::Expired => Some(r#"error="invalid_token", error_description="the access token has expired", "#),
            Self::WrongAudience => {
                Some(r#"error="invalid_token", error_description="the access token is for another resource", "#)
            }
            Self::Revoked => Some(r#"error="invalid_token", error_description="the access token was revoked", "#),
            Self::Bound => Some(
                r#"error="invalid_token", error_description="the access token is bound to a key; use the DPoP scheme", "#,
            ),
            Self::NotBound => Some(
                r#"error="invalid_token", error_description="the access token is not bound to a key; use the Bearer scheme", "#,
            ),
            Self::OtherKey => {
                Some(r#"error="invalid_token", error_description="the access token is bound to another key", "#)
            }
            Self::ProofDemanded => Some(
                r#"error="invalid_token", error_description="this resource takes access tokens that are bound to a key alone", "#,
            ),
            Self::UpstreamRefused => Some(
                r#"error="invalid_token", error_description="the MCP server no longer accepts the login behind this token", "#,
            ),
            Self::InsufficientScope => Some(
                r#"error="insufficient_scope", error_description="the access token holds none of the scopes of this resource", "#,
            ),
            _ => None,
        }
    }
}

impl From<&Refused> for Refusal {
    fn from(refused: &Refused) -> Self {
        match refused {
            Refused::Invalid => Self::Invalid,
            Refused::Expired => Self::Expired,
            Refused::WrongAudience => Self::WrongAudience,
            Refused::Revoked => Self::Revoked,
            Refused::Bound => Self::Bound,
            Refused::NotBound => Self::NotBound,
            Refused::OtherKey => Self::OtherKey,
            Refused::Proof(why) => Self::Proof(*why),
            Refused::Unavailable(_) => Self::Unavailable,
        }
    }
}

/// RFC 9449 §7.1, §9.
const fn proof_code(why: ProofRefused) -> &'static str {
    match why {
        ProofRefused::Nonce => "use_dpop_nonce",
        _ => "invalid_dpop_proof",
    }
}

/// What every challenge of one Resource ends with, made once.
#[derive(Debug)]
pub(super) struct Challenge {
    /// `resource_metadata="…", scope="…"`
    tail: String,
    /// `resource_metadata="…"` alone.
    metadata: String,
    /// `algs="…", `
    algs: String,
    /// Whether nobody is let in by the other scheme.
    demands_proof: bool,
}

impl Challenge {
    /// Of the Resource on the public `origin`. `resource_metadata` is where the Resource's RFC 9728 document is served:
    /// the well-known segment between authority and path (PRM-4), on our origin and never on that of the request (D9).
    pub(super) fn of(resource: &Resource, origin: &str) -> Self {
        let path = resource.uri.as_str().strip_prefix(origin).unwrap_or(&resource.path);
        let mut scope = String::new();
        // PRM-8: `offline_access` is never asked for by a challenge.
        for token in resource.scopes.iter().filter(|token| *token != crate::domain::scope::OFFLINE_ACCESS) {
            if !scope.is_empty() {
                scope.push(' ');
            }
            scope.push_str(token);
        }
        let metadata = format!(r#"resource_metadata="{origin}/.well-known/oauth-protected-resource{path}""#);
        let mut tail = metadata.clone();
        if !scope.is_empty() {
            tail.push_str(r#", scope=""#);
            tail.push_str(&scope);
            tail.push('"');
        }
        let algs = format!(r#"algs="{}", "#, PROOF_ALGS.join(" "));
        Self { tail, metadata, algs, demands_proof: resource.demands_proof }
    }

    /// Scheme and, for proofs, algorithms; what was wrong stands between them.
    fn scheme(&self, is_dpop: bool) -> (&'static str, &str) {
        if is_dpop || self.demands_proof { ("DPoP", &self.algs) } else { ("Bearer", "") }
    }

    fn header(&self, refusal: Refusal, is_dpop: bool) -> Option<HeaderValue> {
        let error = refusal.error()?;
        // A client that lost its key's scheme on the way is told to take it up again.
        let (scheme, algs) = self.scheme(is_dpop || refusal == Refusal::Bound);
        HeaderValue::from_maybe_shared(Bytes::from(format!("{scheme} {error}{algs}{}", self.tail))).ok()
    }
}

const EXPOSED: HeaderValue =
    HeaderValue::from_static("WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, MCP-Protocol-Version");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The answer where the token is good and does not permit this operation: what a token needs that permits it, in one
/// challenge (CH-4, CH-5).
pub(super) fn ask_for_more(challenge: &Challenge, needs: &Scope, is_dpop: bool) -> Response<Body> {
    let mut response = answer(Refusal::InsufficientScope, None, is_dpop);
    let (scheme, algs) = challenge.scheme(is_dpop);
    let text = format!(
        r#"{scheme} error="insufficient_scope", error_description="this operation needs more than the access token permits", {algs}{}, scope="{needs}""#,
        challenge.metadata
    );
    *response.body_mut() = Body::whole(Bytes::from_static(
        br#"{"error":"insufficient_scope","error_description":"this operation needs more than the access token permits"}"#,
    ));
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

/// The answer to a refused request. `challenge` is that of the Resource it was for, if it got that far; `is_dpop` whether
/// the request speaks of proofs.
pub(super) fn answer(refusal: Refusal, challenge: Option<&Challenge>, is_dpop: bool) -> Response<Body> {
    let body = match refusal.body() {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    };
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    // CH-9. `HeaderName` constants of CORS are all in `http`.
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    if let Some(value) = challenge.and_then(|challenge| challenge.header(refusal, is_dpop)) {
        headers.insert(header::WWW_AUTHENTICATE, value);
    }
    let more: Option<(HeaderName, &'static str)> = match refusal {
        Refusal::Unavailable => Some((header::RETRY_AFTER, "5")),
        Refusal::Method => Some((header::ALLOW, "GET, POST, DELETE, PUT, PATCH, HEAD, OPTIONS")),
        _ => None,
    };
    if let Some((name, value)) = more {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// RFC 9449 §8.2: the nonce for the next proof, on whatever answer.
pub(super) fn put_nonce(response: &mut Response<Body>, nonce: Option<String>) {
    if let Some(value) = nonce.and_then(|nonce| HeaderValue::try_from(nonce).ok()) {
        response.headers_mut().insert(HeaderName::from_static("dpop-nonce"), value);
    }
}
