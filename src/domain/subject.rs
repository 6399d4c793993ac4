//! Who the human is: a stable key, and what the provider says of them now.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ClientId, UpstreamName};

/// `upstream-name:sub`. Stable, our `sub`; never an e-mail address, which people change and lose (provider rule 11).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(String);

impl Subject {
    /// Joins the upstream's name and the provider's own identifier of the person.
    #[must_use]
    pub fn new(upstream: &UpstreamName, sub: &str) -> Self {
        Self(format!("{upstream}:{sub}"))
    }

    /// A client that acts for itself. No upstream can be named `client`, so this is never a person's (TOK-7; RFC 9700
    /// §4.15).
    #[must_use]
    pub fn of_client(client: &ClientId) -> Self {
        Self(format!("client:{client}"))
    }

    /// The whole text, `upstream:sub`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The provider's own part, after the first colon.
    #[must_use]
    pub fn at_provider(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, sub)| sub)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the provider says of a [`Subject`] at this login. A description, not a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The stable key.
    pub subject: Subject,
    /// E-mail address, if the provider told one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the provider vouches for the address. Rules on e-mail demand it (D15).
    #[serde(default)]
    pub email_verified: bool,
    /// The person's name for display.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A handle (`preferred_username`, GitHub's `login`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Groups, roles or organisations, as the preset's pointer finds them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

impl Identity {
    /// The e-mail address, only where the provider vouches for it.
    #[must_use]
    pub fn verified_email(&self) -> Option<&str> {
        self.email.as_deref().filter(|_| self.email_verified)
    }
}
