//! Proof Key for Code Exchange, S256 only (RFC 7636; AZ-5).

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Why a challenge or verifier was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PkceError {
    /// RFC 7636 §4.2: base64url of a SHA-256, 43 characters.
    #[error("code_challenge must be 43 characters of base64url (the S256 of a verifier)")]
    Challenge,
    /// RFC 7636 §4.1.
    #[error("code_verifier must be 43 to 128 characters of [A-Za-z0-9-._~]")]
    Verifier,
}

/// `code_challenge` under `S256` (RFC 7636 §4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CodeChallenge(String);

impl CodeChallenge {
    /// Checks the shape: 43 characters of base64url without padding.
    ///
    /// # Errors
    /// [`PkceError::Challenge`] for anything else.
    pub fn parse(text: &str) -> Result<Self, PkceError> {
        let fits = text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if fits { Ok(Self(text.to_owned())) } else { Err(PkceError::Challenge) }
    }

    /// The challenge as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CodeChallenge {
    type Error = PkceError;

    fn try_from(text: String) -> Result<Self, PkceError> {
        Self::parse(&text)
    }
}

impl From<CodeChallenge> for String {
    fn from(challenge: CodeChallenge) -> Self {
        challenge.0
    }
}

/// `code_verifier` (RFC 7636 §4.1): a secret until the code is redeemed.
#[derive(Clone)]
pub struct CodeVerifier(Zeroizing<String>);

impl CodeVerifier {
    /// Checks length and alphabet.
    ///
    /// # Errors
    /// [`PkceError::Verifier`] outside 43 to 128 unreserved characters.
    pub fn parse(text: &str) -> Result<Self, PkceError> {
        let fits =
            (43..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        if fits { Ok(Self(Zeroizing::new(text.to_owned()))) } else { Err(PkceError::Verifier) }
    }

    /// The verifier as text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CodeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeVerifier(***)")
    }
}
