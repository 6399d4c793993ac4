//! Signing keys: kept sealed in the store, published as a JWK Set (RFC 7517 §5), rotated with overlap (ASM-13).
//!
//! One record holds all keys of one algorithm, so that taking the next key for the current one is a single swap. After a
//! change of algorithm the old one's keys still verify and stay published: their tokens live for an hour at most.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Algorithm, OpenFailed};
use crate::{
    crypto::{
        Random,
        jwt::{Alg, BadKey, SigningKey},
    },
    domain::{Clock, Instant, Secret, secret::in_record},
    store::{Record, Store},
};

/// 2100-01-01: a current key has no end of its own.
const FOREVER: Instant = Instant::from_secs(4_102_444_800);
/// More records of this kind than there are algorithms.
const EVERY_ALGORITHM: usize = 16;

/// Where a key stands. Keys of every stage verify and are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// Published ahead of its use, so that caches of our key set know it in time.
    Next,
    /// Signs.
    Current,
    /// Signs no more; stays until its last token has died.
    Retired,
}

/// One key in its record.
#[derive(Serialize, Deserialize)]
struct StoredKey {
    stage: Stage,
    /// When it entered the stage.
    since: Instant,
    /// The private JWK, with its `kid`.
    #[serde(with = "in_record")]
    jwk: Secret<String>,
}

/// `signing-key/{alg}`.
#[derive(Serialize, Deserialize)]
struct KeySet {
    alg: String,
    keys: Vec<StoredKey>,
}

impl Record for KeySet {
    const KIND: &'static str = "signing-key";
    const PURPOSE: &'static str = "store/signing-key";

    fn id(&self) -> String {
        self.alg.clone()
    }

    fn expires(&self) -> Instant {
        FOREVER
    }
}

/// The keys that sign, verify and are published.
pub(super) struct SigningKeys {
    /// The current key first.
    all: Vec<SigningKey>,
    jwks: Bytes,
}

impl SigningKeys {
    /// Reads the keys, or makes the first one and keeps it. Of several replicas that start together one wins the
    /// insert; the others read what it kept.
    pub(super) async fn open(
        algorithm: &Algorithm,
        store: &Store,
        clock: &dyn Clock,
        random: &dyn Random,
    ) -> Result<Self, OpenFailed> {
        let alg = match algorithm {
            Algorithm::Es256 => Alg::Es256,
            Algorithm::EdDsa => Alg::EdDsa,
            Algorithm::Rs256 => Alg::Rs256,
            Algorithm::Hs256(secret) => return Ok(Self::of(vec![SigningKey::shared(secret)?])),
        };
        let mut all = current_first(&kept(alg, store, clock, random).await?)?;
        for (id, set) in store.list::<KeySet>(None, EVERY_ALGORITHM).await? {
            if id != alg.as_str() {
                all.extend(current_first(&set)?);
            }
        }
        Ok(Self::of(all))
    }

    fn of(all: Vec<SigningKey>) -> Self {
        let keys: Vec<_> = all.iter().filter_map(SigningKey::public_jwk).collect();
        let jwks = Bytes::from(serde_json::json!({ "keys": keys }).to_string());
        Self { all, jwks }
    }

    /// The key that signs.
    pub(super) fn current(&self) -> &SigningKey {
        &self.all[0]
    }

    /// Every key that a token may bear.
    pub(super) fn all(&self) -> &[SigningKey] {
        &self.all
    }

    /// The published set.
    pub(super) fn jwks(&self) -> Bytes {
        self.jwks.clone()
    }
}

async fn kept(alg: Alg, store: &Store, clock: &dyn Clock, random: &dyn Random) -> Result<KeySet, OpenFailed> {
    loop {
        if let Some(set) = store.get::<KeySet>(alg.as_str()).await? {
            return Ok(set);
        }
        let key = SigningKey::generate(alg, &URL_SAFE_NO_PAD.encode(random.bytes::<9>()))?;
        let first = StoredKey { stage: Stage::Current, since: clock.now(), jwk: key.to_private_jwk() };
        let set = KeySet { alg: alg.as_str().to_owned(), keys: vec![first] };
        if store.insert(&set).await? {
            return Ok(set);
        }
    }
}

fn current_first(set: &KeySet) -> Result<Vec<SigningKey>, OpenFailed> {
    let (current, others): (Vec<_>, Vec<_>) = set.keys.iter().partition(|key| key.stage == Stage::Current);
    if current.len() != 1 {
        return Err(BadKey::NO_CURRENT.into());
    }
    let read = |key: &StoredKey| SigningKey::from_private_jwk(&key.jwk).map_err(OpenFailed::from);
    current.into_iter().chain(others).map(read).collect()
}
