//! Keys that clients prove to hold with every request (DPoP, RFC 9449), by their names.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Instant;

/// The text was not 43 characters of base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's thumbprint is 43 characters of base64url (RFC 7638)")]
pub struct NotAThumbprint;

/// The SHA-256 thumbprint of a public key (RFC 7638): the `jkt` of RFC 9449 §6.1. Two keys never share one, and it is no
/// secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Wraps a digest that `crypto` made.
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

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 43];
        let n = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text[..n]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

impl FromStr for Thumbprint {
    type Err = NotAThumbprint;

    fn from_str(text: &str) -> Result<Self, NotAThumbprint> {
        if text.len() != 43 {
            return Err(NotAThumbprint);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotAThumbprint)?;
        bytes.try_into().map(Self).map_err(|_| NotAThumbprint)
    }
}

impl Serialize for Thumbprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Thumbprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The `jti` of a proof that bought a token (RFC 9449 §11.1): it is good for once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpentProof {
    /// By which key it was made.
    pub key: Thumbprint,
    /// Its name.
    pub jti: String,
    /// From when on its own `iat` refuses it.
    pub expires: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9449_10_a_thumbprint_has_one_spelling() {
        let text = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        let key: Thumbprint = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        assert_eq!(serde_json::to_string(&key).unwrap(), format!("{text:?}"));
        // The last character has two bits to spare.
        let stray = format!("{}J", &text[..42]);
        for bad in ["", "x", &text[..42], &format!("{text}="), &format!("{text}A"), &stray, &text.replace('-', "+")] {
            assert_eq!(bad.parse::<Thumbprint>(), Err(NotAThumbprint), "{bad}");
        }
    }
}
