//! Master keys and what is derived from them.

use super::Random;
use crate::domain::{ResourceUri, Secret};

/// 32 bytes from which everything is derived (`secret_key`).
#[derive(Clone)]
pub struct MasterKey(#[allow(dead_code)] Secret<[u8; 32]>);

/// The text is not 32 bytes in base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret key is 32 random bytes in base64; `vestibule secret new` makes one")]
pub struct BadMasterKey;

/// Sealed bytes did not open: wrong key, wrong name, or changed (S32).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed value does not open")]
pub struct Broken;

impl MasterKey {
    /// Reads base64 (standard or URL alphabet, with or without padding) of exactly 32 bytes.
    ///
    /// # Errors
    /// [`BadMasterKey`].
    pub fn parse(_text: &str) -> Result<Self, BadMasterKey> {
        todo!()
    }

    /// A fresh key.
    #[must_use]
    pub fn generate(_random: &dyn Random) -> Self {
        todo!()
    }

    /// The key as base64, for `vestibule secret new`.
    #[must_use]
    pub fn to_text(&self) -> Secret<String> {
        todo!()
    }
}

/// The key of one Resource, by which upstream tokens travel inside access tokens (D4).
#[derive(Clone, Debug)]
pub struct ResourceKey {
    /// Names the key in the JWE header.
    pub kid: String,
    /// 256 bits for `A256GCM`.
    pub key: Secret<[u8; 32]>,
}

/// Current and older master keys with their derived subkeys (derived once, kept).
pub struct Keyring {}

impl Keyring {
    /// A ring that seals with `current` and opens with any.
    #[must_use]
    pub fn new(_current: MasterKey, _older: Vec<MasterKey>) -> Self {
        todo!()
    }

    /// Short public name of the current master key, for the start-up line.
    #[must_use]
    pub fn id(&self) -> String {
        todo!()
    }

    /// Seals with a random nonce under the subkey of `purpose` (a short constant such as `"store/grant"`). `aad` binds
    /// the result to its place. The output carries the key id.
    #[must_use]
    pub fn seal(&self, _purpose: &'static str, _aad: &[u8], _plain: &[u8], _random: &dyn Random) -> Vec<u8> {
        todo!()
    }

    /// Seals with a nonce that is a MAC of the content, so that equal contents give equal values (D2).
    #[must_use]
    pub fn seal_synthetic(&self, _purpose: &'static str, _aad: &[u8], _plain: &[u8]) -> Vec<u8> {
        todo!()
    }

    /// Opens what either `seal` made.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn open(&self, _purpose: &'static str, _aad: &[u8], _sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        todo!()
    }

    /// HMAC-SHA256 of the length-prefixed parts under the current subkey of `purpose`.
    #[must_use]
    pub fn mac(&self, _purpose: &'static str, _parts: &[&[u8]]) -> [u8; 32] {
        todo!()
    }

    /// Whether `mac` is that of the parts under the current key or an older one; constant time.
    #[must_use]
    pub fn mac_is(&self, _purpose: &'static str, _parts: &[&[u8]], _mac: &[u8]) -> bool {
        todo!()
    }

    /// The keys of a Resource: the current one first, then those of older master keys.
    #[must_use]
    pub fn resource_keys(&self, _resource: &ResourceUri) -> Vec<ResourceKey> {
        todo!()
    }
}
