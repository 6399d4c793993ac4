//! `grant_type=client_credentials`: a client acts for itself, without any person (RFC 6749 §4.4; CC-1).
//!
//! Three doors, all of them the operator's: the client stands in the file and lists the grant, it proves itself, and the
//! server's `allow` names it (D15). Its subject is `client:` and its id, which is never a person's (TOK-7). There is no
//! refresh token (RFC 6749 §4.4.3), since the client can ask again, and no provider's token, since nobody logged in: a
//! server that is handed one lets no client in.

use super::{AuthorizationServer, Error, ErrorCode, Given, TokenResponse, holder::Shown};
use crate::{
    domain::{
        Actor, Client, Grant, GrantId, GrantStage, GrantType, Identity, Instant, Resource, Scope, Subject, Thumbprint,
        UpstreamLogin,
    },
    oauth::authorize::{narrow, not_ours},
};

/// The parameters of RFC 6749 §4.4.2 and RFC 8707; the client is read elsewhere.
pub(super) struct ClientCredentialsRequest<'a> {
    scope: Option<&'a str>,
    resources: Vec<&'a str>,
}

impl<'a> ClientCredentialsRequest<'a> {
    pub(super) fn read(given: Given<'a>) -> Self {
        Self { scope: given.first("scope"), resources: given.all("resource").collect() }
    }
}

/// Whom a Grant without a code is for.
pub(super) struct Bearer {
    /// Who.
    pub(super) identity: Identity,
    /// The login at the provider, where one was proven.
    pub(super) login: Option<UpstreamLogin>,
    /// Who acts for them, where they did not come themselves.
    pub(super) actor: Option<Actor>,
    /// When what was proven ends, if it does: nothing outlives it.
    pub(super) until: Option<Instant>,
    /// The key that the client has proved to hold: the token is bound to it.
    pub(super) key: Option<Thumbprint>,
}

impl AuthorizationServer {
    pub(super) async fn act_for_itself(
        &self,
        client: &Client,
        request: &ClientCredentialsRequest<'_>,
        proof: Shown,
    ) -> Result<TokenResponse, Error> {
        if !client.may(GrantType::ClientCredentials) || !client.auth_method.is_confidential() {
            return Err(Error::new(ErrorCode::UnauthorizedClient, "this client may not act for itself"));
        }
        let resource = self.resource(request.resources.iter().copied()).ok_or_else(not_ours)?;
        if !resource.clients.contains(&client.id) {
            tracing::warn!(client = client.title(), resource = %resource.uri, "a client was denied by policy");
            return Err(Error::new(ErrorCode::UnauthorizedClient, "this client is not admitted to this server"));
        }
        let scope = narrow(&Scope::parse(request.scope.unwrap_or_default()), resource, client)?;
        let identity = Identity {
            subject: Subject::of_client(&client.id),
            email: None,
            email_verified: false,
            name: client.name.as_ref().map(|name| name.as_str().to_owned()),
            username: None,
            groups: Vec::new(),
        };
        let key = self.spend(proof).await?;
        self.grant_at_once(client, resource, scope, Bearer { identity, login: None, actor: None, until: None, key })
            .await
    }

    /// A Grant that no code leads to, and its one access token: it ends with that token.
    pub(super) async fn grant_at_once(
        &self,
        client: &Client,
        resource: &Resource,
        scope: Scope,
        bearer: Bearer,
    ) -> Result<TokenResponse, Error> {
        if bearer.login.is_none() && resource.needs_upstream_token() {
            let why = "this server is handed the provider's token of a person; only a login brings one";
            return Err(Error::new(ErrorCode::InvalidTarget, why));
        }
        self.check_demand(&resource.uri, bearer.key.as_ref())?;
        let (id, now) = (GrantId::from_bytes(self.parts.random.bytes()), self.parts.clock.now());
        let longest = now + self.parts.mint.life();
        let grant = Grant {
            id,
            client: client.id.clone(),
            identity: bearer.identity,
            resource: resource.uri.clone(),
            scope,
            login: bearer.login,
            actor: bearer.actor,
            created: now,
            expires: bearer.until.map_or(longest, |until| until.min(longest)),
            stage: GrantStage::Active { code: None, redeemed: now, refresh: None },
        };
        if !self.parts.store.insert(&grant).await? {
            return Err(Error::new(ErrorCode::ServerError, "the grant could not be kept"));
        }
        tracing::info!(
            grant = %id, client = client.title(), subject = %grant.identity.subject, resource = %grant.resource,
            "token issued without a code"
        );
        self.respond(&grant, None, bearer.key).await
    }
}
