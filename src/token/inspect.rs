//! What an access token says, for those who ask about it instead of spending it (RFC 7009, RFC 7662).

use std::borrow::Cow;

use super::Mint;
use crate::{
    domain::{Actor, ClientId, Grant, GrantId, GrantStage, Instant, Scope, Thumbprint},
    store::Unavailable,
};

/// An access token of ours that has not expired and whose Grant lives. Nothing of the provider's is in it.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// The Grant it rests on.
    pub grant: GrantId,
    /// The MCP client it was issued to.
    pub client: ClientId,
    /// The person (`sub`).
    pub subject: String,
    /// The Resource (`aud`).
    pub audience: String,
    /// What it permits.
    pub scope: Scope,
    /// Its own name (`jti`).
    pub id: String,
    /// Who acts for the person (`act`), if anybody does.
    pub actor: Option<Actor>,
    /// When it was made.
    pub issued: Instant,
    /// When it ends.
    pub expires: Instant,
    /// The key that it is bound to.
    pub key: Option<Thumbprint>,
}

impl Mint {
    /// Reads a token for whichever Resource; `None` for what would be refused at every gate.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn inspect(&self, token: &str) -> Result<Option<Inspected>, Unavailable> {
        let read = self.0.believed(token, |claims| Inspected {
            grant: claims.gid,
            client: ClientId::new(claims.client_id),
            subject: claims.sub.into_owned(),
            audience: claims.aud.into_owned(),
            scope: Scope::parse(&claims.scope),
            id: claims.jti.into_owned(),
            actor: claims.act.map(Cow::into_owned),
            issued: Instant::from_secs(claims.iat),
            expires: Instant::from_secs(claims.exp),
            key: claims.cnf.map(|cnf| cnf.jkt),
        });
        let Ok(mut inspected) = read.await else { return Ok(None) };
        let grant: Option<Grant> = self.0.store.get(&inspected.grant.to_string()).await?;
        let is_of = |grant: &Grant| {
            matches!(grant.stage, GrantStage::Active { .. })
                && grant.client == inspected.client
                && grant.identity.subject.as_str() == inspected.subject
                && grant.resource.as_str() == inspected.audience
        };
        let Some(grant) = grant.filter(is_of) else { return Ok(None) };
        inspected.scope = inspected.scope.narrowed_to(&grant.scope);
        Ok(Some(inspected))
    }
}
