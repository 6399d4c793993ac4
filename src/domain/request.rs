//! One checked `/authorize` that waits for its human.

use serde::{Deserialize, Serialize};

use super::{
    BrowserId, Client, CodeChallenge, DeviceId, Instant, RedirectUri, RequestId, ResourceUri, Scope, Thumbprint,
    secret::{Secret, in_record},
};

/// A checked authorization request (RFC 6749 §4.1.1). Until the human agrees it travels sealed inside the consent
/// page, so that a stranger's `/authorize` writes nothing; from then on it is a record until the callback takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    /// Its name.
    pub id: RequestId,
    /// The client that asks, as it was when it asked.
    pub client: Client,
    /// Where the answer goes.
    pub reply: Reply,
    /// The MCP server it is for, resolved (RFC 8707).
    pub resource: ResourceUri,
    /// What the client will get, already narrowed.
    pub scope: Scope,
    /// The browser in which it began; the callback must come back through it (S2).
    pub browser: BrowserId,
    /// When it is void.
    pub expires: Instant,
    /// Where it stands.
    pub stage: RequestStage,
}

/// Where the answer to an [`AuthorizationRequest`] goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Through the browser, with a code (RFC 6749 §4.1.2).
    Redirect {
        /// Proven to be the client's.
        to: RedirectUri,
        /// Whether the client sent `redirect_uri` (then `/token` must repeat it) or relied on the sole registered one.
        was_given: bool,
        /// The client's `state`, returned byte for byte (behaviour 19).
        state: Option<String>,
        /// The client's S256 challenge.
        challenge: CodeChallenge,
        /// The key that the code is to be bound to (`dpop_jkt`, RFC 9449 §10).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<Thumbprint>,
    },
    /// To a device that polls (RFC 8628).
    Device(DeviceId),
}

/// Where an [`AuthorizationRequest`] stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestStage {
    /// The page is before the human.
    AwaitingConsent,
    /// The human agreed and was sent to the provider.
    AwaitingUpstream {
        /// The `state` we sent, whole, so that a second click on "Allow" leads to the same place.
        #[serde(with = "in_record")]
        state: Secret<String>,
        /// Our own PKCE verifier toward the provider (UP-1).
        #[serde(with = "in_record")]
        verifier: Secret<String>,
        /// The `nonce` that the ID token must repeat.
        #[serde(with = "in_record")]
        nonce: Secret<String>,
    },
}
