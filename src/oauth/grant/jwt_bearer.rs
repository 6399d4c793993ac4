//! `grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer`: somebody whom the operator trusts vouches for a person (an
//! ID-JAG of the enterprise's identity provider; EMA-1 to EMA-5) or for a workload (WIF-1). The header's `typ` tells which.
//!
//! A person's assertion is for one client, which authenticates, for one server, and good for once: the insertion of its
//! `jti` decides who of many that present it gets in (EMA-2). A workload has no client; its own token is what proves it,
//! may be shown again while it lives, as a cluster renews it only now and then, and nothing outlives it.
//!
//! Neither brings a provider's token nor gets a refresh token: who vouched has to do so again (EMA-5).

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use super::{
    AuthorizationServer, Error, ErrorCode, Presented, TokenResponse, client_credentials::Bearer, holder::Shown,
};
use crate::{
    domain::{Client, ClientAuthMethod, ClientId, ClientOrigin, Identity, Resource, Scope, SpentAssertion, Subject},
    oauth::{
        assertion::{is_name, unproven},
        authorize::not_ours,
        issuer::{SpeaksFor, TrustedIssuer, Word, doubted},
    },
};

/// The `typ` of an Identity Assertion JWT Authorization Grant.
const ID_JAG: &str = "oauth-id-jag+jwt";
/// How far ahead a person's assertion may end: it is made for one request (EMA-2).
const LONGEST_ID_JAG: Duration = Duration::from_secs(10 * 60);
/// How far ahead a workload's token may end: a cluster's live for an hour, some for a day.
const LONGEST_WORKLOAD: Duration = Duration::from_secs(24 * 3600);
/// The longest subject of a workload, in bytes.
const LONGEST_SUBJECT: usize = 255;

impl Presented<'_> {
    /// Whether an assertion is for a client, as it says itself: then the client has to authenticate.
    pub(super) fn is_for_a_client(&self) -> bool {
        #[derive(Deserialize)]
        struct Header {
            typ: String,
        }
        unproven(self.credential, 0).is_some_and(|header: Header| is_id_jag(Some(&header.typ)))
    }
}

fn is_id_jag(typ: Option<&str>) -> bool {
    typ.is_some_and(|typ| typ.eq_ignore_ascii_case(ID_JAG))
}

fn is_plain(typ: Option<&str>) -> bool {
    typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("JOSE"))
}

impl AuthorizationServer {
    /// A client comes with an ID-JAG.
    pub(super) async fn introduce(
        &self,
        client: &Client,
        request: &Presented<'_>,
        proof: Shown,
    ) -> Result<TokenResponse, Error> {
        if !client.auth_method.is_confidential() {
            return Err(Error::new(
                ErrorCode::UnauthorizedClient,
                "only a client that authenticates may come with this",
            ));
        }
        let issuer = self.issuer_of(request.credential)?;
        let SpeaksFor::People(introduction) = &issuer.speaks_for else {
            return Err(doubted("comes from an issuer that does not speak for people"));
        };
        let claims = self.hear(issuer, request.credential, is_id_jag).await?;
        let word = word(&claims)?;
        if !self.is_audience(word.aud.as_str(), false) {
            return Err(doubted("is not made for this server: its aud must be our issuer"));
        }
        if word.client_id.as_deref() != Some(client.id.as_str()) {
            return Err(doubted("is made for another client"));
        }
        let expires = self.age(&word, LONGEST_ID_JAG)?;
        let resource = self.bound_resource(&word, request)?;
        let identity = introduction.person(&claims)?;
        let is_heard = resource.trusts.issuers.contains(&issuer.name);
        if !is_heard || !admits(resource, issuer, &identity) {
            tracing::warn!(subject = %identity.subject, resource = %resource.uri, "a person was denied by policy");
            return Err(doubted("speaks of somebody who is not admitted to this server"));
        }
        let scope = granted(request.scope, word.scope.as_deref(), resource, client)?;
        let key = self.spend(proof).await?;
        self.check_demand(&resource.uri, key.as_ref())?;
        let spent = SpentAssertion { issuer: issuer.issuer.clone(), jti: word.jti, expires };
        if !self.parts.store.insert(&spent).await? {
            return Err(doubted("was used before"));
        }
        self.grant_at_once(client, resource, scope, Bearer { identity, login: None, actor: None, until: None, key })
            .await
    }

