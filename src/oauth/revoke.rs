//! `/revoke`: a token is given back (RFC 7009, REV-1), and with it everything that rests on the same login.
//!
//! Whichever token of a family is presented, the Grant is removed: the access tokens of a login die with its refresh
//! token, at the next call. The hint is not needed, since every token says itself what it is. Whoever presents what is
//! not theirs, or not a token, hears the same 200 as anybody and has changed nothing (S13).

use super::{AuthorizationServer, BasicCredentials, Error, ErrorCode, Parameters, parameters::Given};
use crate::{
    crypto::hash,
    domain::{Client, Grant, GrantId, GrantStage, RefreshToken},
    store::{Change, Store, Unavailable},
};

/// How many Grants are looked through before a token is given back at the provider, and how many at a time.
const LOOKED_THROUGH: (usize, usize) = (10_000, 500);

impl AuthorizationServer {
    /// `/revoke`: form or JSON, already flattened to parameters. The client authenticates as at `/token`.
    ///
    /// # Errors
    /// `invalid_request`, `invalid_client`, or 503. Never for the token's sake.
    pub async fn revoke(&self, parameters: &Parameters, basic: Option<BasicCredentials>) -> Result<(), Error> {
        let outcome = self.revoke_named(parameters, basic.as_ref()).await;
        if let Err(error) = &outcome {
            error.log("revoke");
        }
        outcome
    }

    async fn revoke_named(&self, parameters: &Parameters, basic: Option<&BasicCredentials>) -> Result<(), Error> {
        let given = Given::new(parameters).check()?;
        let client = self.authenticate(given, basic).await?;
        let token = given.first("token").ok_or_else(|| Error::new(ErrorCode::InvalidRequest, "token is missing"))?;
        let Some(id) = self.grant_named_by(token).await? else { return Ok(()) };
        if let Some(grant) = self.remove_grant(id, &client).await? {
            tracing::info!(grant = %id, client = client.title(), subject = %grant.identity.subject, "revoked");
            self.give_back(grant);
        }
        Ok(())
    }

    /// Any refresh token of the family will do, also one that was rotated away.
    async fn grant_named_by(&self, token: &str) -> Result<Option<GrantId>, Unavailable> {
        if let Ok(refresh) = hash::authenticate::<RefreshToken>(&self.parts.keyring, token) {
            return Ok(Some(GrantId::from_bytes(*refresh.id())));
        }
        Ok(self.parts.mint.inspect(token).await?.map(|access| access.grant))
    }

    /// The deciding step: out, if it is this client's.
    async fn remove_grant(&self, id: GrantId, client: &Client) -> Result<Option<Grant>, Unavailable> {
        let decide = |grant: Option<Grant>| match grant {
            Some(grant) if grant.client == client.id && matches!(grant.stage, GrantStage::Active { .. }) => {
                (Change::Remove, Some(grant))
            }
            _ => (Change::Keep, None),
        };
        self.parts.store.update(&id.to_string(), decide).await
    }

    /// Best effort, after the answer. Many providers take one token back as the end of everything that this person has
    /// with our app there, so it is given back only with the person's last Grant: revoking one client must not log out
    /// the others.
    fn give_back(&self, grant: Grant) {
        let Some(upstream) = self.parts.upstreams.get(&grant.upstream).cloned() else { return };
        let store = self.parts.store.clone();
        tokio::spawn(async move {
            match is_last(&store, &grant).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return tracing::warn!(grant = %grant.id, %error, "not given back at the provider"),
            }
            if let Err(error) = upstream.revoke(&grant.tokens).await {
                tracing::warn!(grant = %grant.id, upstream = %grant.upstream, %error, "not given back at the provider");
            }
        });
    }
}

/// Whether the person has no other Grant. Among too many to look through, there might be one.
async fn is_last(store: &Store, gone: &Grant) -> Result<bool, Unavailable> {
    let (most, page) = LOOKED_THROUGH;
    let mut after: Option<String> = None;
    for _ in 0..most / page {
        let grants: Vec<(String, Grant)> = store.list(after.as_deref(), page).await?;
        if grants.iter().any(|(_, grant)| grant.identity.subject == gone.identity.subject) {
            return Ok(false);
        }
        if grants.len() < page {
            return Ok(true);
        }
        after = grants.into_iter().next_back().map(|(id, _)| id);
    }
    Ok(false)
}
