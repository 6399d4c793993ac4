//! The only file that names `oxide_auth`: its sans-I/O machines judge, these drivers ask and answer.
//!
//! Each `Output` of a machine becomes an owned question; whoever drives answers it, awaiting what he likes in between.
//! The machine's `Input` borrows a request that is not `Sync`, so it is made and used up inside one call. What the
//! machines get wrong for MCP clients is mended here (dependencies: oxide-auth):
//!
//! - an unknown code and a wrong verifier are `invalid_grant`, not `invalid_request` (RFC 6749 §5.2, RFC 7636 §4.6);
//! - a missing `response_type` is `invalid_request`, a strange scope is narrowed instead of refused (behaviour 16);
//! - `redirect_uri` at `/token` is optional, since PKCE has taken its place (OAuth 2.1 §10.2), and is compared byte for
//!   byte (AZ-4), where the machine compares parsed URLs;
//! - it reads the wall clock: expiry is judged by our clock before, and what is handed in never expires;
//! - at refresh it compares clients only where the client is named, so it always is: one public client's refresh token
//!   is nothing in another's hands (RT-4). Strange scopes are narrowed away here too, and its one-hour expiry and its
//!   wall clock have no say;
//! - codes, access and refresh tokens are not shown to it where it would keep them, as plain strings.

use std::borrow::Cow;

use oxide_auth::{
    code_grant::{
        accesstoken::{self, AccessToken},
        authorization::{self, Authorization},
        error::{AccessTokenErrorType, AuthorizationErrorType},
        extensions::Pkce,
        refresh,
    },
    primitives::{
        grant::{Extensions, Grant as OxideGrant, GrantExtension as _, Value},
        issuer::{IssuedToken, RefreshedToken, TokenType},
        registrar::{BoundClient, ExactUrl, PreGrant, RegisteredUrl},
    },
};

use super::ErrorCode;
use crate::domain::{Client, CodeChallenge, RedirectUri, Scope};

/// What `/authorize` was asked, as far as RFC 6749 §4.1.1 and RFC 7636 §4.3 go; each parameter once.
pub(super) struct AuthorizeAsked<'a> {
    pub(super) client_id: &'a str,
    pub(super) redirect_uri: Option<&'a str>,
    pub(super) response_type: Option<&'a str>,
    pub(super) scope: Option<&'a str>,
    pub(super) challenge: Option<&'a str>,
    pub(super) method: Option<&'a str>,
}

impl authorization::Request for AuthorizeAsked<'_> {
    fn valid(&self) -> bool {
        true
    }

    fn client_id(&self) -> Option<Cow<'_, str>> {
        Some(self.client_id.into())
    }

    fn scope(&self) -> Option<Cow<'_, str>> {
        // Only sound tokens: the machine would refuse the rest, we narrow it away.
        self.scope.map(|scope| Scope::parse(scope).to_string().into())
    }

    fn redirect_uri(&self) -> Option<Cow<'_, str>> {
        self.redirect_uri.map(Into::into)
    }

    /// Stays with us: it has to come back byte for byte, and the machine has no need of it.
    fn state(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn response_type(&self) -> Option<Cow<'_, str>> {
        self.response_type.map(Into::into)
    }

    fn extension(&self, key: &str) -> Option<Cow<'_, str>> {
        match key {
            "code_challenge" => self.challenge.map(Into::into),
            "code_challenge_method" => self.method.map(Into::into),
            _ => None,
        }
    }
}

/// What the machine wants to know next about a request to `/authorize`.
pub(super) enum AuthorizeQuestion {
    /// Which client is it, and where may it be answered? Answered by [`Authorize::bound`].
    Bind,
    /// Which of the scope may it have, and where? Answered by [`Authorize::negotiated`].
    Negotiate {
        /// The sound part of what was asked for.
        scope: Scope,
    },
    /// All is well.
    Settled {
        /// The client's challenge.
        challenge: CodeChallenge,
    },
    /// Refused, by redirect where the client is bound, else by a page.
    Refused(ErrorCode, &'static str),
}

/// Drives the authorization machine: bind the client, PKCE (S256 and required), scope.
pub(super) struct Authorize<'a> {
    machine: Authorization,
    asked: &'a AuthorizeAsked<'a>,
}