    /// The one server that the assertion is bound to (EMA-3). One that names none can only mean the only one.
    fn bound_resource(&self, word: &Word, request: &Presented<'_>) -> Result<&Resource, Error> {
        let bound = match &word.resource {
            Some(named) if named.iter().next().is_some() => self.resource(named.iter()),
            _ if self.parts.resources.len() == 1 => self.parts.resources.first(),
            _ => None,
        };
        let bound = bound.ok_or_else(|| doubted("must name one server behind this one as its resource"))?;
        if !request.resources.is_empty() {
            let asked = self.resource(request.resources.iter().copied()).ok_or_else(not_ours)?;
            if asked.uri != bound.uri {
                return Err(doubted("is bound to another resource than the one asked for"));
            }
        }
        Ok(bound)
    }

    /// A workload comes with its token.
    pub(super) async fn admit_workload(&self, request: &Presented<'_>, proof: Shown) -> Result<TokenResponse, Error> {
        let issuer = self.issuer_of(request.credential)?;
        if !matches!(issuer.speaks_for, SpeaksFor::Workloads) {
            return Err(doubted("comes from an issuer that does not speak for workloads"));
        }
        let claims = self.hear(issuer, request.credential, is_plain).await?;
        let word = word(&claims)?;
        // The extension's text wants the endpoint, its conformance suite the issuer.
        if !self.is_audience(word.aud.as_str(), true) {
            return Err(doubted("is not made for this server: its aud must be our issuer or token endpoint"));
        }
        let until = self.age(&word, LONGEST_WORKLOAD)?;
        let resource = self.resource(request.resources.iter().copied()).ok_or_else(not_ours)?;
        if word.sub.is_empty() || word.sub.len() > LONGEST_SUBJECT || word.sub.chars().any(char::is_control) {
            return Err(doubted("does not say whom it speaks of"));
        }
        let subject = Subject::new(&issuer.name, &word.sub);
        if !resource.trusts.workloads.iter().any(|rule| rule.admits(&subject)) {
            tracing::warn!(%subject, resource = %resource.uri, "a workload was denied by policy");
            return Err(doubted("speaks of a workload that is not admitted to this server"));
        }
        let client = stand_in(&subject);
        if self.is_blocked(&client.id).await? {
            return Err(doubted("speaks of a workload that was blocked by the operator"));
        }
        let scope = granted(request.scope, word.scope.as_deref(), resource, &client)?;
        let identity =
            Identity { subject, email: None, email_verified: false, name: None, username: None, groups: Vec::new() };
        let key = self.spend(proof).await?;
        self.grant_at_once(
            &client,
            resource,
            scope,
            Bearer { identity, login: None, actor: None, until: Some(until), key },
        )
        .await
    }
}

/// Whether the policy lets this person in: rules without an issuer's name mean the people of the server's own upstream.
pub(super) fn admits(resource: &Resource, issuer: &TrustedIssuer, person: &Identity) -> bool {
    match &issuer.speaks_for {
        SpeaksFor::People(introduction) if introduction.people_of == resource.upstream => resource.allow.admits(person),
        SpeaksFor::People(_) => resource.allow.admits_from_elsewhere(person),
        SpeaksFor::Workloads => false,
    }
}

/// A token names a client (RFC 9068 §2.2); a workload is its own.
fn stand_in(subject: &Subject) -> Client {
    Client {
        id: ClientId::new(format!("workload:{subject}")),
        origin: ClientOrigin::Static,
        name: None,
        redirect_uris: Vec::new(),
        auth_method: ClientAuthMethod::None,
        grants: BTreeSet::new(),
        scope: None,
        always_proves: false,
        edition: None,
    }
}

fn word(claims: &Value) -> Result<Word, Error> {
    let word = Word::deserialize(claims)
        .map_err(|_| doubted("must hold iss, sub, aud (one), exp, iat and jti, each of its type"))?;
    if is_name(&word.jti) { Ok(word) } else { Err(doubted("must have a jti of at most 256 bytes")) }
}

/// What is asked for, what the assertion permits and what the server and the client have, in common (EMA-4). Unlike at
/// `/authorize` nothing is added where that is too little: nobody is there who could agree to it.
pub(super) fn granted(
    asked: Option<&str>,
    permitted: Option<&str>,
    resource: &Resource,
    client: &Client,
) -> Result<Scope, Error> {
    let limits = [asked, permitted].into_iter().flatten().map(Scope::parse);
    let limits: Vec<Scope> = limits.chain(client.scope.clone()).collect();
    // What single operations need (SC-3) is given only where it is named.
    let is_named = asked.is_some() || permitted.is_some();
    let offered = if is_named { resource.every_scope() } else { resource.scopes.clone() };
    let scope = limits.iter().fold(offered, |scope, limit| scope.narrowed_to(limit));
    match (scope.is_empty(), permitted.is_some()) {
        (false, _) => Ok(scope),
        (true, true) => Err(doubted("permits none of the scopes asked for")),
        (true, false) => Err(Error::new(ErrorCode::InvalidScope, "none of these scopes can be had here")),
    }
}
