//! `grant_type=refresh_token`: a new access token and the next refresh token (RFC 6749 §6; RT-1 to RT-6, D6).
//!
//! What happens to the Grant:
//!
//! | the refresh token is | and | Grant |
//! |---|---|---|
//! | forged | | untouched, the store is not asked |
//! | authentic | another client's, or `resource` is another one | untouched |
//! | authentic | bound to a key that was not proven (RFC 9449 §5) | untouched |
//! | current | all is well | turned: its successor is current, its end moves on |
//! | later than the current one | all is well | the same: the store has gone back in time, see below |
//! | a predecessor | within the grace (60 s) | untouched; it yields the same successor (behaviour 23) |
//! | a predecessor | older | removed: two parties hold one family, and one of them is a thief (RT-2) |
//! | any of these | the provider ended the login | removed |
//! | any of these | the provider does not answer | untouched (behaviour 24) |
//!
//! The provider is asked first and the chain is turned last, by one swap: whatever fails before it, the client still
//! holds a token that is good. A client that never hears the answer to a turn has the grace to ask again.
//!
//! **A later token than the record knows** (its generation is higher, its MAC is ours) was handed out after a swap that the
//! store had acknowledged and has lost since: an asynchronous failover, a restored backup. Nobody but us can make one, and
//! none leaves the house before its swap is done, so it is the true successor and goes on. Replays are found as before: all
//! that is of the same generation or an earlier one, and neither current nor within its grace, still ends the family.

use super::{AuthorizationServer, Error, ErrorCode, Presented, TokenResponse, holder};
use crate::{
    crypto::hash,
    domain::{
        Client, Grant, GrantId, GrantStage, GrantType, Instant, RefreshToken, Scope, Secret, Thumbprint,
        grant::{RefreshChain, RetiredRefresh, SecretHash},
    },
    oauth::{
        authenticate::too_often,
        machine::{Refresh, RefreshAsked, RefreshQuestion},
    },
    store::{Change, Seen},
    token::{MintFailed, Minted},
};

/// How many predecessors are remembered. A client that turns the chain more often within the grace is not a client.
const MOST_RETIRED: usize = 32;

/// Where an authentic refresh token stands in the chain of its Grant.
enum Standing<'a> {
    Current,
    /// Made after what the record knows as the current one.
    Later,
    /// Within the grace; with its successor.
    Retired(&'a Secret<String>),
    /// Rotated away long ago.
    Spent,
}

/// What an authentic refresh token says of itself.
#[derive(Clone, Copy)]
struct Named {
    grant: GrantId,
    generation: u32,
    /// Of its secret.
    hash: SecretHash,
}

/// What a refresh token is presented with.
#[derive(Clone, Copy)]
struct Brought {
    token: Named,
    /// The key that was proven.
    key: Option<Thumbprint>,
    /// The key that the next tokens are bound to, if they are not bound yet.
    holder: Option<Thumbprint>,
}

/// What the deciding step did.
enum Turned {
    /// The Grant as it is now, and the refresh token to hand out.
    On(Box<Grant>, Secret<String>),
    /// The family was revoked.
    Replayed,
    /// There is no such Grant (any more).
    Gone,
}

impl AuthorizationServer {
    /// Drives the machine; the swap in `turn` decides.
    pub(super) async fn refresh(
        &self,
        client: &Client,
        request: &Presented<'_>,
        proof: holder::Shown,
    ) -> Result<TokenResponse, Error> {
        if !client.may(GrantType::RefreshToken) {
            return Err(Error::new(ErrorCode::UnauthorizedClient, "this client registered without refresh_token"));
        }
        let token = self.refresh_named_by(request.credential)?;
        let key = self.spend(proof).await?;
        let presented = Brought { token, key, holder: holder::of_refresh_tokens(client, key) };
        let asked = RefreshAsked { client, scope: request.scope };
        let (mut machine, mut question) = Refresh::begin(&asked);
        let (mut found, mut response) = (None::<Seen<Grant>>, None);
        loop {
            question = match question {
                RefreshQuestion::Authenticate => machine.authenticated(),
                RefreshQuestion::Recover => {
                    let seen = found.insert(self.parts.store.look(&token.grant.to_string()).await?);
                    machine.recovered(seen.record().map(|grant| (grant.client.as_str(), &grant.scope)))
                }
                RefreshQuestion::Issue(scope) => {
                    let seen = found.take().ok_or_else(dead)?;
                    let grant = seen.record().ok_or_else(dead)?;
                    self.check_terms(grant, &request.resources)?;
                    holder::check_refresh(grant, key.as_ref())?;
                    self.check_demand(&grant.resource, key.as_ref())?;
                    let subject = grant.identity.subject.as_str();
                    self.by_subject.pass(subject).map_err(|wait| too_often("person", wait))?;
                    let (grant, refresh_token) = self.fresh_and_turned(seen, &presented).await?;
                    let minted = self.mint_on_turned(grant, &scope, key).await?;
                    response = Some(TokenResponse::new(minted, scope, Some(refresh_token)));
                    machine.issued()
                }
                RefreshQuestion::Settled => {
                    let lost = || Error::new(ErrorCode::ServerError, "the refresh token could not be judged");
                    return response.ok_or_else(lost);
                }
                RefreshQuestion::Refused(code, why) => {
                    if let Some(gone) = found.take().filter(|seen| seen.record().is_none()) {
                        // As durable as this answer: a crash must not bring back what it says is dead.
                        self.turn(gone, &presented).await?;
                    }
                    return Err(Error::new(code, why));
                }
            };
        }
    }