impl<'a> Authorize<'a> {
    /// The machine and its first question.
    pub(super) fn begin(asked: &'a AuthorizeAsked<'a>) -> (Self, AuthorizeQuestion) {
        let mut driver = Self { machine: Authorization::new(asked), asked };
        let question = driver.advance(authorization::Input::None);
        (driver, question)
    }

    /// The client is known and `redirect` is its own.
    pub(super) fn bound(&mut self, client: &Client, redirect: &RedirectUri) -> AuthorizeQuestion {
        let Ok(url) = ExactUrl::new(redirect.as_str().to_owned()) else {
            return AuthorizeQuestion::Refused(ErrorCode::InvalidRequest, "redirect_uri must be absolute");
        };
        let bound_client = BoundClient {
            client_id: Cow::Owned(client.id.as_str().to_owned()),
            redirect_uri: Cow::Owned(RegisteredUrl::Exact(url)),
        };
        self.advance(authorization::Input::Bound { request: self.asked, bound_client })
    }

    /// The client will get `scope`.
    pub(super) fn negotiated(&mut self, client: &Client, redirect: &RedirectUri, scope: &Scope) -> AuthorizeQuestion {
        let (Ok(url), Ok(scope)) = (ExactUrl::new(redirect.as_str().to_owned()), scope.to_string().parse()) else {
            return AuthorizeQuestion::Refused(ErrorCode::ServerError, "the scope could not be negotiated");
        };
        let pre_grant =
            PreGrant { client_id: client.id.as_str().to_owned(), redirect_uri: RegisteredUrl::Exact(url), scope };
        self.advance(authorization::Input::Negotiated { pre_grant, state: None })
    }

    fn advance(&mut self, input: authorization::Input<'_>) -> AuthorizeQuestion {
        let asked = self.asked;
        match self.machine.advance(input) {
            authorization::Output::Bind { .. } => AuthorizeQuestion::Bind,
            authorization::Output::Extend => self.prove_key_exchange(),
            authorization::Output::Negotiate { scope, .. } => {
                AuthorizeQuestion::Negotiate { scope: scope.map(|scope| scope.iter().collect()).unwrap_or_default() }
            }
            authorization::Output::Ok { .. } => match asked.challenge.map(CodeChallenge::parse) {
                Some(Ok(challenge)) => AuthorizeQuestion::Settled { challenge },
                _ => AuthorizeQuestion::Refused(ErrorCode::InvalidRequest, "code_challenge is malformed"),
            },
            authorization::Output::Err(authorization::Error::Redirect(mut error)) => {
                refused(error.description().kind(), asked.response_type)
            }
            authorization::Output::Err(authorization::Error::Ignore) => {
                AuthorizeQuestion::Refused(ErrorCode::InvalidRequest, "client_id or redirect_uri is malformed")
            }
            authorization::Output::Err(authorization::Error::PrimitiveError) => {
                AuthorizeQuestion::Refused(ErrorCode::ServerError, "the request could not be judged")
            }
        }
    }

    /// AZ-5: required of every client, S256 only; an absent method would mean `plain` (RFC 7636 §4.3).
    fn prove_key_exchange(&mut self) -> AuthorizeQuestion {
        const NO: ErrorCode = ErrorCode::InvalidRequest;
        let asked = self.asked;
        let Some(challenge) = asked.challenge else {
            return AuthorizeQuestion::Refused(NO, "code_challenge is missing: PKCE with S256 is required");
        };
        let pkce = Pkce::required();
        let Ok(Some(encoded)) = pkce.challenge(asked.method.map(Into::into), Some(challenge.into())) else {
            return AuthorizeQuestion::Refused(NO, "code_challenge_method must be S256");
        };
        if CodeChallenge::parse(challenge).is_err() {
            return AuthorizeQuestion::Refused(NO, "code_challenge must be 43 characters of base64url");
        }
        let mut extensions = Extensions::new();
        extensions.set(&pkce, encoded);
        self.advance(authorization::Input::Extended(extensions))
    }
}

