//! An access token becomes a Caller (RFC 9068 §4, RFC 8725; RS-1, RS-2, D14).

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use moka::sync::Cache;

use super::{AccessClaims, Caller, Parts, Refused, TYP};
use crate::{
    crypto::{
        hash::sha256,
        jwt::{self, Unverified},
    },
    domain::{ClientId, Grant, GrantId, GrantStage, Instant, ResourceUri, Scope, Thumbprint},
    store::{Liveness, Unavailable},
};

/// By how much the clock of the replica that signed may be ahead of ours.
const SKEW: Duration = Duration::from_secs(30);
/// No token of ours comes near; a longer one is not even hashed.
const LONGEST: usize = 32 * 1024;
/// Bytes that known Callers may take together, by estimate.
const KNOWN_BYTES: u64 = 16 * 1024 * 1024;
/// How long a Caller who does not call is remembered.
const KNOWN_IDLE: Duration = Duration::from_secs(600);
/// How long a stream waits for a store that did not say whether its Grant is there.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How many refused tokens are remembered, and for how long.
const DEAD_COUNT: u64 = 4096;
const DEAD_LIFE: Duration = Duration::from_secs(10);

/// What verification remembers. Two memories, so that a flood of bad tokens cannot drive out the good.
pub(super) struct Seen {
    known: Cache<TokenHash, Known>,
    dead: Cache<TokenHash, Dead>,
}

impl Seen {
    pub(super) fn new() -> Self {
        let known = Cache::builder().weigher(|_, known: &Known| known.weight()).max_capacity(KNOWN_BYTES);
        let dead = Cache::builder().max_capacity(DEAD_COUNT);
        Self { known: known.time_to_idle(KNOWN_IDLE).build(), dead: dead.time_to_live(DEAD_LIFE).build() }
    }
}

/// SHA-256 of a token's exact bytes. Its first eight bytes are as good a hash as any other.
#[derive(Clone, Copy, PartialEq, Eq)]
struct TokenHash([u8; 32]);

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0[..8]);
    }
}

/// A token whose signature and claims were found good, with what may change since.
#[derive(Clone)]
struct Known {
    caller: Arc<Caller>,
    grant_ends: Instant,
    /// Under which keys it was believed: those of before the next loss of one.
    losses: u64,
}

impl Known {
    /// What the token said, to be held against a Grant that has changed.
    fn said(&self) -> Said {
        Said {
            grant: self.caller.grant,
            client: self.caller.client.clone(),
            subject: self.caller.identity.subject.as_str().to_owned(),
            audience: self.caller.resource.as_str().to_owned(),
            scope: self.caller.scope.clone(),
            expires: self.caller.expires,
            key: self.caller.key,
            losses: self.losses,
        }
    }

    fn weight(&self) -> u32 {
        let texts = self.caller.upstream_token.as_ref().map_or(0, |token| token.expose().len())
            + self.caller.client.as_str().len()
            + self.caller.identity.groups.iter().map(|group| group.len() + 24).sum::<usize>();
        u32::try_from(1024 + texts).unwrap_or(u32::MAX)
    }
}

/// Refused for its bytes or for good, whatever the Resource and the hour.
#[derive(Clone, Copy)]
pub(super) enum Dead {
    Invalid,
    Expired,
    Revoked,
}

impl From<Dead> for Refused {
    fn from(dead: Dead) -> Self {
        match dead {
            Dead::Invalid => Self::Invalid,
            Dead::Expired => Self::Expired,
            Dead::Revoked => Self::Revoked,
        }
    }
}

/// What a token says, once its signature is believed.
struct Said {
    grant: GrantId,
    client: ClientId,
    subject: String,
    audience: String,
    scope: Scope,
    expires: Instant,
    key: Option<Thumbprint>,
    losses: u64,
}

impl Said {
    /// Whether `grant` is what was said: redeemed, and for the same person, client and Resource.
    fn is_of(&self, grant: &Grant) -> bool {
        matches!(grant.stage, GrantStage::Active { .. })
            && grant.client == self.client
            && grant.identity.subject.as_str() == self.subject
            && grant.resource.as_str() == self.audience
    }
}

/// Nobody can say whether a key is ours.
#[derive(Debug, thiserror::Error)]
#[error("the signing keys could not be read again")]
struct KeysUnread;

impl From<KeysUnread> for Unavailable {
    fn from(unread: KeysUnread) -> Self {
        Self(unread.into())
    }
}

/// A token that its own bytes refuse.
pub(super) enum Rejection {
    /// Cheap to find out again, or healed by time.
    Now,
    /// By a key that another process may have made.
    UnknownKey,
    /// Worth remembering.
    ForGood(Dead),
}

impl Parts {
    pub(super) async fn verify(self: &Arc<Self>, token: &str, resource: &ResourceUri) -> Result<Arc<Caller>, Refused> {
        if token.len() > LONGEST {
            return Err(Refused::Invalid);
        }
        let hash = TokenHash(sha256(token.as_bytes()));
        let known = match self.seen.known.get(&hash).filter(|known| known.losses == self.keys.losses()) {
            Some(known) if known.caller.liveness.holds() && self.store.is_up_to_date() => known,
            // The Grant was replaced or removed, or this machine slept while others might have done it: what the token says
            // still holds, what it rests on has to be read.
            Some(known) => Box::pin(self.rest(hash, known.said())).await?,
            // Also what was believed under a key that is gone. Boxed: the cold paths would make the future of every call large.
            None => Box::pin(self.first_sight(hash, token)).await?,
        };
        let now = self.clock.now();
        if known.caller.expires <= now {
            return Err(Refused::Expired);
        }
        if known.caller.resource != *resource {
            return Err(Refused::WrongAudience);
        }
        if known.grant_ends <= now {
            return Err(Refused::Revoked);
        }
        Ok(known.caller)
    }

