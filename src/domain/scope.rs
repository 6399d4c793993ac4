//! OAuth scope: a set of tokens (RFC 6749 §3.3).

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

/// A set of scope tokens in steady (alphabetical) order. Unknown tokens are narrowed away, not refused (SC-1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Scope(BTreeSet<String>);

/// The token by which clients ask for a refresh token. It is tolerated everywhere and never a permission (SEP-2207).
pub const OFFLINE_ACCESS: &str = "offline_access";

impl Scope {
    /// Reads a space-separated list; tokens with characters outside RFC 6749 §3.3 are dropped.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.split_ascii_whitespace().collect()
    }

    /// Whether there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `token` is in the set.
    #[must_use]
    pub fn contains(&self, token: &str) -> bool {
        self.0.contains(token)
    }

    /// Whether every token of `self` is in `other`.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// The tokens that both hold.
    #[must_use]
    pub fn narrowed_to(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// The tokens that `other` does not hold.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    /// The tokens that either holds.
    #[must_use]
    pub fn joined_with(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// The tokens in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<'a> FromIterator<&'a str> for Scope {
    fn from_iter<I: IntoIterator<Item = &'a str>>(tokens: I) -> Self {
        // RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ).
        let sound = |t: &&str| !t.is_empty() && t.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E));
        Self(tokens.into_iter().filter(sound).map(str::to_owned).collect())
    }
}

impl From<String> for Scope {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for token in &self.0 {
            write!(f, "{separator}{token}")?;
            separator = " ";
        }
        Ok(())
    }
}
