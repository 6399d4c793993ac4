//! The mint, shared by granter and spender.
//!
//! **Purpose.** One room makes access tokens and one room believes them, so that both readings of the format are side by
//! side. A token is an RFC 9068 JWT (`typ: at+jwt`) for exactly one Resource (`AccessClaims`). It rests on a Grant,
//! named by `gid`, and is worth nothing without it: removing the Grant revokes every token at once. It carries the
//! provider's access token as a JWE under the Resource's own key, for backends that verify tokens themselves (D4), and
//! never outlives it (D5).
//!
//! Verifying ([`Mint::verify`]) costs a signature check once for the token's exact bytes. Afterwards a cache entry holds
//! who the [`Caller`] is and the Grant's liveness flag (D14); what may change by the second is asked each time: has it
//! expired, is it for this Resource, does its Grant live. When the flag trips, the Grant is read again. Whatever was
//! refused for its bytes alone is remembered for a few seconds, so that one bad token sent a thousand times costs one
//! signature check.
//!
//! What a token spends at the provider is kept fresh here too (`renew`): once for each Grant, however many ask at the
//! same moment, and without losing a login to a provider's bad hour.
//!
//! Signing keys (`keys`, `rotate`) lie in the store, sealed, one record per algorithm: replicas that start together agree
//! on them by one `insert`, and a rotation (next, current, retired) is one swap. Every process keeps the set that is in
//! force behind a pointer, replaced as a whole when the record changed, and signs and verifies without asking the store.
//!
//! A token may be bound to a key of its client's (`cnf`, RFC 9449 §6). [`Mint::verify`] refuses such a one, so that nobody
//! who forgets to ask for a proof lets it in: [`Mint::verify_proven`] is the only way, and judges the proof (`proof`) anew
//! for every call, whatever is remembered of the token.
//!
//! A person may also be given an address that is theirs alone (`pass`), where a session of the oldest wire is to be told from
//! another person's.
//!
//! Whoever has just logged in is expected at a gate within a minute, and missed in the log otherwise (`unused`): it is the
//! only trace of clients that something in front of us refuses.
//!
//! **Neighbours.** Leans on `store`, `upstream`, `crypto` and `domain`. `oauth` mints, renews and publishes, `proxy`
//! verifies; those two never meet.
//!
//! **Nevers.** No HTTP, no challenge, no decision about who gets a Grant. A token, or why exactly it was refused, is
//! never logged. Only this room makes a [`Caller`].

mod give_back;
mod inspect;
mod keys;
mod mint;
mod pass;
mod proof;
mod renew;
mod rotate;
mod rotation;
mod unused;
mod verify;

use std::{borrow::Cow, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
pub use inspect::Inspected;
pub use keys::Stage;
pub use proof::{Addressed, Dpop, Judged, NotSpent, PresentedProof, ProofRefused, is_holder};
pub use renew::RenewFailed;
pub use rotate::keep_keys;
pub use rotation::{KeyOutline, RotateFailed, Rotation};
use serde::{Deserialize, Serialize};
pub use unused::Login;

use crate::{
    crypto::{Keyring, Random, jwt::BadKey},
    domain::{Actor, ClientId, Clock, Grant, GrantId, Identity, Instant, ResourceUri, Scope, Secret, Thumbprint},
    store::{Liveness, Store, Unavailable},
};

/// How access tokens are made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our issuer, byte for byte as metadata says it.
    pub issuer: String,
    /// Signature algorithm.
    pub algorithm: Algorithm,
    /// The longest life of an access token (1 h); never longer than the upstream token's rest less 60 s, or half of that
    /// rest where it is shorter than two minutes (D5).
    pub life: Duration,
    /// How long a key signs before the next one takes its place (90 d); `None` for until somebody rotates. HS256 has no
    /// rotation: its secret is the operator's.
    pub rotate: Option<Duration>,
    /// Which identity claims go into the token.
    pub claims: Vec<IdentityClaim>,
    /// Whether tokens can be bound to keys.
    pub dpop: Dpop,
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
    /// HMAC with a secret shared with the MCP server, of at least 32 bytes; nothing is published.
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

/// The claims of an access token (RFC 9068 §2.2), as they are signed and as they are read.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AccessClaims<'a> {
    /// Our issuer.
    #[serde(borrow)]
    iss: Cow<'a, str>,
    /// The Subject.
    #[serde(borrow)]
    sub: Cow<'a, str>,
    /// The Resource: one string. A list, even of one, is refused, so that no foreign audience can ride along (S5).
    #[serde(borrow)]
    aud: Cow<'a, str>,
    /// The MCP client.
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    /// What it permits, space-separated.
    #[serde(borrow)]
    scope: Cow<'a, str>,
    /// Seconds since the epoch.
    iat: u64,
    /// Seconds since the epoch.
    exp: u64,
    /// Never set by us; honoured if it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    /// Unique.
    #[serde(borrow)]
    jti: Cow<'a, str>,
    /// When the person agreed.
    auth_time: u64,
    /// The Grant.
    gid: GrantId,
    /// The key that it is bound to (RFC 9449 §6.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preferred_username: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    groups: Option<Cow<'a, [String]>>,
    /// Who acts for the person (RFC 8693 §4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    act: Option<Cow<'a, Actor>>,
    /// The provider's access token as a JWE (D4); left out where it would burst a header line (TOK-5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upstream_token: Option<String>,
}

