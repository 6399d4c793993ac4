//! `/revoke`: a token is given back (RFC 7009, REV-1), and with it everything that rests on the same login.
//!
//! Whichever token of a family is presented, the Grant is removed: the access tokens of a login die with its refresh
//! token, at the next call. The hint is not needed, since every token says itself what it is. Whoever presents what is
//! not theirs, or not a token, hears the same 200 as anybody and has changed nothing (S13).

use super::{AuthorizationServer, BasicCredentials, Error, ErrorCode, Parameters, parameters::Given};
use crate::{
    crypto::hash,
    domain::{Client, Grant, GrantId, GrantStage, RefreshToken},
    store::{Change, Unavailable},
};

impl AuthorizationServer {
    /// `/revoke`: form or JSON, already flattened to parameters. The client authenticates as at `/token`.
    ///
    /// # Errors
    /// `invalid_request`, `invalid_client`, or 503. Never for the token's sake.
    pub async fn revoke(&self, parameters: &Parameters, basic: Option<BasicCredentials>) -> Result<(), Error> {
        let outcome = match self.revoke_named(parameters, basic.as_ref()).await {
            Err(error) => Err(self.if_ours_to_say(error).await),
            done => done,
        };
        if let Err(error) = &outcome {
            error.log("revoke");
        }
        outcome
    }

    async fn revoke_named(&self, parameters: &Parameters, basic: Option<&BasicCredentials>) -> Result<(), Error> {
        let given = Given::new(parameters).check()?;
        let client = self.authenticate(given, basic).await?;
        let token = given.first("token").ok_or_else(|| Error::new(ErrorCode::InvalidRequest, "token is missing"))?;
        // Done, if it was none of ours. If it is another process's, nothing was done.
        let Some(id) = self.grant_named_by(token).await? else { return self.lacks_key().await };
        if let Some(grant) = self.remove_grant(id, &client).await? {
            tracing::info!(grant = %id, client = client.title(), subject = %grant.identity.subject, "revoked");
            self.parts.mint.give_back(vec![grant], &self.parts.upstreams);
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
}