fn refused(kind: AuthorizationErrorType, response_type: Option<&str>) -> AuthorizeQuestion {
    let (code, why) = match kind {
        AuthorizationErrorType::UnsupportedResponseType if response_type.is_none() => {
            (ErrorCode::InvalidRequest, "response_type is missing")
        }
        AuthorizationErrorType::UnsupportedResponseType => {
            (ErrorCode::UnsupportedResponseType, "response_type must be code")
        }
        AuthorizationErrorType::InvalidScope => (ErrorCode::InvalidScope, "scope is malformed"),
        AuthorizationErrorType::UnauthorizedClient => (ErrorCode::UnauthorizedClient, "this client may not do this"),
        AuthorizationErrorType::AccessDenied => (ErrorCode::AccessDenied, "access was denied"),
        AuthorizationErrorType::InvalidRequest => (ErrorCode::InvalidRequest, "the request is malformed"),
        AuthorizationErrorType::ServerError => (ErrorCode::ServerError, "the request could not be judged"),
        AuthorizationErrorType::TemporarilyUnavailable => (ErrorCode::TemporarilyUnavailable, "try again later"),
    };
    AuthorizeQuestion::Refused(code, why)
}

/// Stands for the redirect URI where the client relies on PKCE instead of repeating it.
const NOT_REPEATED: &str = "urn:vestibule:not-repeated";

/// What `/token` was asked with `grant_type=authorization_code`; the client is authenticated already.
pub(super) struct RedeemAsked<'a> {
    pub(super) client: &'a Client,
    pub(super) code: &'a str,
    pub(super) redirect_uri: Option<&'a str>,
    pub(super) verifier: Option<&'a str>,
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
pub(super) struct CodeTerms<'a> {
    pub(super) client_id: &'a str,
    /// The redirect URI that the code was sent to, as far as `/token` may be held to it.
    pub(super) redirect: Option<&'a str>,
    pub(super) challenge: &'a CodeChallenge,
    pub(super) scope: &'a Scope,
}

/// What the machine wants to know next about a code.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RedeemQuestion {
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
pub(super) struct Redeem<'a> {
    machine: AccessToken,
    asked: &'a RedeemAsked<'a>,
}

impl<'a> Redeem<'a> {
    /// The machine and its first question.
    pub(super) fn begin(asked: &'a RedeemAsked<'a>) -> (Self, RedeemQuestion) {
        let mut driver = Self { machine: AccessToken::new(asked), asked };
        let question = driver.advance(accesstoken::Input::None);
        (driver, question)
    }

    /// The client proved who it is before the machine was begun.
    pub(super) fn authenticated(&mut self) -> RedeemQuestion {
        self.advance(accesstoken::Input::Authenticated)
    }

    /// The terms under which the code was issued, if it is one.
    pub(super) fn recovered(&mut self, terms: Option<&CodeTerms<'_>>) -> RedeemQuestion {
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
    pub(super) fn issued(&mut self) -> RedeemQuestion {
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

/// What `/token` was asked with `grant_type=refresh_token`; the client is authenticated already.
pub(super) struct RefreshAsked<'a> {
    pub(super) client: &'a Client,
    pub(super) scope: Option<&'a str>,
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
pub(super) enum RefreshQuestion {
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
pub(super) struct Refresh<'a> {
    machine: refresh::Refresh,
    asked: &'a RefreshAsked<'a>,
}

impl<'a> Refresh<'a> {
    /// The machine and its first question.
    pub(super) fn begin(asked: &'a RefreshAsked<'a>) -> (Self, RefreshQuestion) {
        let mut driver = Self { machine: refresh::Refresh::new(asked), asked };
        let question = driver.advance(refresh::Input::None);
        (driver, question)
    }

    /// The client proved who it is before the machine was begun.
    pub(super) fn authenticated(&mut self) -> RefreshQuestion {
        self.advance(refresh::Input::Authenticated { scope: None })
    }

    /// The Grant that the token names, if there is one: to whom it was given, and for what.
    pub(super) fn recovered(&mut self, terms: Option<(&str, &Scope)>) -> RefreshQuestion {
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
    pub(super) fn issued(&mut self) -> RefreshQuestion {
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
