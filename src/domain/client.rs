//! The MCP client (RFC 7591 §2; D2, D3).

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    RedirectUri, RegisteredRedirect, Scope,
    uri::{BadRedirect, Loopback},
};

/// `client_id`. Ours are sealed registrations; an operator's are names; `https://` ones are documents (CIMD).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(String);

impl ClientId {
    /// How a sealed id begins. Never `https://`, which would name a metadata document (CIMD-15).
    pub const SEALED: &'static str = "vst1.";
    /// What sealed ids are sealed for.
    pub const PURPOSE: &'static str = "oauth/client";
    /// The longest id that is issued or looked at: it has to fit into a URL and into a token.
    pub const LONGEST: usize = 4096;

    /// Takes any text: what it means is decided by whoever looks it up.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a client came to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientOrigin {
    /// Registered itself (RFC 7591); its id is its sealed registration.
    Sealed,
    /// Its id is the URL of its metadata document (CIMD).
    Metadata,
    /// Written into the configuration by the operator.
    Static,
}

/// `token_endpoint_auth_method` (RFC 7591 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMethod {
    /// A public client.
    None,
    /// HTTP Basic, both halves form-encoded (RFC 6749 §2.3.1).
    ClientSecretBasic,
    /// `client_id` and `client_secret` in the form.
    ClientSecretPost,
    /// An assertion signed with the client's own key (RFC 7523 §2.2).
    PrivateKeyJwt,
}

impl ClientAuthMethod {
    /// The registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }

    /// Whether such a client proves who it is.
    #[must_use]
    pub const fn is_confidential(self) -> bool {
        !matches!(self, Self::None)
    }

    /// Whether it does so with a secret that we share.
    #[must_use]
    pub const fn has_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }
}

/// A way to get an access token (`grant_types` of RFC 7591 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GrantType {
    /// RFC 6749 §4.1.
    #[serde(rename = "authorization_code")]
    AuthorizationCode,
    /// RFC 6749 §6.
    #[serde(rename = "refresh_token")]
    RefreshToken,
    /// RFC 8628.
    #[serde(rename = "device_code")]
    DeviceCode,
    /// RFC 6749 §4.4.
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// RFC 8693.
    #[serde(rename = "token_exchange")]
    TokenExchange,
}

/// RFC 7523 §2.1. No [`GrantType`], since no client has it of its own: whose word is taken, and by which server, is what
/// the operator says of issuers.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

impl GrantType {
    /// The registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }

    /// The grant type of that registered name, if it is one of ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::AuthorizationCode,
            Self::RefreshToken,
            Self::DeviceCode,
            Self::ClientCredentials,
            Self::TokenExchange,
        ];
        all.into_iter().find(|own| own.as_str() == name)
    }
}

/// A client's name for people: at most 64 characters, without control and direction-changing ones. Never verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct ClientName(String);

impl ClientName {
    /// Drops what could deceive on a page and cuts at 64 characters.
    #[must_use]
    pub fn tamed(text: &str) -> Self {
        let sound = |c: &char| {
            !c.is_control()
                && !matches!(*c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{061c}')
        };
        Self(text.trim().chars().filter(sound).take(64).collect())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ClientName {
    fn from(text: String) -> Self {
        Self::tamed(&text)
    }
}

impl From<ClientName> for String {
    fn from(name: ClientName) -> Self {
        name.0
    }
}

/// The requested redirect URI is not one of the client's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectRefused {
    /// None was asked for and the client has several (or none).
    #[error("redirect_uri is missing")]
    Missing,
    /// It breaks the rules of redirect URIs.
    #[error("redirect_uri is not acceptable: {0}")]
    Bad(#[from] BadRedirect),
    /// It is sound, but the client never registered it.
    #[error("redirect_uri is not registered for this client")]
    NotRegistered,
}

/// The MCP client, from whichever origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// How it came to us.
    pub origin: ClientOrigin,
    /// Its unverified name.
    pub name: Option<ClientName>,
    /// Where it may receive codes.
    pub redirect_uris: Vec<RegisteredRedirect>,
    /// How it authenticates at `/token`.
    pub auth_method: ClientAuthMethod,
    /// The ways it may get tokens.
    pub grants: BTreeSet<GrantType>,
    /// The scope it registered, if it named one.
    pub scope: Option<Scope>,
    /// Whether it gets no token but those bound to a key of its own (`dpop_bound_access_tokens`, RFC 9449 §5.2).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always_proves: bool,
    /// Names what a person agrees to where it can change under one id: a digest of the name, redirect URIs, keys and
    /// method in a metadata document (CIMD-16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edition: Option<String>,
}

impl Client {
    /// The redirect URI to which we may answer, if the one asked for is the client's (AZ-2, AZ-3), and the same parsed.
    /// An absent one means the sole registered one (RFC 6749 §3.1.2.3).
    ///
    /// # Errors
    /// [`RedirectRefused`]: the answer is then a page, never a redirect.
    pub fn redirect(&self, requested: Option<&str>, loopback: Loopback) -> Result<(RedirectUri, Url), RedirectRefused> {
        let Some(requested) = requested else {
            return match self.redirect_uris.as_slice() {
                [only] => {
                    let url = Url::parse(only.as_str()).map_err(|_| BadRedirect::Malformed)?;
                    Ok((RedirectUri::answerable(only.clone()), url))
                }
                _ => Err(RedirectRefused::Missing),
            };
        };
        let (requested, url) = RegisteredRedirect::read(requested)?;
        if self.redirect_uris.iter().any(|own| own.matches(&requested, loopback)) {
            Ok((RedirectUri::answerable(requested), url))
        } else {
            Err(RedirectRefused::NotRegistered)
        }
    }

    /// Whether it may get tokens in that way.
    #[must_use]
    pub fn may(&self, grant: GrantType) -> bool {
        self.grants.contains(&grant)
    }

    /// What a page calls it: its name, or its id's beginning.
    #[must_use]
    pub fn title(&self) -> &str {
        match &self.name {
            Some(name) if !name.as_str().is_empty() => name.as_str(),
            _ => self.id.as_str().get(..12).unwrap_or(self.id.as_str()),
        }
    }
}
