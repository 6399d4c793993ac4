//! `/authorize`: bind the client, PKCE (S256 and required), scope.

use std::borrow::Cow;

use oxide_auth::{
    code_grant::{
        authorization::{self, Authorization},
        error::AuthorizationErrorType,
        extensions::Pkce,
    },
    primitives::{
        grant::Extensions,
        registrar::{BoundClient, ExactUrl, PreGrant, RegisteredUrl},
    },
};

use crate::{
    domain::{Client, CodeChallenge, RedirectUri, Scope},
    oauth::ErrorCode,
};

/// What `/authorize` was asked, as far as RFC 6749 §4.1.1 and RFC 7636 §4.3 go; each parameter once.
pub(in crate::oauth) struct AuthorizeAsked<'a> {
    pub(in crate::oauth) client_id: &'a str,
    pub(in crate::oauth) response_type: Option<&'a str>,
    pub(in crate::oauth) scope: Option<&'a str>,
    pub(in crate::oauth) challenge: Option<&'a str>,
    pub(in crate::oauth) method: Option<&'a str>,
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

    /// The driver has bound it before, and answers with it: the machine would only parse it once more.
    fn redirect_uri(&self) -> Option<Cow<'_, str>> {
        None
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
pub(in crate::oauth) enum AuthorizeQuestion {
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
pub(in crate::oauth) struct Authorize<'a> {
    machine: Authorization,
    asked: &'a AuthorizeAsked<'a>,
    /// The bound redirect URI, kept for the second time that the machine wants it: making one parses it.
    redirect: Option<RegisteredUrl>,
}

impl<'a> Authorize<'a> {
    /// The machine and its first question.
    pub(in crate::oauth) fn begin(asked: &'a AuthorizeAsked<'a>) -> (Self, AuthorizeQuestion) {
        let mut driver = Self { machine: Authorization::new(asked), asked, redirect: None };
        let question = driver.advance(authorization::Input::None);
        (driver, question)
    }

    /// The client is known and `redirect` is its own.
    pub(in crate::oauth) fn bound(&mut self, client: &Client, redirect: &RedirectUri) -> AuthorizeQuestion {
        let Ok(url) = ExactUrl::new(redirect.as_str().to_owned()) else {
            return AuthorizeQuestion::Refused(ErrorCode::InvalidRequest, "redirect_uri must be absolute");
        };
        let url = self.redirect.insert(RegisteredUrl::Exact(url)).clone();
        let bound_client =
            BoundClient { client_id: Cow::Owned(client.id.as_str().to_owned()), redirect_uri: Cow::Owned(url) };
        self.advance(authorization::Input::Bound { request: self.asked, bound_client })
    }

    /// The client will get `scope`.
    pub(in crate::oauth) fn negotiated(&mut self, client: &Client, scope: &Scope) -> AuthorizeQuestion {
        let (Some(redirect_uri), Ok(scope)) = (self.redirect.take(), scope.to_string().parse()) else {
            return AuthorizeQuestion::Refused(ErrorCode::ServerError, "the scope could not be negotiated");
        };
        let pre_grant = PreGrant { client_id: client.id.as_str().to_owned(), redirect_uri, scope };
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
