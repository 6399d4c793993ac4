//! The only caller of [`Upstream::renew`]: a Grant gets fresh upstream tokens, once, however many ask (UP-9, S34).
//!
//! A rotating refresh token must not be spent twice: some providers take the second time for theft and end the login.
//! So whoever wants to renew first takes the Grant's *lease*, one record in the store, by one swap. The others wait a
//! little, read again, and find the work done. The lease remembers for a moment how it ended, for those who come right
//! after: `Renewed` spares a provider of short-lived tokens a second request, `Failed` spares one that hangs a queue.
//!
//! A machine may sleep between taking the lease and asking the provider, and the lease run out in that time. So the holder
//! looks at the clock last of all, and takes the lease anew where too little of it is left.
//!
//! Renewing runs in a task of its own: a client that hangs up in the middle must not lose what the provider has just
//! given, for its old refresh token may be dead by then.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Mint, Parts};
use crate::{
    domain::{Grant, GrantId, Instant, Secret, UpstreamTokens},
    store::{Change, Record, Unavailable},
    upstream::{Failed, Upstream, Upstreams},
};

/// An access token that lives as long is worth handing out; below it the upstream token is renewed first. (The whole of
/// our own token's life, where that is shorter.)
const USEFUL: Duration = Duration::from_secs(300);
/// How long a holder may take; longer than the provider is given (8 s) and than the store is waited for thereafter.
const LEASE: Duration = Duration::from_secs(30);
/// How much of it has to be left when the provider is asked: its time, and some to keep what it gives.
const ENOUGH: Duration = Duration::from_secs(20);
/// How long a success is remembered.
const RENEWED: Duration = Duration::from_secs(10);
/// How long a failure is remembered: shorter than the `Retry-After` that clients hear.
const FAILED: Duration = Duration::from_secs(2);
/// How long others wait for the holder: `/token` answers within 10 s (behaviour 21).
const PATIENCE: Duration = Duration::from_secs(9);
/// Pauses between two looks, the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// How often new tokens are tried to be kept when the store does not answer, and the pause between.
const KEEPING: (u32, Duration) = (40, Duration::from_millis(250));

/// Why a Grant has no upstream token that could be spent.
#[derive(Debug, thiserror::Error)]
pub enum RenewFailed {
    /// The login at the provider has ended; the Grant was removed. Only a new login helps.
    #[error("the login at the identity provider has ended")]
    Ended,
    /// The provider gave no answer, or none that says so. Nothing is lost.
    #[error("the identity provider did not renew the login: {0}")]
    Unreachable(String),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] Unavailable),
}

/// `lease/{grant}`: who renews this Grant, or how it ended a moment ago.
#[derive(Serialize, Deserialize)]
struct Lease {
    grant: GrantId,
    /// Random, so that a holder who was too slow does not release the lease of the next one.
    holder: u64,
    state: State,
    expires: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Held,
    Renewed,
    Failed,
}

/// Best effort: a process that crashed holds nothing.
impl Record for Lease {
    const KIND: &'static str = "lease";
    const PURPOSE: &'static str = "store/lease";
    const DURABLE: bool = false;

    fn id(&self) -> String {
        self.grant.to_string()
    }

    fn expires(&self) -> Instant {
        self.expires
    }
}

/// A lease that is ours.
#[derive(Clone, Copy)]
struct Holding {
    holder: u64,
    expires: Instant,
}

/// What came of asking for the lease.
enum Asked {
    Ours(Holding),
    Theirs,
    Ended(State),
}

impl Mint {
    /// The Grant with an upstream token on which a useful access token can rest (D5), renewed at the provider if need
    /// be. When the provider gives no answer, the Grant as it is, as long as its token lives.
    ///
    /// # Errors
    /// [`RenewFailed`].
    pub async fn renewed(&self, grant: Grant, upstreams: &Upstreams) -> Result<Grant, RenewFailed> {
        if self.is_fresh(&grant) {
            return Ok(grant);
        }
        let Some(login) = &grant.login else { return Ok(grant) };
        if login.tokens.refresh.is_none() {
            // All that the provider gave is spent: nothing that rests on this Grant will ever work again.
            return if self.0.is_spendable(&grant) { Ok(grant) } else { self.0.end(&grant).await };
        }
        let Some(upstream) = upstreams.get(&login.upstream) else {
            return self.0.as_it_is(grant, "it is no longer configured");
        };
        Box::pin(self.renew_once(grant, upstream)).await
    }

    /// Whether a useful access token can rest on the Grant as it is: then [`renewed`](Self::renewed) gives it back at once.
    #[must_use]
    pub fn is_fresh(&self, grant: &Grant) -> bool {
        self.0.spendable(grant) >= self.0.settings.life.min(USEFUL)
    }