    /// A forged token dies here, before the store is asked: it kills nothing.
    fn refresh_named_by(&self, token: &str) -> Result<Named, Error> {
        let token = hash::authenticate::<RefreshToken>(&self.parts.keyring, token).map_err(|_| dead())?;
        let grant = GrantId::from_bytes(*token.id());
        Ok(Named { grant, generation: token.generation(), hash: hash::secret_hash(&token) })
    }

    /// The Grant that this refresh token, presented now, would refresh.
    pub(in crate::oauth) async fn refreshable(&self, token: &str) -> Result<Option<Grant>, Error> {
        let Ok(named) = self.refresh_named_by(token) else { return Ok(None) };
        let grant: Option<Grant> = self.parts.store.get(&named.grant.to_string()).await?;
        Ok(grant.filter(|grant| !matches!(self.standing(grant, &named), Some(Standing::Spent) | None)))
    }

    /// RT-4, and what the operator has changed since the login: the Resource is there and the person still admitted.
    fn check_terms(&self, grant: &Grant, requested: &[&str]) -> Result<(), Error> {
        if !requested.iter().all(|asked| grant.resource.is_meant_by(asked)) {
            return Err(Error::new(ErrorCode::InvalidTarget, "resource is not the one that was authorized"));
        }
        let is_admitted = |resource: &crate::domain::Resource| resource.allow.admits(&grant.identity);
        if self.resource_at(&grant.resource).is_some_and(|resource| is_admitted(resource)) {
            return Ok(());
        }
        Err(Error::new(ErrorCode::InvalidGrant, "this account is no longer admitted to this server"))
    }

    /// First the provider, if it has to be asked; then the one swap.
    async fn fresh_and_turned(&self, seen: Seen<Grant>, presented: &Brought) -> Result<(Grant, Secret<String>), Error> {
        let id = presented.token.grant;
        // A token that is no good must not make us ask the provider.
        let is_good = |grant: &&Grant| !matches!(self.standing(grant, &presented.token), Some(Standing::Spent) | None);
        let mint = &self.parts.mint;
        let seen = match seen.record().filter(is_good).filter(|grant| !mint.is_fresh(grant)) {
            // What was seen before is old by now, whether the provider answered or not.
            Some(grant) => {
                mint.renewed(grant.clone(), &self.parts.upstreams).await?;
                self.parts.store.look(&id.to_string()).await?
            }
            None => seen,
        };
        match self.turn(seen, presented).await? {
            Turned::On(grant, refresh_token) => Ok((*grant, refresh_token)),
            Turned::Replayed => {
                tracing::warn!(grant = %id, "an old refresh token was used again: its family is revoked");
                Err(dead())
            }
            Turned::Gone => Err(dead()),
        }
    }

    /// Between the look at the upstream token and the turn it may have run out, or the MCP server may have refused it.
    /// That is no end: the provider is asked once more. Whoever hears 503 here still has a predecessor within its grace.
    async fn mint_on_turned(&self, grant: Grant, scope: &Scope, key: Option<Thumbprint>) -> Result<Minted, Error> {
        match self.parts.mint.mint_bound(&grant, scope, key).await {
            Err(MintFailed::UpstreamExpired) => {}
            minted => return Ok(minted?),
        }
        let grant = self.parts.mint.renewed(grant, &self.parts.upstreams).await?;
        self.parts.mint.mint_bound(&grant, scope, key).await.map_err(|failed| match failed {
            MintFailed::UpstreamExpired => Error::new(
                ErrorCode::TemporarilyUnavailable,
                "the login at the identity provider is renewed, try again",
            ),
            MintFailed::Crypto(_) => failed.into(),
        })
    }

