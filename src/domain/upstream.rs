//! The identity provider as this house names it, and what it gave us for a person.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Instant,
    secret::{Secret, in_record, in_record_option},
};

/// The operator's name for an upstream: the `X` of `[upstream.X]`, in callback paths and subjects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UpstreamName(String);

/// An upstream name has 1 to 32 characters of `a-z`, `0-9`, `-` and `_`, and is not `client`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an upstream's name has 1 to 32 characters out of a-z, 0-9, '-' and '_', and is not \"client\"")]
pub struct BadUpstreamName;

impl UpstreamName {
    /// Checks alphabet and length (the name becomes a path segment and the head of every subject).
    ///
    /// # Errors
    /// [`BadUpstreamName`] for anything else.
    pub fn parse(text: &str) -> Result<Self, BadUpstreamName> {
        let fits = (1..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        // Subjects that begin so are clients' own (TOK-7).
        if fits && text != "client" { Ok(Self(text.to_owned())) } else { Err(BadUpstreamName) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UpstreamName {
    type Error = BadUpstreamName;

    fn try_from(text: String) -> Result<Self, BadUpstreamName> {
        Self::parse(&text)
    }
}

impl From<UpstreamName> for String {
    fn from(name: UpstreamName) -> Self {
        name.0
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The provider's tokens for one person and our app. Shown to nobody; the MCP client never sees them (UP-10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamTokens {
    /// The access token that is injected toward the MCP server.
    #[serde(with = "in_record")]
    pub access: Secret<String>,
    /// The refresh token, where the provider gave one.
    #[serde(with = "in_record_option", default)]
    pub refresh: Option<Secret<String>>,
    /// When the access token ends; `None` where the provider does not say (GitHub OAuth Apps).
    #[serde(default)]
    pub expires: Option<Instant>,
    /// The scope string as the provider reported it.
    #[serde(default)]
    pub scope: Option<String>,
}
