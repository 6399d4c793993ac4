//! `grant_type=urn:ietf:params:oauth:grant-type:token-exchange`: a client of the operator's brings somebody else's token for
//! a person and gets ours (RFC 8693; TX-1).
//!
//! Only a client that the file lets do so, and only tokens of those whom the file names for it: an ID token of an upstream
//! (made for our own app there), a JWT of an issuer (made for an audience that the operator wrote down), or, where that is
//! allowed too, an access token of an upstream that its userinfo understands. The person has to meet `allow` as after a
//! login. The client is recorded as the one who acts (`act`), before those who acted so far, and nothing outlives the token that was brought.
//!
//! The brought token is proof of a person and nothing more. It is not handed on to the MCP server, since it was not made
//! for it (UP-10), so a server that wants a provider's token lets nobody in this way.

use serde::Deserialize;
use serde_json::Value;

use super::{AuthorizationServer, Error, ErrorCode, Given, TokenResponse, client_credentials::Bearer, holder::Shown};
use crate::{
    domain::{Actor, Client, GrantType, Identity, Instant, Resource, Subject},
    oauth::{
        Exchange,
        assertion::{is_name, unproven},
        authorize::not_ours,
        grant::jwt_bearer::{admits, granted},
        issuer::{Introduction, OneOrMore, SpeaksFor, TrustedIssuer, doubted},
    },
    upstream::{Failed, Upstream},
};

pub(super) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// The longest token that is looked at, in bytes.
const LONGEST: usize = 16 * 1024;
/// The most actors before the client that are kept on record.
const MOST_BEFORE: usize = 4;

/// `subject_token_type`, as far as we take it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Id,
    Access,
    Jwt,
}

/// The parameters of RFC 8693 §2.1.
pub(super) struct ExchangeRequest<'a> {
    token: &'a str,
    kind: Kind,
    scope: Option<&'a str>,
    /// Both of `resource` and `audience`: our servers are named by their address in either.
    targets: Vec<&'a str>,
    /// What the answer says that it is.
    issued: &'static str,
}

impl<'a> ExchangeRequest<'a> {
    pub(super) fn read(given: Given<'a>) -> Result<Self, Error> {
        let bad = |why: &'static str| Err(Error::new(ErrorCode::InvalidRequest, why));
        let Some(token) = given.first("subject_token") else { return bad("subject_token is missing") };
        if token.len() > LONGEST {
            return bad("subject_token is too long");
        }
        let kind = match given.first("subject_token_type") {
            Some(ID_TOKEN) => Kind::Id,
            Some(ACCESS_TOKEN) => Kind::Access,
            Some(JWT) => Kind::Jwt,
            Some(_) => return bad("this subject_token_type is not taken here"),
            None => return bad("subject_token_type is missing"),
        };
        match (given.first("actor_token"), given.first("actor_token_type")) {
            (None, None) => {}
            (None, Some(_)) => return bad("actor_token_type comes only with an actor_token"),
            (Some(_), None) => return bad("actor_token_type is missing"),
            (Some(_), Some(_)) => return bad("actor_token is not taken here: the client itself is the actor"),
        }
        let issued = match given.first("requested_token_type") {
            None | Some(ACCESS_TOKEN) => ACCESS_TOKEN,
            Some(JWT) => JWT,
            Some(_) => return bad("this requested_token_type is not issued here"),
        };
        let targets = given.all("resource").chain(given.all("audience")).collect();
        Ok(Self { token, kind, scope: given.first("scope"), targets, issued })
    }
}

/// Whom a brought token speaks of.
struct Brought {
    person: Identity,
    /// When it ends, where it tells.
    until: Option<Instant>,
    /// Whether the policy of the server lets this person in.
    is_admitted: bool,
    /// Who acted for them before.
    before: Option<Box<Actor>>,
}

/// A JWT of an issuer's, as far as it is looked at.
#[derive(Deserialize)]
struct Claims {
    aud: OneOrMore,
    exp: f64,
    #[serde(default)]
    iat: Option<f64>,
    #[serde(default)]
    nbf: Option<f64>,
}

impl AuthorizationServer {
    pub(super) async fn exchange(
        &self,
        client: &Client,
        request: &ExchangeRequest<'_>,
        proof: Shown,
    ) -> Result<TokenResponse, Error> {
        let known = self.statics.get(&client.id).filter(|_| client.auth_method.is_confidential());
        let Some(known) = known.filter(|_| client.may(GrantType::TokenExchange)) else {
            return Err(Error::new(ErrorCode::UnauthorizedClient, "this client may not exchange tokens"));
        };
        let resource = self.resource(request.targets.iter().copied()).ok_or_else(not_ours)?;
        let brought = self.brought(client, &known.exchange, request, resource).await?;
        let Brought { person: identity, until, is_admitted, before } = brought;
        if !is_admitted {
            tracing::warn!(subject = %identity.subject, resource = %resource.uri, "a person was denied by policy");
            return Err(unfit("speaks of somebody who is not admitted to this server"));
        }
        let scope = granted(request.scope, None, resource, client)?;
        let actor = Subject::of_client(&client.id).as_str().to_owned();
        let actor = Some(Actor { sub: actor, iss: None, act: before });
        let key = self.spend(proof).await?;
        let bearer = Bearer { identity, login: None, actor, until, key };
        let mut response = self.grant_at_once(client, resource, scope, bearer).await?;
        response.issued_token_type = Some(request.issued);
        Ok(response)
    }

