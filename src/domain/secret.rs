//! Secrets that do not print themselves, and credentials that find their own record.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

/// A value that no log, error or page may show: no `Display`, `Debug` prints `***`, wiped on drop, opened only by
/// [`expose`](Secret::expose), which one can grep for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Closes the lid.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Opens the lid. The caller answers for what happens to the value.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl From<&str> for Secret<String> {
    fn from(value: &str) -> Self {
        Self::new(value.to_owned())
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `#[serde(with = "secret::in_record")]`: writes a secret into a record. Only for types that the store seals.
pub mod in_record {
    use super::{Deserialize, Deserializer, Secret, Serialize, Serializer, Zeroize};

    /// Writes the exposed value.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: Zeroize + Serialize, S: Serializer>(secret: &Secret<T>, s: S) -> Result<S::Ok, S::Error> {
        secret.expose().serialize(s)
    }

    /// Reads a value and closes the lid.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, T: Zeroize + Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Secret<T>, D::Error> {
        T::deserialize(d).map(Secret::new)
    }
}

/// As [`in_record`], for an optional secret.
pub mod in_record_option {
    use super::{Deserialize, Deserializer, Secret, Serialize, Serializer, Zeroize};

    /// Writes the exposed value or null.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: Zeroize + Serialize, S: Serializer>(
        secret: &Option<Secret<T>>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::expose).serialize(s)
    }

    /// Reads an optional value and closes the lid.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, T: Zeroize + Deserialize<'de>, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Secret<T>>, D::Error> {
        Option::<T>::deserialize(d).map(|value| value.map(Secret::new))
    }
}

/// What a [`Credential`] is for. The kind is part of the MAC, so a code cannot be spent as a refresh token.
pub trait CredentialKind: Send + Sync + 'static {
    /// How the credential's text begins; also its domain separation.
    const PREFIX: &'static str;
}

/// Marks the authorization code (RFC 6749 §1.3.1). Names a Grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorizationCode {}
/// Marks the refresh token (RFC 6749 §1.5). Names a Grant and a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshToken {}
/// Marks the device code (RFC 8628 §3.2). Names a Device; its generation is the second at which it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceCode {}
/// Marks the `state` that we send to the provider. Names an `AuthorizationRequest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamState {}

impl CredentialKind for AuthorizationCode {
    const PREFIX: &'static str = "vc_";
}
impl CredentialKind for RefreshToken {
    const PREFIX: &'static str = "vr_";
}
impl CredentialKind for DeviceCode {
    const PREFIX: &'static str = "vd_";
}
impl CredentialKind for UpstreamState {
    const PREFIX: &'static str = "vs_";
}

/// A bearer credential of ours that finds itself: it names its record, so there is no index, and it bears a MAC, so a
/// forgery dies before the store is asked (S11). Only `crypto::hash` makes one: by issuing, or by authenticating text.
pub struct Credential<K> {
    id: [u8; 16],
    generation: u32,
    secret: Zeroizing<[u8; 32]>,
    kind: PhantomData<fn() -> K>,
}

impl<K: CredentialKind> Credential<K> {
    /// Puts the parts together. For `crypto::hash`, which has issued them or checked their MAC.
    #[must_use]
    pub fn from_parts(id: [u8; 16], generation: u32, secret: [u8; 32]) -> Self {
        Self { id, generation, secret: Zeroizing::new(secret), kind: PhantomData }
    }

    /// The record it names.
    #[must_use]
    pub const fn id(&self) -> &[u8; 16] {
        &self.id
    }

    /// Which in the row of rotated successors it is; 0 where nothing rotates.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The random part, which only `crypto::hash` needs.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl<K> fmt::Debug for Credential<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(***)")
    }
}