    /// The MCP server refused the upstream token: from now on it counts as expired, so that the next refresh renews it.
    /// One that was renewed since is left alone.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn mark_stale(&self, caller: &super::Caller) -> Result<(), Unavailable> {
        let now = self.0.clock.now();
        let decide = |grant: Option<Grant>| {
            let Some(mut grant) = grant else { return (Change::Keep, ()) };
            match grant.login.as_mut().map(|login| &mut login.tokens) {
                Some(tokens)
                    if Some(&tokens.access) == caller.upstream_token.as_ref()
                        && tokens.expires.is_none_or(|end| end > now) =>
                {
                    tokens.expires = Some(now);
                    (Change::Put(grant), ())
                }
                _ => (Change::Keep, ()),
            }
        };
        self.0.store.update(&caller.grant.to_string(), decide).await
    }

    async fn renew_once(&self, mut grant: Grant, upstream: &Arc<Upstream>) -> Result<Grant, RenewFailed> {
        let (mut pause, mut waited, mut was_renewed) = (PAUSES.0, Duration::ZERO, false);
        loop {
            // What was renewed and is spent all the same (a provider of very short tokens, or a refusal by the MCP
            // server) has to be renewed again.
            let overrule = was_renewed && !self.0.is_spendable(&grant);
            match self.0.ask_for_lease(grant.id, overrule).await? {
                Asked::Ours(holding) => {
                    let (mint, upstream, tried) = (self.clone(), Arc::clone(upstream), grant.clone());
                    let task = tokio::spawn(async move { mint.0.renew_holding(tried, &upstream, holding).await });
                    let outcome = task.await.unwrap_or_else(|e| Err(RenewFailed::Unreachable(e.to_string())));
                    match outcome {
                        Err(RenewFailed::Unreachable(cause)) => return self.0.as_it_is(grant, &cause),
                        Ok(None) if waited >= PATIENCE => return self.0.as_it_is(grant, "there was no time for it"),
                        // Slept through it: once more, by a lease of today.
                        Ok(None) => waited += PATIENCE,
                        Ok(Some(renewed)) => return Ok(renewed),
                        Err(other) => return Err(other),
                    }
                }
                Asked::Ended(State::Failed) => return self.0.as_it_is(grant, "it failed a moment ago"),
                Asked::Ended(_) => was_renewed = true,
                Asked::Theirs if waited >= PATIENCE => return self.0.as_it_is(grant, "another request still waits"),
                Asked::Theirs => {
                    tokio::time::sleep(pause).await;
                    waited += pause;
                    pause = (pause * 2).min(PAUSES.1);
                    continue;
                }
            }
            grant = self.0.store.get(&grant.id.to_string()).await?.ok_or(RenewFailed::Ended)?;
            if self.0.is_spendable(&grant) {
                return Ok(grant);
            }
        }
    }
}

impl Parts {
    fn spendable(&self, grant: &Grant) -> Duration {
        super::mint::upstream_rest(grant, self.clock.now()).unwrap_or(Duration::MAX)
    }

    /// Whether a token of at least a second can rest on it.
    fn is_spendable(&self, grant: &Grant) -> bool {
        self.spendable(grant) >= Duration::from_secs(1)
    }

    /// Without a renewal: a shorter access token while the upstream token lives (behaviour 24).
    fn as_it_is(&self, grant: Grant, cause: &str) -> Result<Grant, RenewFailed> {
        if self.is_spendable(&grant) { Ok(grant) } else { Err(RenewFailed::Unreachable(cause.to_owned())) }
    }

    async fn ask_for_lease(&self, grant: GrantId, overrule: bool) -> Result<Asked, Unavailable> {
        let holder = u64::from_be_bytes(self.random.bytes());
        let expires = self.clock.now() + LEASE;
        let decide = |lease: Option<Lease>| match lease.map(|lease| lease.state) {
            Some(State::Held) => (Change::Keep, Asked::Theirs),
            Some(State::Renewed) if !overrule => (Change::Keep, Asked::Ended(State::Renewed)),
            Some(State::Failed) => (Change::Keep, Asked::Ended(State::Failed)),
            Some(State::Renewed) | None => {
                let ours = Asked::Ours(Holding { holder, expires });
                (Change::Put(Lease { grant, holder, state: State::Held, expires }), ours)
            }
        };
        self.store.update(&grant.to_string(), decide).await
    }

