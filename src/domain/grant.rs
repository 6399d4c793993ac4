//! A Grant: this person lets this client use this MCP server, by these upstream tokens.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{
    ClientId, CodeChallenge, GrantId, Identity, Instant, ResourceUri, Scope, Thumbprint, UpstreamName, UpstreamTokens,
    secret::{Secret, in_record},
};

/// SHA-256 of a 256-bit secret: what the store keeps instead of the secret.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Wraps a digest that `crypto::hash` made.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretHash(***)")
    }
}

impl TryFrom<String> for SecretHash {
    type Error = super::id::NotAnId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| super::id::NotAnId)?;
        bytes.try_into().map(Self).map_err(|_| super::id::NotAnId)
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> Self {
        URL_SAFE_NO_PAD.encode(hash.0)
    }
}

/// The record behind code, access tokens and refresh tokens alike. Removed means revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its name, inside every credential that rests on it.
    pub id: GrantId,
    /// The client it was given to.
    pub client: ClientId,
    /// Who gave it, and what the provider said of them then.
    pub identity: Identity,
    /// The one MCP server it opens.
    pub resource: ResourceUri,
    /// What it permits.
    pub scope: Scope,
    /// The login at the provider that it rests on; none where a client acts for itself, or where somebody's word for a
    /// person was enough.
    #[serde(default)]
    pub login: Option<UpstreamLogin>,
    /// The client that acts for the person by a token that it brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// When the person agreed (`auth_time`).
    pub created: Instant,
    /// When the record ends: the code's life while issued, the refresh token's once active.
    pub expires: Instant,
    /// Where it stands.
    pub stage: GrantStage,
}

impl Grant {
    /// The provider's tokens, if it rests on any.
    #[must_use]
    pub fn tokens(&self) -> Option<&UpstreamTokens> {
        self.login.as_ref().map(|login| &login.tokens)
    }
}

/// Who acts for a person, as the claim `act` tells it (RFC 8693 §4.1). Those who acted before are told for the record
/// alone: nobody is let in or kept out for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The actor's name: a client's subject where it is one of ours.
    pub sub: String,
    /// Whose name that is, where it is not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Who acted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Self>>,
}

/// A login at the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamLogin {
    /// Where.
    pub upstream: UpstreamName,
    /// What the provider gave.
    pub tokens: UpstreamTokens,
}

/// Where a [`Grant`] stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantStage {
    /// A code is out and not yet redeemed.
    Issued {
        /// Of the code's secret.
        code: SecretHash,
        /// The redirect URI of the request, if the client gave one there. Where `/token` repeats it, it is compared byte
        /// for byte (AZ-4); it may be left out, since PKCE has taken its place (OAuth 2.1 §10.2).
        redirect: Option<String>,
        /// The S256 challenge that the verifier must meet.
        challenge: CodeChallenge,
        /// Whether a refresh token may follow.
        may_refresh: bool,
        /// The key that the code is bound to, where the client said which it would prove (`dpop_jkt`, RFC 9449 §10).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<Thumbprint>,
    },
    /// The code was redeemed, by the one winner; or there was none.
    Active {
        /// Of the spent code, so that a replay is known for one (S11).
        #[serde(default)]
        code: Option<SecretHash>,
        /// When the code was redeemed; within ten seconds a repeat is refused without revoking (AZ-6).
        redeemed: Instant,
        /// The chain of refresh tokens, if the client may refresh.
        #[serde(default)]
        refresh: Option<RefreshChain>,
    },
}

/// The current refresh token and, within their grace, its predecessors (D6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshChain {
    /// Counts rotations.
    pub generation: u32,
    /// Of the current token's secret.
    pub current: SecretHash,
    /// The tokens before it that are within their grace, oldest first: one of them still yields its successor, also when
    /// that one was used meanwhile (behaviour 23).
    #[serde(default)]
    pub retired: Vec<RetiredRefresh>,
    /// Short name of the master key that made the current token's MAC; `None` in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The client's key that the tokens are bound to, where a public client proved to hold one (RFC 9449 §5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Thumbprint>,
}

/// A refresh token that was rotated away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredRefresh {
    /// Of its secret.
    pub hash: SecretHash,
    /// The token that replaced it, whole: the same successor is given again within the grace.
    #[serde(with = "in_record")]
    pub successor: Secret<String>,
    /// When it was rotated away.
    pub retired: Instant,
}
