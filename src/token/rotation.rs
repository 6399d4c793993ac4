//! What an operator asks of the signing keys, and is told of them.

use super::keys::Stage;
use crate::{crypto::jwt::BadKey, domain::Instant, store::Unavailable};

/// How the operator wants the key changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The next key signs from now on; the current one still verifies. Nobody notices.
    Regular,
    /// The keys may be known to a stranger: all of them are replaced, and no token that they signed is believed any
    /// more. Clients refresh; nobody has to log in again.
    Compromised,
}

/// Why the key was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RotateFailed {
    /// The next key was published too short a while ago for every verifier to know it.
    #[error("the next key was published too recently; verifiers may not know it yet")]
    TooEarly(Instant),
    /// The key is a secret that the operator chose.
    #[error("HS256 signs with the shared secret of the configuration, which does not rotate")]
    Shared,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] Unavailable),
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] BadKey),
}

/// One signing key, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOutline {
    /// `kid` in tokens and in the published set.
    pub kid: String,
    /// JWS name of its algorithm.
    pub alg: String,
    /// Where it stands.
    pub stage: Stage,
    /// Since when.
    pub since: Instant,
    /// When it leaves the stage, as far as that is planned.
    pub until: Option<Instant>,
}