    async fn first_sight(self: &Arc<Self>, hash: TokenHash, token: &str) -> Result<Known, Refused> {
        if let Some(dead) = self.seen.dead.get(&hash) {
            return Err(dead.into());
        }
        match self.read(token).await {
            Ok(said) => self.rest(hash, said).await,
            // It may be good: another process may have made the key. 401 would make its client log in again.
            Err(Rejection::UnknownKey) if self.keys.is_blind() => Err(Refused::Unavailable(KeysUnread.into())),
            Err(Rejection::Now | Rejection::UnknownKey) => Err(Refused::Invalid),
            Err(Rejection::ForGood(dead)) => {
                self.seen.dead.insert(hash, dead);
                Err(dead.into())
            }
        }
    }

    /// What the token says, if a key of ours signed it, also one that another process made a moment ago.
    pub(super) async fn believed<T>(
        self: &Arc<Self>,
        token: &str,
        said: impl Fn(AccessClaims<'_>) -> T,
    ) -> Result<T, Rejection> {
        match self.believe(token, &said) {
            Err(Rejection::UnknownKey) if self.look_for_keys().await => self.believe(token, &said),
            outcome => outcome,
        }
    }

    /// Everything that the token alone decides.
    fn believe<T>(&self, token: &str, said: impl Fn(AccessClaims<'_>) -> T) -> Result<T, Rejection> {
        let claims = jwt::verify(token, TYP, self.keys.now().all()).map_err(|unverified| match unverified {
            // No key was tried, so remembering it would cost more than refusing it again.
            Unverified::Foreign => Rejection::Now,
            Unverified::UnknownKey => Rejection::UnknownKey,
            Unverified::Signature => Rejection::ForGood(Dead::Invalid),
        })?;
        let claims: AccessClaims<'_> =
            serde_json::from_slice(&claims).map_err(|_| Rejection::ForGood(Dead::Invalid))?;
        if claims.iss != self.settings.issuer || claims.exp <= claims.iat {
            return Err(Rejection::ForGood(Dead::Invalid));
        }
        let now = self.clock.now();
        if Instant::from_secs(claims.exp) <= now {
            return Err(Rejection::ForGood(Dead::Expired));
        }
        // RFC 7519 §4.1.5. Time heals this one, so it is not remembered.
        if Instant::from_secs(claims.iat.max(claims.nbf.unwrap_or(0))) > now + SKEW {
            return Err(Rejection::Now);
        }
        Ok(said(claims))
    }

    async fn read(self: &Arc<Self>, token: &str) -> Result<Said, Rejection> {
        // Before the keys are looked at: a loss in between makes what follows out of date.
        let losses = self.keys.losses();
        let said = |claims: AccessClaims<'_>| Said {
            grant: claims.gid,
            client: ClientId::new(claims.client_id),
            subject: claims.sub.into_owned(),
            audience: claims.aud.into_owned(),
            scope: Scope::parse(&claims.scope),
            expires: Instant::from_secs(claims.exp),
            key: claims.cnf.map(|cnf| cnf.jkt),
            losses,
        };
        self.believed(token, said).await
    }

    /// Returns when the Grant is gone on which a Caller rests. Until its record changes nothing is asked; a refresh
    /// changes it, too, so then it is read again.
    pub(super) async fn revoked(&self, grant: GrantId, mut liveness: Liveness) {
        let id = grant.to_string();
        loop {
            liveness.tripped().await;
            match self.store.watch::<Grant>(&id).await {
                Ok(None) => return,
                Ok(Some((_, next))) => liveness = next,
                Err(error) => {
                    tracing::warn!(%grant, %error, "whether a stream's login has ended could not be seen");
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    /// Reads the Grant, which has to be the one the token speaks of, and remembers both.
    async fn rest(&self, hash: TokenHash, said: Said) -> Result<Known, Refused> {
        let watched = self.store.watch::<Grant>(&said.grant.to_string()).await?;
        let Some((grant, liveness)) = watched.filter(|(grant, _)| said.is_of(grant)) else {
            self.seen.known.invalidate(&hash);
            self.seen.dead.insert(hash, Dead::Revoked);
            return Err(Refused::Revoked);
        };
        self.expected.met(&grant.id);
        let caller = Caller {
            grant: grant.id,
            client: grant.client,
            scope: said.scope.narrowed_to(&grant.scope),
            resource: grant.resource,
            expires: said.expires,
            // Not the token's own copy: the Grant's may have been renewed since, which kills the old one at some
            // providers. It also serves where it was too large to be carried (TOK-5).
            upstream_token: grant.login.map(|login| login.tokens.access),
            identity: grant.identity,
            key: said.key,
            liveness,
        };
        let known = Known { caller: Arc::new(caller), grant_ends: grant.expires, losses: said.losses };
        self.seen.known.insert(hash, known.clone());
        Ok(known)
    }
}
