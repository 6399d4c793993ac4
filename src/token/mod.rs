//! The mint, shared by granter and spender. (essay to be written by the room's builder)

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    crypto::{Keyring, Random},
    domain::{ClientId, Clock, Grant, GrantId, Identity, Instant, ResourceUri, Scope, Secret},
    store::{Store, Unavailable},
};

/// How access tokens are made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our issuer, byte for byte as metadata says it.
    pub issuer: String,
    /// Signature algorithm.
    pub algorithm: Algorithm,
    /// The longest life of an access token (1 h); never longer than the upstream token's rest less 60 s (D5).
    pub life: Duration,
    /// Which identity claims go into the token.
    pub claims: Vec<IdentityClaim>,
}

/// RFC 7518 §3.1 names.
#[derive(Debug, Clone)]
pub enum Algorithm {
    /// ECDSA P-256, the default.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSA 2048.
    Rs256,
    /// HMAC with a secret shared with the MCP server; nothing is published.
    Hs256(Secret<Vec<u8>>),
}

/// A claim of the person's identity inside the access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityClaim {
    /// `email` and `email_verified`.
    Email,
    /// `name`.
    Name,
    /// `preferred_username`.
    Username,
    /// `groups`.
    Groups,
}

/// A fresh access token.
#[derive(Debug)]
pub struct Minted {
    /// The JWT.
    pub token: Secret<String>,
    /// Its life, for `expires_in`.
    pub life: Duration,
}

/// Who stands at the gate after verification. Only this room makes one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Caller {
    /// The Grant it rests on.
    pub grant: GrantId,
    /// The MCP client.
    pub client: ClientId,
    /// The person.
    pub identity: Identity,
    /// What the token permits.
    pub scope: Scope,
    /// The Resource it is for.
    pub resource: ResourceUri,
    /// When the token ends.
    pub expires: Instant,
    /// The provider's access token, opened.
    pub upstream_token: Secret<String>,
}

/// Why a token opens nothing (RFC 6750 §3.1 `invalid_token`, but for [`Refused::Unavailable`]).
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not a JWT of ours: shape, `typ`, `alg`, `kid`, signature, missing claim.
    #[error("the access token is not valid")]
    Invalid,
    /// Past `exp`.
    #[error("the access token has expired")]
    Expired,
    /// For another Resource.
    #[error("the access token is for another resource")]
    WrongAudience,
    /// Its Grant is gone.
    #[error("the access token was revoked")]
    Revoked,
    /// The store did not answer: 503, not 401.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MintFailed {
    /// The upstream token ends before a new token would live.
    #[error("the upstream token has expired")]
    UpstreamExpired,
    /// Signing or encryption failed.
    #[error("signing failed: {0}")]
    Crypto(String),
}

/// Makes and verifies access tokens. Cheap to clone.
#[derive(Clone)]
pub struct Mint {}

impl Mint {
    /// Opens the mint: signing keys are read from the store, or made and kept there (sealed).
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn open(
        _settings: Settings,
        _store: Store,
        _keyring: Arc<Keyring>,
        _clock: Arc<dyn Clock>,
        _random: Arc<dyn Random>,
    ) -> Result<Self, Unavailable> {
        todo!()
    }

    /// An access token that rests on `grant`, for its one Resource, with `scope` (within the Grant's).
    ///
    /// # Errors
    /// [`MintFailed`].
    pub fn mint(&self, _grant: &Grant, _scope: &Scope) -> Result<Minted, MintFailed> {
        todo!()
    }

    /// Verifies a token for one Resource: signature once (cached by the token's exact bytes), and each time `exp`,
    /// audience and that the Grant lives (RS-1, D14). `Arc` so that a hit allocates nothing.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn verify(&self, _token: &str, _resource: &ResourceUri) -> Result<Arc<Caller>, Refused> {
        todo!()
    }

    /// The published keys (RFC 7517), JSON. Empty `keys` under HS256.
    #[must_use]
    pub fn jwks(&self) -> Bytes {
        todo!()
    }

    /// JWS names for metadata (`ES256`).
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        todo!()
    }
}