    /// The deciding step, the table above. It begins with what was seen.
    async fn turn(&self, seen: Seen<Grant>, presented: &Brought) -> Result<Turned, Error> {
        let id = presented.token.grant;
        let decide = |grant: Option<Grant>| {
            let Some(grant) = grant else { return (Change::Keep, Turned::Gone) };
            // Bound meanwhile, by another refresh.
            if holder::check_refresh(&grant, presented.key.as_ref()).is_err() {
                return (Change::Keep, Turned::Gone);
            }
            let successor = match self.standing(&grant, &presented.token) {
                None => return (Change::Keep, Turned::Gone),
                Some(Standing::Spent) => return (Change::Remove, Turned::Replayed),
                Some(Standing::Retired(successor)) => Some(successor.clone()),
                Some(Standing::Current) => None,
                Some(Standing::Later) => {
                    let generation = presented.token.generation;
                    tracing::warn!(grant = %id, generation, "the store has gone back in time: it knows an earlier token");
                    None
                }
            };
            match successor {
                Some(successor) => (Change::Keep, Turned::On(Box::new(grant), successor)),
                None => match self.with_successor(grant, presented) {
                    Some((grant, successor)) => (Change::Put(grant.clone()), Turned::On(Box::new(grant), successor)),
                    None => (Change::Remove, Turned::Gone),
                },
            }
        };
        Ok(self.parts.store.update_seen(&id.to_string(), seen, decide).await?)
    }

    /// `None` where the Grant has no chain.
    fn standing<'a>(&self, grant: &'a Grant, presented: &Named) -> Option<Standing<'a>> {
        let GrantStage::Active { refresh: Some(chain), .. } = &grant.stage else { return None };
        if is_same(&chain.current, &presented.hash) {
            return Some(Standing::Current);
        }
        if presented.generation > chain.generation {
            return Some(Standing::Later);
        }
        let now = self.parts.clock.now();
        let within_grace = |retired: &&RetiredRefresh| {
            is_same(&retired.hash, &presented.hash) && now.since(retired.retired) < self.settings.refresh_grace
        };
        let retired = chain.retired.iter().find(within_grace);
        Some(retired.map_or(Standing::Spent, |retired| Standing::Retired(&retired.successor)))
    }

    /// The Grant with the next token as its current one and its end moved on; `None` when its days are over.
    fn with_successor(&self, mut grant: Grant, presented: &Brought) -> Option<(Grant, Secret<String>)> {
        let now = self.parts.clock.now();
        let expires = self.grant_end(grant.created, now);
        let GrantStage::Active { refresh: Some(chain), .. } = &mut grant.stage else { return None };
        let generation = presented.token.generation.saturating_add(1);
        let (current, text) = self.refresh_token(grant.id, generation);
        let grace = self.settings.refresh_grace;
        chain.retired.retain(|retired| now.since(retired.retired) < grace);
        if chain.retired.len() == MOST_RETIRED {
            chain.retired.remove(0);
        }
        if !grace.is_zero() {
            chain.retired.push(RetiredRefresh { hash: presented.token.hash, successor: text.clone(), retired: now });
        }
        (chain.generation, chain.current) = (generation, current);
        chain.key = Some(self.parts.keyring.id());
        chain.holder = chain.holder.or(presented.holder);
        grant.expires = expires;
        (now < expires).then_some((grant, text))
    }

    /// The first of a chain, at the redemption of the code.
    pub(super) fn first_refresh(&self, id: GrantId, holder: Option<Thumbprint>) -> (RefreshChain, Secret<String>) {
        let (current, text) = self.refresh_token(id, 0);
        let key = Some(self.parts.keyring.id());
        (RefreshChain { generation: 0, current, retired: Vec::new(), key, holder }, text)
    }

    fn refresh_token(&self, id: GrantId, generation: u32) -> (SecretHash, Secret<String>) {
        let parts = &self.parts;
        let (token, text) = hash::issue::<RefreshToken>(&parts.keyring, *id.as_bytes(), generation, &*parts.random);
        (hash::secret_hash(&token), text)
    }

    /// RT-5: it slides with every use, up to an end that nothing moves.
    pub(super) fn grant_end(&self, created: Instant, now: Instant) -> Instant {
        (now + self.settings.grant_life).min(created + self.settings.absolute_life)
    }
}

fn is_same(kept: &SecretHash, presented: &SecretHash) -> bool {
    hash::same(kept.as_bytes(), presented.as_bytes())
}

/// RT-6: exactly this code; clients key on it and log in again.
fn dead() -> Error {
    Error::new(ErrorCode::InvalidGrant, "the refresh token is unknown, revoked, expired or another client's")
}
