//! A code at `/token`: authenticate, recover the Grant, compare client and redirect URI, PKCE, issue.

use std::borrow::Cow;

use oxide_auth::{
    code_grant::{
        accesstoken::{self, AccessToken},
        error::AccessTokenErrorType,
        extensions::Pkce,
    },
    primitives::{
        grant::{Extensions, Grant as OxideGrant, GrantExtension as _, Value},
        issuer::IssuedToken,
    },
};

use super::NOT_REPEATED;
use crate::{
    domain::{Client, CodeChallenge, Scope},
    oauth::ErrorCode,
};

/// What `/token` was asked with `grant_type=authorization_code`; the client is authenticated already.
pub(in crate::oauth) struct RedeemAsked<'a> {
    pub(in crate::oauth) client: &'a Client,
    pub(in crate::oauth) code: &'a str,
    pub(in crate::oauth) redirect_uri: Option<&'a str>,
    pub(in crate::oauth) verifier: Option<&'a str>,
}

impl accesstoken::Request for RedeemAsked<'_> {
    fn valid(&self) -> bool {
        true
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.into())
    }

    fn authorization(&self) -> accesstoken::Authorization<'_> {
        accesstoken::Authorization::None
    }

    fn client_id(&self) -> Option<Cow<'_, str>> {
        Some(self.client.id.as_str().into())
    }

    fn redirect_uri(&self) -> Option<Cow<'_, str>> {
        Some(self.redirect_uri.unwrap_or(NOT_REPEATED).into())
    }

    fn grant_type(&self) -> Option<Cow<'_, str>> {
        Some("authorization_code".into())
    }

    fn extension(&self, key: &str) -> Option<Cow<'_, str>> {
        (key == "code_verifier").then_some(self.verifier?.into())
    }
}

/// To whom and for what a code was issued.
pub(in crate::oauth) struct CodeTerms<'a> {
    pub(in crate::oauth) client_id: &'a str,
    /// The redirect URI that the code was sent to, as far as `/token` may be held to it.
    pub(in crate::oauth) redirect: Option<&'a str>,
    pub(in crate::oauth) challenge: &'a CodeChallenge,
    pub(in crate::oauth) scope: &'a Scope,
}

/// What the machine wants to know next about a code.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::oauth) enum RedeemQuestion {
    /// Is this the client that it says? Answered by [`Redeem::authenticated`].
    Authenticate,
    /// Which Grant does the code name? Answered by [`Redeem::recovered`].
    Recover,
    /// Everything is proven: do it. Answered by [`Redeem::issued`].
    Issue,
    /// Done.
    Settled,
    /// Refused.
    Refused(ErrorCode, &'static str),
}

/// Drives the access token machine: authenticate, recover the Grant, compare client and redirect URI, PKCE, issue.
pub(in crate::oauth) struct Redeem<'a> {
    machine: AccessToken,
    asked: &'a RedeemAsked<'a>,
}

impl<'a> Redeem<'a> {
    /// The machine and its first question.
    pub(in crate::oauth) fn begin(asked: &'a RedeemAsked<'a>) -> (Self, RedeemQuestion) {
        let mut driver = Self { machine: AccessToken::new(asked), asked };
        let question = driver.advance(accesstoken::Input::None);
        (driver, question)
    }

    /// The client proved who it is before the machine was begun.
    pub(in crate::oauth) fn authenticated(&mut self) -> RedeemQuestion {
        self.advance(accesstoken::Input::Authenticated)
    }

    /// The terms under which the code was issued, if it is one.
    pub(in crate::oauth) fn recovered(&mut self, terms: Option<&CodeTerms<'_>>) -> RedeemQuestion {
        let Some(terms) = terms else { return self.advance(accesstoken::Input::Recovered(None)) };
        // Before the machine compares parsed URLs, of which different spellings are equal.
        if self.asked.redirect_uri.is_some() && self.asked.redirect_uri != terms.redirect {
            return not_this_redirect();
        }
        let redirect_uri = self.asked.redirect_uri.unwrap_or(NOT_REPEATED).parse();
        let (Ok(redirect_uri), Ok(scope)) = (redirect_uri, terms.scope.to_string().parse()) else {
            return not_this_redirect();
        };
        let mut extensions = Extensions::new();
        let encoded = format!("{}S", terms.challenge.as_str());
        extensions.set_raw(Pkce::required().identifier().to_owned(), Value::private(Some(encoded)));
        let grant = OxideGrant {
            owner_id: String::new(),
            client_id: terms.client_id.to_owned(),
            scope,
            redirect_uri,
            until: chrono::DateTime::<chrono::Utc>::MAX_UTC,
            extensions,
        };
        self.advance(accesstoken::Input::Recovered(Some(Box::new(grant))))
    }

    /// The Grant was swapped and the token is made.
    pub(in crate::oauth) fn issued(&mut self) -> RedeemQuestion {
        let unseen = IssuedToken::without_refresh(String::new(), chrono::DateTime::<chrono::Utc>::MAX_UTC);
        self.advance(accesstoken::Input::Issued(unseen))
    }

    fn advance(&mut self, input: accesstoken::Input<'_>) -> RedeemQuestion {
        let asks_for_grant = matches!(input, accesstoken::Input::Recovered(_));
        let extensions = match self.machine.advance(input) {
            accesstoken::Output::Authenticate { .. } => return RedeemQuestion::Authenticate,
            accesstoken::Output::Recover { .. } => return RedeemQuestion::Recover,
            accesstoken::Output::Extend { extensions } => std::mem::take(extensions),
            accesstoken::Output::Issue { .. } => return RedeemQuestion::Issue,
            accesstoken::Output::Ok(_) => return RedeemQuestion::Settled,
            accesstoken::Output::Err(error) => return unredeemed(*error, asks_for_grant),
        };
        self.verify_key_exchange(extensions)
    }

    /// RFC 7636 §4.6 and S6: a missing verifier is a wrong one.
    fn verify_key_exchange(&mut self, mut extensions: Extensions) -> RedeemQuestion {
        let pkce = Pkce::required();
        let challenge = extensions.remove(&pkce);
        match pkce.verify(challenge, self.asked.verifier.map(Into::into)) {
            Ok(()) => self.advance(accesstoken::Input::Extended { access_extensions: Extensions::new() }),
            Err(()) => RedeemQuestion::Refused(ErrorCode::InvalidGrant, "code_verifier does not meet the challenge"),
        }
    }
}

const fn not_this_redirect() -> RedeemQuestion {
    RedeemQuestion::Refused(ErrorCode::InvalidGrant, "redirect_uri differs from the one the code was sent to")
}

fn unredeemed(mut error: accesstoken::Error, asked_for_grant: bool) -> RedeemQuestion {
    let kind = error.description().map(|description| description.kind());
    let (code, why) = match kind {
        Some(AccessTokenErrorType::InvalidGrant) => (ErrorCode::InvalidGrant, "the code belongs to another client"),
        Some(_) if asked_for_grant => (ErrorCode::InvalidGrant, "the code is unknown, used or expired"),
        Some(AccessTokenErrorType::InvalidClient) => (ErrorCode::InvalidClient, "client authentication failed"),
        Some(_) => (ErrorCode::InvalidRequest, "the token request is malformed"),
        None => (ErrorCode::ServerError, "the code could not be judged"),
    };
    RedeemQuestion::Refused(code, why)
}