    /// Ends the lease, and leaves word how it went, if anything was tried.
    async fn release(&self, grant: GrantId, holder: u64, ended: Option<State>) {
        let now = self.clock.now();
        let decide = |lease: Option<Lease>| match (lease, ended) {
            (Some(held), Some(state)) if held.holder == holder => {
                let life = if state == State::Renewed { RENEWED } else { FAILED };
                (Change::Put(Lease { state, expires: now + life, ..held }), ())
            }
            (Some(held), None) if held.holder == holder => (Change::Remove, ()),
            _ => (Change::Keep, ()),
        };
        if let Err(error) = self.store.update(&grant.to_string(), decide).await {
            tracing::warn!(%grant, %error, "a lease could not be released and will expire");
        }
    }

    /// `None`: the lease was about to end, and nothing was asked.
    async fn renew_holding(
        &self,
        tried: Grant,
        upstream: &Upstream,
        holding: Holding,
    ) -> Result<Option<Grant>, RenewFailed> {
        let outcome = self.renew_at(tried.clone(), upstream, holding.expires).await;
        let ended = match &outcome {
            Ok(Some(_)) => Some(State::Renewed),
            Ok(None) => None,
            Err(_) => Some(State::Failed),
        };
        self.release(tried.id, holding.holder, ended).await;
        outcome
    }

    async fn renew_at(
        &self,
        tried: Grant,
        upstream: &Upstream,
        lease_ends: Instant,
    ) -> Result<Option<Grant>, RenewFailed> {
        // Between the last look and the lease another holder may have come to an end.
        let found: Option<Grant> = self.store.get(&tried.id.to_string()).await?;
        let grant = found.ok_or(RenewFailed::Ended)?;
        let Some(tokens) = grant.tokens() else { return Ok(Some(grant)) };
        if tried.tokens().is_none_or(|tried| tried.access != tokens.access) && self.is_spendable(&grant) {
            return Ok(Some(grant));
        }
        // Whoever finds the lease run out spends the same token. Nothing is waited for between this look and the request.
        if self.clock.now() + ENOUGH > lease_ends {
            return Ok(None);
        }
        let name = upstream.name();
        match upstream.renew(tokens).await {
            Ok(renewed) => {
                tracing::info!(grant = %grant.id, upstream = %name, "renewed at the provider");
                self.keep(grant.id, &renewed, tokens).await.map(Some)
            }
            Err(Failed::Refused { what, cause }) => {
                tracing::warn!(grant = %grant.id, upstream = %name, what, cause, "the provider ended a login");
                self.end(&grant).await.map(Some)
            }
            Err(failed) => {
                let cause = match &failed {
                    Failed::Unreachable { cause } => cause.clone(),
                    other => other.to_string(),
                };
                tracing::warn!(grant = %grant.id, upstream = %name, cause, "not renewed at the provider");
                Err(RenewFailed::Unreachable(cause))
            }
        }
    }

    /// Puts the new tokens in the place of the spent ones. The provider will not give them twice, so a store that does
    /// not answer is asked again for some seconds.
    async fn keep(&self, id: GrantId, renewed: &UpstreamTokens, spent: &UpstreamTokens) -> Result<Grant, RenewFailed> {
        let decide = |grant: Option<Grant>| {
            let Some(mut grant) = grant else { return (Change::Keep, None) };
            match &mut grant.login {
                // Only the tokens: the chain of refresh tokens may have gone on meanwhile.
                Some(login) if login.tokens.refresh == spent.refresh => {
                    login.tokens = renewed.clone();
                    (Change::Put(grant.clone()), Some(grant))
                }
                _ => (Change::Keep, Some(grant)),
            }
        };
        let (most, pause) = KEEPING;
        let mut tries = 0;
        let kept = loop {
            match self.store.update(&id.to_string(), decide).await {
                Ok(kept) => break kept,
                Err(outage) if tries >= most => return Err(outage.into()),
                Err(_) => tokio::time::sleep(pause).await,
            }
            tries += 1;
        };
        kept.ok_or(RenewFailed::Ended)
    }

    /// Removes the Grant, unless its refresh token is no longer the one that is known to be dead.
    async fn end(&self, dead: &Grant) -> Result<Grant, RenewFailed> {
        let decide = |grant: Option<Grant>| match grant {
            Some(grant) if refresh_of(&grant) != refresh_of(dead) => (Change::Keep, Some(grant)),
            _ => (Change::Remove, None),
        };
        self.store.update(&dead.id.to_string(), decide).await?.ok_or(RenewFailed::Ended)
    }
}

fn refresh_of(grant: &Grant) -> Option<&Secret<String>> {
    grant.tokens()?.refresh.as_ref()
}
