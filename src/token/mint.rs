//! A Grant becomes an access token (RFC 9068; TOK-4 to TOK-6).

use std::{borrow::Cow, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{AccessClaims, Confirmation, IdentityClaim, MintFailed, Minted, Parts, TYP};
use crate::{
    crypto::jwt::{self, BadKey},
    domain::{Grant, GrantStage, Instant, Scope, Secret, Thumbprint},
};

/// By how much a token ends before the upstream token does: time for the call that is under way (D5). At most half of
/// what is left, so that a provider whose tokens live for a minute can be used at all.
const MARGIN: Duration = Duration::from_secs(60);
/// Bytes of claims beyond which the upstream token stays out: with header and an RS256 signature, in base64, this is
/// what fits into `Authorization: Bearer …` of 8 KiB, the line that many servers stop at (TOK-5). An upstream token of
/// up to about 3.8 KiB travels along; a longer one the gate takes from the Grant.
const LONGEST_CARRYING: usize = 5_700;
/// Bytes that most claims fit into, so that the text need not move while it grows.
const ROOM: usize = 2_048;

impl Parts {
    pub(super) fn mint(&self, grant: &Grant, scope: &Scope, key: Option<Thumbprint>) -> Result<Minted, MintFailed> {
        let now = self.clock.now();
        let life = self.life(grant, now)?;
        let jti = URL_SAFE_NO_PAD.encode(self.random.bytes::<16>());
        let upstream_token = self.sealed_upstream_token(grant, &jti)?;
        let scope = scope.narrowed_to(&grant.scope).to_string();
        let mut claims = AccessClaims {
            iss: Cow::Borrowed(&self.settings.issuer),
            sub: Cow::Borrowed(grant.identity.subject.as_str()),
            aud: Cow::Borrowed(grant.resource.as_str()),
            client_id: Cow::Borrowed(grant.client.as_str()),
            scope: Cow::Owned(scope),
            iat: now.secs(),
            // Rounded up: the second that has begun is not taken off the client's.
            exp: (now + life + Duration::from_millis(999)).secs(),
            nbf: None,
            jti: Cow::Owned(jti),
            auth_time: grant.created.secs(),
            gid: grant.id,
            cnf: key.map(|jkt| Confirmation { jkt }),
            email: None,
            email_verified: None,
            name: None,
            preferred_username: None,
            groups: None,
            act: grant.actor.as_ref().map(Cow::Borrowed),
            upstream_token,
        };
        self.describe(grant, &mut claims);
        let token = self.sign(claims)?;
        Ok(Minted { token: Secret::new(token), life, key })
    }

    fn sign(&self, mut claims: AccessClaims<'_>) -> Result<String, MintFailed> {
        let json = |claims: &AccessClaims<'_>| {
            let mut text = Vec::with_capacity(ROOM);
            serde_json::to_writer(&mut text, claims).map_err(|error| MintFailed::Crypto(error.to_string()))?;
            Ok::<_, MintFailed>(text)
        };
        let mut text = json(&claims)?;
        if text.len() > LONGEST_CARRYING && claims.upstream_token.take().is_some() {
            text = json(&claims)?;
        }
        Ok(self.keys.now().current().sign(TYP, &text)?)
    }

    /// Whole seconds, at least one: the set life, bounded by the ends of the upstream token and of the Grant.
    fn life(&self, grant: &Grant, now: Instant) -> Result<Duration, MintFailed> {
        let upstream = upstream_rest(grant, now);
        // While the code is out, the record lives by the code; the token is made for the Grant that follows.
        let active = matches!(grant.stage, GrantStage::Active { .. });
        let record = active.then(|| grant.expires.since(now));
        let life = upstream.into_iter().chain(record).fold(self.settings.life, Duration::min).as_secs();
        if life == 0 { Err(MintFailed::UpstreamExpired) } else { Ok(Duration::from_secs(life)) }
    }

    fn sealed_upstream_token(&self, grant: &Grant, jti: &str) -> Result<Option<String>, MintFailed> {
        let Some(tokens) = grant.tokens() else { return Ok(None) };
        let token = tokens.access.expose().as_bytes();
        let keys = self.keyring.resource_keys(&grant.resource);
        match keys.first() {
            Some(key) if token.len() < LONGEST_CARRYING => {
                Ok(Some(jwt::encrypt(key, jti, grant.resource.as_str(), token)?))
            }
            _ => Ok(None),
        }
    }

    /// Adds what the operator lets MCP servers know of the person.
    fn describe<'a>(&self, grant: &'a Grant, claims: &mut AccessClaims<'a>) {
        let identity = &grant.identity;
        for claim in &self.settings.claims {
            match claim {
                IdentityClaim::Email => {
                    claims.email = identity.email.as_deref().map(Cow::Borrowed);
                    claims.email_verified = identity.email.is_some().then_some(identity.email_verified);
                }
                IdentityClaim::Name => claims.name = identity.name.as_deref().map(Cow::Borrowed),
                IdentityClaim::Username => claims.preferred_username = identity.username.as_deref().map(Cow::Borrowed),
                IdentityClaim::Groups => {
                    claims.groups = (!identity.groups.is_empty()).then_some(Cow::Borrowed(&*identity.groups));
                }
            }
        }
    }
}

/// How long a token on this Grant may live for the upstream token's sake; `None` where the provider set no end.
pub(super) fn upstream_rest(grant: &Grant, now: Instant) -> Option<Duration> {
    let left = grant.tokens()?.expires?.since(now);
    Some(left.saturating_sub(MARGIN.min(left / 2)))
}

impl From<BadKey> for MintFailed {
    fn from(error: BadKey) -> Self {
        Self::Crypto(error.to_string())
    }
}
