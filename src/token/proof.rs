//! Whether a proof of possession was made for this very request (DPoP, RFC 9449 §4.3), and has not been used before.
//!
//! Both who grants and who lets in ask here, with one difference. At `/token` a used proof is remembered in the store, by
//! one insert: there a replay could buy something. At the gate every call brings a proof, so each process remembers on its
//! own, without asking anybody, as many as fit; the window of ten minutes bounds what a replay at another process, of the
//! same call to the same server, could do (RFC 9449 §11.1). `nonce` narrows that to five.
//!
//! A nonce is a moment and its MAC, so that every replica knows it and nobody keeps it.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use moka::{policy::EvictionPolicy, sync::Cache};
use url::Url;

use super::{Caller, Mint, Parts, Refused};
use crate::{
    crypto::{
        hash::{same, sha256},
        jwt::proof::{BadProof, Proof},
    },
    domain::{Instant, ResourceUri, SpentProof, Thumbprint},
    store::Unavailable,
};

/// How far the clock of a client may stand from ours, in either direction (ext-auth DPoP: exactly this).
const WINDOW: Duration = Duration::from_secs(300);
/// How long a nonce is good.
const NONCE_LIFE: Duration = Duration::from_secs(300);
/// By how much the clock of the replica that made a nonce may be ahead of ours.
const SKEW: Duration = Duration::from_secs(30);
const NONCE_PURPOSE: &str = "token/dpop-nonce";
/// Seconds since the epoch and a MAC.
const NONCE: usize = 8 + 16;
/// How many used proofs one process remembers, about 10 MB: 160 calls a second for ten minutes.
const REMEMBERED: u64 = 100_000;

/// `[tokens] dpop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dpop {
    /// Nobody is asked for proofs, and none is looked at. Tokens that were bound before are refused.
    Off,
    /// Who brings a proof gets tokens bound to its key.
    #[default]
    Allowed,
    /// The same, and every proof repeats a nonce of ours (RFC 9449 §8, §9).
    Nonce,
}

/// The proofs in one request, as its header fields say: RFC 9449 §4.3 wants one at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresentedProof<'a> {
    /// None.
    None,
    /// One; what is no text is no proof either.
    One(&'a str),
    /// More: which of them counts would be anyone's guess.
    Several,
}

impl<'a> PresentedProof<'a> {
    /// Of the values of every `DPoP` header field.
    pub fn of(mut values: impl Iterator<Item = &'a [u8]>) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::None,
            (Some(value), None) => Self::One(std::str::from_utf8(value).unwrap_or_default()),
            (Some(_), Some(_)) => Self::Several,
        }
    }

    /// Whether there is any.
    #[must_use]
    pub const fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }
}

/// What a proof has to be made for: the request as its client sees it, so never from a `Host` header (D9).
#[derive(Debug, Clone, Copy)]
pub struct Addressed<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The public origin.
    pub origin: &'a str,
    /// The path on it.
    pub path: &'a str,
}

/// Why a proof proves nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefused {
    /// There is none.
    #[error("a DPoP proof is needed")]
    Missing,
    /// There are two (check 1).
    #[error("more than one DPoP header")]
    Several,
    /// It is no proof (checks 2 to 7).
    #[error(transparent)]
    Bad(#[from] BadProof),
    /// Check 8.
    #[error("the htm of the DPoP proof is not the method of this request")]
    Method,
    /// Check 9.
    #[error("the htu of the DPoP proof is not the public address of this request")]
    Uri,
    /// Check 10, and the answer then holds one.
    #[error("the DPoP proof must repeat a fresh nonce; see DPoP-Nonce")]
    Nonce,
    /// Check 11.
    #[error("the iat of the DPoP proof is more than five minutes away")]
    Time,
    /// Check 12.
    #[error("the ath of the DPoP proof is not the hash of this access token")]
    Token,
    /// §11.1.
    #[error("the DPoP proof was used before")]
    Replayed,
}

/// A proof that was made for this request. It names no key before it is spent.
#[derive(Debug)]
pub struct Judged(Proof);

/// A proof could not be spent.
#[derive(Debug, thiserror::Error)]
pub enum NotSpent {
    /// It was used before.
    #[error(transparent)]
    Refused(ProofRefused),
    /// The store did not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The proofs that this process has let in, by hash of key and `jti`. The oldest are forgotten first; what is forgotten
/// early could be used a second time, never what is refused.
pub(super) struct Used(Cache<[u8; 32], ()>);

impl Used {
    pub(super) fn new() -> Self {
        let cache = Cache::builder().max_capacity(REMEMBERED).eviction_policy(EvictionPolicy::lru());
        // From the earliest moment at which a proof is accepted to the latest.
        Self(cache.time_to_live(WINDOW * 2).build())
    }

    /// Whether this is its first use; of many at once one is.
    fn is_first(&self, proof: &Proof) -> bool {
        let name = [proof.key.as_bytes().as_slice(), proof.jti.as_bytes()].concat();
        self.0.entry(sha256(&name)).or_insert(()).is_fresh()
    }
}

impl Mint {
    /// Whether proofs are asked for.
    #[must_use]
    pub fn dpop(&self) -> Dpop {
        self.0.settings.dpop
    }

