//! A refresh token at `/token`: authenticate, recover the Grant, narrow the scope, issue.

use std::borrow::Cow;

use oxide_auth::{
    code_grant::{error::AccessTokenErrorType, refresh},
    primitives::{
        grant::{Extensions, Grant as OxideGrant},
        issuer::{RefreshedToken, TokenType},
    },
};

use super::NOT_REPEATED;
use crate::{
    domain::{Client, Scope},
    oauth::ErrorCode,
};

/// What `/token` was asked with `grant_type=refresh_token`; the client is authenticated already.
pub(in crate::oauth) struct RefreshAsked<'a> {
    pub(in crate::oauth) client: &'a Client,
    pub(in crate::oauth) scope: Option<&'a str>,
}

impl refresh::Request for RefreshAsked<'_> {
    fn valid(&self) -> bool {
        true
    }

    /// Not the real one: the machine only hands it back.
    fn refresh_token(&self) -> Option<Cow<'_, str>> {
        Some("".into())
    }

    fn scope(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn grant_type(&self) -> Option<Cow<'_, str>> {
        Some("refresh_token".into())
    }

    fn authorization(&self) -> Option<(Cow<'_, str>, Cow<'_, [u8]>)> {
        Some((self.client.id.as_str().into(), Cow::Borrowed(&[])))
    }

    fn extension(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
}

/// What the machine wants to know next about a refresh token.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::oauth) enum RefreshQuestion {
    /// Is this the client that it says? Answered by [`Refresh::authenticated`].
    Authenticate,
    /// Which Grant does the token name? Answered by [`Refresh::recovered`].
    Recover,
    /// Everything is proven: issue an access token of this scope. Answered by [`Refresh::issued`].
    Issue(Scope),
    /// Done.
    Settled,
    /// Refused.
    Refused(ErrorCode, &'static str),
}

/// Drives the refresh machine: authenticate, recover the Grant, compare the client, narrow the scope, issue.
pub(in crate::oauth) struct Refresh<'a> {
    machine: refresh::Refresh,
    asked: &'a RefreshAsked<'a>,
}

impl<'a> Refresh<'a> {
    /// The machine and its first question.
    pub(in crate::oauth) fn begin(asked: &'a RefreshAsked<'a>) -> (Self, RefreshQuestion) {
        let mut driver = Self { machine: refresh::Refresh::new(asked), asked };
        let question = driver.advance(refresh::Input::None);
        (driver, question)
    }

    /// The client proved who it is before the machine was begun.
    pub(in crate::oauth) fn authenticated(&mut self) -> RefreshQuestion {
        self.advance(refresh::Input::Authenticated { scope: None })
    }

    /// The Grant that the token names, if there is one: to whom it was given, and for what.
    pub(in crate::oauth) fn recovered(&mut self, terms: Option<(&str, &Scope)>) -> RefreshQuestion {
        let Some((client_id, granted)) = terms else {
            return self.advance(refresh::Input::Recovered { scope: None, grant: None });
        };
        // RFC 6749 §6: what is asked for may only be less. What was never granted is left away (behaviour 16), but
        // somebody who asks for nothing else gets nothing.
        let narrowed = self.asked.scope.map(|scope| Scope::parse(scope).narrowed_to(granted));
        if narrowed.as_ref().is_some_and(Scope::is_empty) && !granted.is_empty() {
            return RefreshQuestion::Refused(ErrorCode::InvalidScope, "scope exceeds what was granted");
        }
        let (Ok(scope), Ok(redirect_uri)) = (granted.to_string().parse(), NOT_REPEATED.parse()) else {
            return RefreshQuestion::Refused(ErrorCode::ServerError, "the refresh token could not be judged");
        };
        let grant = OxideGrant {
            owner_id: String::new(),
            client_id: client_id.to_owned(),
            scope,
            redirect_uri,
            until: chrono::DateTime::<chrono::Utc>::MAX_UTC,
            extensions: Extensions::new(),
        };
        let scope = narrowed.filter(|scope| !scope.is_empty()).map(|scope| scope.to_string().into());
        self.advance(refresh::Input::Recovered { scope, grant: Some(Box::new(grant)) })
    }

    /// The chain was rotated and the tokens are made.
    pub(in crate::oauth) fn issued(&mut self) -> RefreshQuestion {
        let until = chrono::DateTime::<chrono::Utc>::MAX_UTC;
        let unseen = RefreshedToken { token: String::new(), refresh: None, until, token_type: TokenType::Bearer };
        self.advance(refresh::Input::Refreshed(unseen))
    }

    fn advance(&mut self, input: refresh::Input<'_>) -> RefreshQuestion {
        match self.machine.advance(input) {
            refresh::Output::Unauthenticated { .. } => RefreshQuestion::Authenticate,
            refresh::Output::RecoverRefresh { .. } => RefreshQuestion::Recover,
            refresh::Output::Refresh { grant, .. } => RefreshQuestion::Issue(Scope::parse(&grant.scope.to_string())),
            refresh::Output::Ok(_) => RefreshQuestion::Settled,
            refresh::Output::Err(error) => unrefreshed(error),
        }
    }
}

fn unrefreshed(mut error: refresh::Error) -> RefreshQuestion {
    let kind = error.description().map(|description| description.kind());
    let (code, why) = match kind {
        Some(AccessTokenErrorType::InvalidGrant) => {
            (ErrorCode::InvalidGrant, "the refresh token is unknown, revoked, expired or another client's")
        }
        Some(AccessTokenErrorType::InvalidScope) => (ErrorCode::InvalidScope, "scope exceeds what was granted"),
        Some(AccessTokenErrorType::InvalidClient) => (ErrorCode::InvalidClient, "client authentication failed"),
        Some(_) => (ErrorCode::InvalidRequest, "the token request is malformed"),
        None => (ErrorCode::ServerError, "the refresh token could not be judged"),
    };
    RefreshQuestion::Refused(code, why)
}
