//! Issue and authenticate credentials; hashes; constant-time comparison.

use super::{Keyring, Random};
use crate::domain::{CodeChallenge, CodeVerifier, Credential, CredentialKind, Secret, grant::SecretHash};

/// The text is not a credential of ours, or its MAC is wrong. The store is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a credential of ours")]
pub struct Forged;

/// Makes a credential and its text (prefix + base64url of id, generation, secret, MAC).
#[must_use]
pub fn issue<K: CredentialKind>(
    _keyring: &Keyring,
    _id: [u8; 16],
    _generation: u32,
    _random: &dyn Random,
) -> (Credential<K>, Secret<String>) {
    todo!()
}

/// Reads a credential back, if its MAC is ours under any key of the ring.
///
/// # Errors
/// [`Forged`].
pub fn authenticate<K: CredentialKind>(_keyring: &Keyring, _text: &str) -> Result<Credential<K>, Forged> {
    todo!()
}

/// SHA-256 of the credential's secret, as records keep it.
#[must_use]
pub fn secret_hash<K: CredentialKind>(_credential: &Credential<K>) -> SecretHash {
    todo!()
}

/// SHA-256.
#[must_use]
pub fn sha256(_bytes: &[u8]) -> [u8; 32] {
    todo!()
}

/// RFC 7636 §4.2: `BASE64URL(SHA256(verifier))`.
#[must_use]
pub fn s256(_verifier: &CodeVerifier) -> CodeChallenge {
    todo!()
}

/// Equality that takes the same time wherever the difference lies.
#[must_use]
pub fn same(_a: &[u8], _b: &[u8]) -> bool {
    todo!()
}