/// RFC 7800 §3, with the one member that we write.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Confirmation {
    jkt: Thumbprint,
}

/// RFC 9068 §2.1. Keeps our ID tokens, state and whatever else a key might sign from being taken for access tokens.
const TYP: &str = "at+jwt";

/// A fresh access token.
#[derive(Debug)]
pub struct Minted {
    /// The JWT.
    pub token: Secret<String>,
    /// Its life.
    pub life: Duration,
    /// The key that it is bound to.
    pub key: Option<Thumbprint>,
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
    /// The provider's access token, if the Grant rests on a login there.
    pub upstream_token: Option<Secret<String>>,
    /// The key that the token is bound to: who calls has proved to hold it.
    pub key: Option<Thumbprint>,
    /// Trips when the Grant is replaced or gone.
    liveness: Liveness,
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
    /// It is bound to a key, and came without a proof (RFC 9449 §7.1).
    #[error("the access token is bound to a key; use the DPoP scheme")]
    Bound,
    /// It is bound to no key, and came with a proof.
    #[error("the access token is not bound to a key; use the Bearer scheme")]
    NotBound,
    /// It is bound to another key than the one that made the proof.
    #[error("the access token is bound to another key")]
    OtherKey,
    /// The proof that came with it.
    #[error(transparent)]
    Proof(ProofRefused),
    /// The store did not answer: 503, not 401.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MintFailed {
    /// The upstream token (or the Grant) ends before a new token would live.
    #[error("the upstream token has expired")]
    UpstreamExpired,
    /// Signing or encryption failed.
    #[error("signing failed: {0}")]
    Crypto(String),
}

/// The mint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenFailed {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] Unavailable),
    /// A key could not be made or read.
    #[error(transparent)]
    Key(#[from] BadKey),
}

/// Makes and verifies access tokens. Cheap to clone.
#[derive(Clone)]
pub struct Mint(Arc<Parts>);

struct Parts {
    settings: Settings,
    keys: rotate::SigningKeys,
    seen: verify::Seen,
    used: proof::Used,
    expected: unused::Expected,
    given_back: give_back::Waiting,
    store: Store,
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Mint {
    /// Opens the mint: signing keys are read from the store, or made and kept there (sealed).
    ///
    /// # Errors
    /// [`OpenFailed`] when the store does not answer or an HS256 secret is too short.
    pub async fn open(
        settings: Settings,
        store: Store,
        keyring: Arc<Keyring>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, OpenFailed> {
        let keys = rotate::SigningKeys::open(&settings, &store, &*clock, &random).await?;
        let (seen, used, expected) = (verify::Seen::new(), proof::Used::new(), unused::Expected::new());
        let given_back = give_back::Waiting::default();
        Ok(Self(Arc::new(Parts { settings, keys, seen, used, expected, given_back, store, keyring, clock, random })))
    }

    /// An access token that rests on `grant`, for its one Resource, with `scope` (what exceeds the Grant's is left out).
    /// It waits for the store only where the keys have not been read for so long that they may be gone.
    ///
    /// # Errors
    /// [`MintFailed`].
    pub async fn mint(&self, grant: &Grant, scope: &Scope) -> Result<Minted, MintFailed> {
        self.mint_bound(grant, scope, None).await
    }

    /// The same, bound to a key that the client has proved to hold, if it has.
    ///
    /// # Errors
    /// [`MintFailed`].
    pub async fn mint_bound(
        &self,
        grant: &Grant,
        scope: &Scope,
        key: Option<Thumbprint>,
    ) -> Result<Minted, MintFailed> {
        self.0.confirm_keys().await;
        self.0.mint(grant, scope, key)
    }

    /// The longest life of an access token: that of a Grant behind a single one.
    #[must_use]
    pub fn life(&self) -> Duration {
        self.0.settings.life
    }

    /// Verifies a token for one Resource: signature once (cached by the token's exact bytes), and each time `exp`,
    /// audience and that the Grant lives (RS-1, D14). `Arc` so that a hit allocates nothing. A token that is bound to a key
    /// is refused: it needs a proof.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn verify(&self, token: &str, resource: &ResourceUri) -> Result<Arc<Caller>, Refused> {
        let caller = self.0.verify(token, resource).await?;
        if caller.key.is_some() { Err(Refused::Bound) } else { Ok(caller) }
    }

    /// Returns when the Grant on which `caller` rests is gone: for whatever outlasts the request that was let in. It costs
    /// nothing while nothing happens to the Grant.
    #[must_use]
    pub fn revoked(&self, caller: &Caller) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (parts, grant, liveness) = (Arc::clone(&self.0), caller.grant, caller.liveness.clone());
        Box::pin(async move { parts.revoked(grant, liveness).await })
    }

    /// The published keys (RFC 7517), JSON. Empty `keys` under HS256.
    #[must_use]
    pub fn jwks(&self) -> Bytes {
        self.0.keys.now().jwks()
    }

    /// JWS names for metadata (`ES256`).
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        self.0.keys.now().current().alg().as_str()
    }
}
