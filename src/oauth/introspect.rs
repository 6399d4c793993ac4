//! `/introspect`: is this token good, and for what (RFC 7662, INT-1)?
//!
//! Only a client that proves itself with a secret may ask. One that registered itself hears of its own tokens only; one
//! that the operator wrote into the file may stand for an MCP server that asks about the tokens it receives. For
//! everything else there is one answer, `{"active":false}`, that tells nobody why (RFC 7662 §2.2). Nothing of the
//! provider's is ever in an answer.

use serde::Serialize;

use super::{AuthorizationServer, BasicCredentials, Error, ErrorCode, Parameters, parameters::Given};
use crate::domain::{Actor, Client, ClientId, ClientOrigin, Grant, GrantStage, Scope, Thumbprint};

/// RFC 7662 §2.2.
#[derive(Debug, Default, Serialize)]
pub struct Introspection {
    /// Whether it is good now.
    pub active: bool,
    /// What a good one says.
    #[serde(flatten)]
    pub says: Option<Said>,
}

/// What an active token says.
#[derive(Debug, Serialize)]
pub struct Said {
    /// What it permits.
    pub scope: Scope,
    /// The MCP client it was issued to.
    pub client_id: ClientId,
    /// `Bearer` or `DPoP`; only for access tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<&'static str>,
    /// When it ends, in seconds since the epoch.
    pub exp: u64,
    /// When it was made; only for access tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// The person.
    pub sub: String,
    /// The Resource.
    pub aud: String,
    /// We.
    pub iss: String,
    /// Its own name; only for access tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The key that it is bound to (RFC 9449 §6.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// Who acts for the person (RFC 8693 §4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
}

/// RFC 7800 §3.1.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Confirmation {
    /// RFC 9449 §6.1.
    pub jkt: Thumbprint,
}

impl AuthorizationServer {
    /// `/introspect`: form or JSON, already flattened to parameters.
    ///
    /// # Errors
    /// `invalid_request`, `invalid_client`, or 503. Never for the token's sake.
    pub async fn introspect(
        &self,
        parameters: &Parameters,
        basic: Option<BasicCredentials>,
    ) -> Result<Introspection, Error> {
        let outcome = match self.introspect_named(parameters, basic.as_ref()).await {
            Err(error) => Err(self.if_ours_to_say(error).await),
            // "Not active" is a refusal, too.
            Ok(told) if !told.active => self.lacks_key().await.map(|()| told),
            told => told,
        };
        if let Err(error) = &outcome {
            error.log("introspect");
        }
        outcome
    }

    async fn introspect_named(
        &self,
        parameters: &Parameters,
        basic: Option<&BasicCredentials>,
    ) -> Result<Introspection, Error> {
        let given = Given::new(parameters).check()?;
        let client = self.authenticate(given, basic).await?;
        if !client.auth_method.is_confidential() {
            return Err(Error::new(ErrorCode::InvalidClient, "introspection is for clients with a secret"));
        }
        let token = given.first("token").ok_or_else(|| Error::new(ErrorCode::InvalidRequest, "token is missing"))?;
        let says = self.said_by(token).await?.filter(|said| may_hear(&client, said));
        Ok(Introspection { active: says.is_some(), says })
    }

    async fn said_by(&self, token: &str) -> Result<Option<Said>, Error> {
        let iss = self.issuer.clone();
        if let Some(grant) = self.refreshable(token).await? {
            let cnf = holder(&grant).map(|jkt| Confirmation { jkt });
            return Ok(Some(Said {
                cnf,
                scope: grant.scope,
                client_id: grant.client,
                token_type: None,
                exp: grant.expires.secs(),
                iat: None,
                sub: grant.identity.subject.as_str().to_owned(),
                aud: grant.resource.as_str().to_owned(),
                iss,
                jti: None,
                act: None,
            }));
        }
        let inspected = self.parts.mint.inspect(token).await?;
        Ok(inspected.map(|access| Said {
            scope: access.scope,
            client_id: access.client,
            token_type: Some(if access.key.is_some() { "DPoP" } else { "Bearer" }),
            exp: access.expires.secs(),
            iat: Some(access.issued.secs()),
            sub: access.subject,
            aud: access.audience,
            iss,
            jti: Some(access.id),
            act: access.actor,
            cnf: access.key.map(|jkt| Confirmation { jkt }),
        }))
    }
}

/// The key that the refresh tokens of a Grant are bound to.
fn holder(grant: &Grant) -> Option<Thumbprint> {
    let GrantStage::Active { refresh, .. } = &grant.stage else { return None };
    refresh.as_ref().and_then(|chain| chain.holder)
}

fn may_hear(client: &Client, said: &Said) -> bool {
    client.origin == ClientOrigin::Static || client.id == said.client_id
}