    /// The nonce that proofs have to repeat from now on, where they have to (`DPoP-Nonce`).
    #[must_use]
    pub fn dpop_nonce(&self) -> Option<String> {
        (self.dpop() == Dpop::Nonce).then(|| self.0.nonce(self.0.clock.now().secs()))
    }

    /// Judges the proof of a request that presents no access token. `None` where there is none, or proofs are off.
    ///
    /// # Errors
    /// [`ProofRefused`].
    pub fn judge_proof(
        &self,
        presented: PresentedProof<'_>,
        addressed: Addressed<'_>,
    ) -> Result<Option<Judged>, ProofRefused> {
        if self.dpop() == Dpop::Off || !presented.is_some() {
            return Ok(None);
        }
        self.0.judge(presented, addressed).map(|proof| Some(Judged(proof)))
    }

    /// Uses a proof up, for all replicas, and gives the key that its maker holds: of many who present one proof, one
    /// hears it.
    ///
    /// # Errors
    /// [`NotSpent`].
    pub async fn spend_proof(&self, Judged(proof): Judged) -> Result<Thumbprint, NotSpent> {
        // A second longer than it could be accepted.
        let expires = proof.issued + WINDOW + Duration::from_secs(1);
        let spent = SpentProof { key: proof.key, jti: proof.jti, expires };
        if self.0.store.insert(&spent).await? { Ok(spent.key) } else { Err(NotSpent::Refused(ProofRefused::Replayed)) }
    }

    /// As [`verify`](Self::verify), for a token that comes with a proof: it has to be bound to the key that made the proof
    /// (RFC 9449 §7.1), and the proof has to be for this request and this token, and used for the first time here.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn verify_proven(
        &self,
        token: &str,
        resource: &ResourceUri,
        presented: PresentedProof<'_>,
        addressed: Addressed<'_>,
    ) -> Result<Arc<Caller>, Refused> {
        // The token first: who has none must not make us verify signatures, nor remember anything.
        let caller = self.0.verify(token, resource).await?;
        let key = caller.key.ok_or(Refused::NotBound)?;
        let proof = self.0.judge(presented, addressed)?;
        if proof.key != key {
            return Err(Refused::OtherKey);
        }
        let hash = URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()));
        if proof.token_hash.as_deref() != Some(hash.as_str()) {
            return Err(ProofRefused::Token.into());
        }
        if !self.0.used.is_first(&proof) {
            return Err(ProofRefused::Replayed.into());
        }
        Ok(caller)
    }
}

impl Parts {
    /// Everything but the token and the replay.
    fn judge(&self, presented: PresentedProof<'_>, addressed: Addressed<'_>) -> Result<Proof, ProofRefused> {
        let proof = match presented {
            PresentedProof::None => return Err(ProofRefused::Missing),
            PresentedProof::Several => return Err(ProofRefused::Several),
            PresentedProof::One(text) => Proof::read(text)?,
        };
        if proof.method != addressed.method {
            return Err(ProofRefused::Method);
        }
        // Parsed alike, so that both are in normal form.
        let asked = Url::parse(&[addressed.origin, addressed.path].concat());
        if !asked.is_ok_and(|asked| asked == proof.uri) {
            return Err(ProofRefused::Uri);
        }
        let now = self.clock.now();
        if now.since(proof.issued) > WINDOW || proof.issued.since(now) > WINDOW {
            return Err(ProofRefused::Time);
        }
        let is_fresh = |nonce: &str| self.is_fresh(nonce, now);
        if self.settings.dpop == Dpop::Nonce && !proof.nonce.as_deref().is_some_and(is_fresh) {
            return Err(ProofRefused::Nonce);
        }
        Ok(proof)
    }

    fn nonce(&self, secs: u64) -> String {
        let made = secs.to_be_bytes();
        let mac = self.keyring.mac(NONCE_PURPOSE, &[&made]);
        URL_SAFE_NO_PAD.encode([&made[..], &mac[..NONCE - made.len()]].concat())
    }

    /// Whether a nonce is ours, of any key of the ring, and not too old.
    fn is_fresh(&self, nonce: &str, now: Instant) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(nonce) else { return false };
        let Some((made, mac)) = bytes.split_first_chunk::<8>().filter(|_| bytes.len() == NONCE) else { return false };
        if !self.keyring.mac_is(NONCE_PURPOSE, &[made], mac) {
            return false;
        }
        let made = Instant::from_secs(u64::from_be_bytes(*made));
        now.since(made) <= NONCE_LIFE && made <= now + SKEW
    }
}

impl From<ProofRefused> for Refused {
    fn from(why: ProofRefused) -> Self {
        Self::Proof(why)
    }
}

/// Whether a token or code that is bound to `bound` may be used by who proved to hold `shown`.
#[must_use]
pub fn is_holder(bound: Option<&Thumbprint>, shown: Option<&Thumbprint>) -> bool {
    bound.is_none_or(|bound| shown.is_some_and(|shown| same(bound.as_bytes(), shown.as_bytes())))
}