    /// Whose token it is decides how it is proven, and who says whose it is are the operator's lists alone.
    async fn brought(
        &self,
        client: &Client,
        exchange: &Exchange,
        request: &ExchangeRequest<'_>,
        resource: &Resource,
    ) -> Result<Brought, Error> {
        let claims: Option<Value> = unproven(request.token, 1);
        let iss = claims.as_ref().and_then(|claims| claims.get("iss")).and_then(Value::as_str);
        let issuer = self.settings.issuers.iter().find(|known| iss == Some(&*known.issuer));
        if let Some(issuer) = issuer.filter(|issuer| exchange.from.contains(&issuer.name)) {
            return self.brought_from_issuer(client, issuer, request.token, resource).await;
        }
        let upstream = self.parts.upstreams.get(&resource.upstream);
        let upstream = upstream.filter(|upstream| exchange.from.contains(upstream.name()));
        check_actor(client, claims.as_ref())?;
        let before = claims.as_ref().map_or(Ok(None), actors_before)?;
        let (person, until) = match (request.kind, upstream) {
            (Kind::Id, Some(upstream)) if iss.is_some() && iss == upstream.issuer() => {
                let (person, until) = told(upstream, upstream.person_of_id_token(request.token).await)?;
                (person, Some(until))
            }
            // Nobody but the provider can tell whether what stands in its access token is true.
            (Kind::Access, Some(_)) if exchange.access_tokens && before.is_some() => {
                return Err(unfit("tells of actors, and only an ID token or a JWT proves them"));
            }
            (Kind::Access, Some(upstream)) if exchange.access_tokens => {
                (told(upstream, upstream.person_of_access_token(request.token).await)?, None)
            }
            _ => return Err(unfit("comes from nobody whose tokens this client may exchange for this server")),
        };
        Ok(Brought { is_admitted: resource.allow.admits(&person), person, until, before })
    }

    async fn brought_from_issuer(
        &self,
        client: &Client,
        issuer: &TrustedIssuer,
        token: &str,
        resource: &Resource,
    ) -> Result<Brought, Error> {
        let SpeaksFor::People(introduction) = &issuer.speaks_for else {
            return Err(unfit("comes from an issuer that does not speak for people"));
        };
        if !resource.trusts.issuers.contains(&issuer.name) {
            let why = "this server does not take the word of the token's issuer";
            return Err(Error::new(ErrorCode::InvalidTarget, why));
        }
        let claims = self.hear(issuer, token, is_token).await.map_err(as_request)?;
        let until = self.claimed_end(introduction, &claims).map_err(as_request)?;
        check_actor(client, Some(&claims))?;
        let person = introduction.person(&claims).map_err(as_request)?;
        let before = actors_before(&claims)?;
        Ok(Brought { is_admitted: admits(resource, issuer, &person), person, until: Some(until), before })
    }

    fn claimed_end(&self, introduction: &Introduction, claims: &Value) -> Result<Instant, Error> {
        let claims =
            Claims::deserialize(claims).map_err(|_| doubted("must hold iss, sub, aud and exp, each of its type"))?;
        if !claims.aud.iter().any(|audience| introduction.audiences.iter().any(|own| own == audience)) {
            return Err(doubted("is made for an audience whose tokens are not exchanged here"));
        }
        self.end(claims.exp, claims.iat, claims.nbf)
    }
}

/// An access token, an ID token, or a plain JWT; an assertion of any kind is none of them.
fn is_token(typ: Option<&str>) -> bool {
    let is = |own: &str| typ.is_none_or(|typ| typ.eq_ignore_ascii_case(own));
    is("JWT") || is("at+jwt") || is("application/at+jwt")
}

/// RFC 8693 §4.4: a token may say who alone may act for its person.
fn check_actor(client: &Client, claims: Option<&Value>) -> Result<(), Error> {
    let Some(may_act) = claims.and_then(|claims| claims.get("may_act")) else { return Ok(()) };
    let is_named =
        ["sub", "client_id"].iter().any(|name| may_act.get(name).and_then(Value::as_str) == Some(client.id.as_str()));
    if is_named { Ok(()) } else { Err(unfit("lets another party act for its person")) }
}

/// RFC 8693 §4.1: who acted until now stands below who acts from now on. A chain that we cannot keep whole is refused, since
/// a shorter one would be a lie.
fn actors_before(claims: &Value) -> Result<Option<Box<Actor>>, Error> {
    let mut chain = Vec::new();
    let mut next = claims.get("act");
    while let Some(act) = next {
        let name = |member| act.get(member).and_then(Value::as_str).filter(|name| is_name(name));
        let Some(sub) = name("sub").or_else(|| name("client_id")) else {
            return Err(unfit("holds an act that names nobody"));
        };
        if chain.len() == MOST_BEFORE {
            return Err(unfit("tells of more actors than are kept on record"));
        }
        // A name without an issuer is one of the token's own issuer's.
        let iss = name("iss").or_else(|| claims.get("iss").and_then(Value::as_str));
        chain.push((sub.to_owned(), iss.map(str::to_owned)));
        next = act.get("act");
    }
    Ok(chain.into_iter().rev().fold(None, |act, (sub, iss)| Some(Box::new(Actor { sub, iss, act }))))
}

/// RFC 8693 §2.2.2: a token that is not valid is `invalid_request`, here.
fn as_request(error: Error) -> Error {
    match error.code {
        ErrorCode::InvalidGrant => Error { code: ErrorCode::InvalidRequest, ..error },
        _ => error,
    }
}

fn told<T>(upstream: &Upstream, outcome: Result<T, Failed>) -> Result<T, Error> {
    outcome.map_err(|failed| match failed {
        Failed::Refused { what, cause } => {
            let upstream = upstream.name();
            unfit("is not valid at its provider").because(format!("{upstream}: {what}: {}", cause.unwrap_or_default()))
        }
        other => other.into(),
    })
}

fn unfit(why: &'static str) -> Error {
    Error::new(ErrorCode::InvalidRequest, format!("the subject_token {why}"))
}
