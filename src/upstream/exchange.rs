//! The token endpoint (RFC 6749 §4.1.3 and §6): one client of `oauth2`, one way to ask, one way to tell what went wrong.

use std::pin::Pin;

use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, ClientId, ClientSecret, EndpointNotSet, EndpointSet, ExtraTokenFields,
    HttpRequest, RedirectUrl, RequestTokenError, StandardRevocableToken, StandardTokenResponse, TokenResponse as _,
    TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType},
};
use serde::{Deserialize, Serialize};

use super::{
    Failed, Upstream, answer,
    http::Answer,
    metadata::{Known, cut, place, refused},
    provider::ClientAuth,
};
use crate::domain::{Instant, Secret, UpstreamTokens};

/// Beyond RFC 6749: the ID token (OIDC Core §3.1.3.3), left as text until it is verified.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct WithIdToken {
    #[serde(default)]
    id_token: Option<String>,
}

impl std::fmt::Debug for WithIdToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WithIdToken(***)")
    }
}

impl ExtraTokenFields for WithIdToken {}

/// A token answer.
pub(super) type Tokens = StandardTokenResponse<WithIdToken, BasicTokenType>;

/// The client of our leg; the states of its endpoints are spelt here and nowhere else.
pub(super) type Client = oauth2::Client<
    BasicErrorResponse,
    Tokens,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// Why the token endpoint gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// No answer, 5xx, 429.
    #[error("{0}")]
    Away(String),
    /// An answer that is no token answer.
    #[error("{0}")]
    Odd(String),
}

/// What `oauth2` says of an exchange.
pub(super) type Outcome = Result<Tokens, RequestTokenError<Trouble, BasicErrorResponse>>;

/// [`Http`](super::http::Http) as `oauth2` wants it: sends what the crate made and hands back what it can read.
pub(super) struct Wire<'a>(pub(super) &'a Upstream);

impl<'c> AsyncHttpClient<'c> for Wire<'_> {
    type Error = Trouble;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Trouble>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let place = place(&request);
            let answer = self.0.ask(request).await.map_err(|failed| match failed {
                Failed::Unreachable { cause } => Trouble::Away(cause),
                other => Trouble::Odd(other.to_string()),
            })?;
            answer::by_the_book(&answer).map_err(|e| Trouble::Odd(format!("{place}: {e}")))
        })
    }
}

impl Upstream {
    /// Our client as `oauth2` knows it, built for each use from what is known by then.
    pub(super) fn client(&self, known: &Known) -> Client {
        let settings = &self.settings;
        let mut client = oauth2::Client::new(ClientId::new(settings.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(known.authorize.clone()))
            .set_token_uri(TokenUrl::from_url(known.token.clone()))
            .set_redirect_uri(RedirectUrl::from_url(settings.callback.as_url().clone()))
            // `Basic` form-encodes both halves first (RFC 6749 §2.3.1).
            .set_auth_type(if known.client_auth == ClientAuth::Basic {
                AuthType::BasicAuth
            } else {
                AuthType::RequestBody
            });
        if let Some(secret) = settings.client_secret.as_ref().filter(|_| known.client_auth != ClientAuth::None) {
            client = client.set_client_secret(ClientSecret::new(secret.expose().clone()));
        }
        client
    }

    /// Tokens of ours out of an answer; ends are counted by our clock from when it was `asked` for: an answer that took
    /// its time, or a machine that slept over it, must not make a token live longer.
    pub(super) fn tokens(&self, answer: &Tokens, asked: Instant) -> UpstreamTokens {
        let scope = answer.scopes().map(|scopes| scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(" "));
        UpstreamTokens {
            access: Secret::new(answer.access_token().secret().clone()),
            refresh: answer.refresh_token().map(|token| Secret::new(token.secret().clone())),
            expires: answer.expires_in().map(|life| asked + life),
            scope,
        }
    }
}

/// The ID token of an answer, unverified.
pub(super) fn id_token(answer: &Tokens) -> Option<&str> {
    answer.extra_fields().id_token.as_deref()
}

/// The provider's refusal, if that is what it was: its code.
pub(super) fn refusal(error: &RequestTokenError<Trouble, BasicErrorResponse>) -> Option<&str> {
    match error {
        RequestTokenError::ServerResponse(told) => Some(told.error().as_ref()),
        _ => None,
    }
}

/// Our words for the page, the provider's for the log, without any of the `secrets` that were sent: an error text may
/// quote what it refuses (S29).
pub(super) fn told(error: &RequestTokenError<Trouble, BasicErrorResponse>, secrets: &[&str]) -> Failed {
    match error {
        RequestTokenError::Request(Trouble::Away(cause)) => Failed::Unreachable { cause: cause.clone() },
        RequestTokenError::Request(Trouble::Odd(cause)) => {
            refused("the answer of its token endpoint cannot be read", Some(cause.clone()))
        }
        RequestTokenError::ServerResponse(told) => {
            let code: &str = told.error().as_ref();
            let what = match code {
                "access_denied" => return Failed::Denied,
                "invalid_client" | "unauthorized_client" | "incorrect_client_credentials" => {
                    "it does not accept our client id and secret"
                }
                "redirect_uri_mismatch" => "it does not know our callback address",
                "invalid_grant" | "bad_verification_code" => {
                    "it does not accept the code; the login has to be begun again"
                }
                _ => "it refused to give tokens",
            };
            let words = told.error_description().map_or("", String::as_str);
            let mut cause = cut(&format!("{code}: {words}"));
            for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
                cause = cause.replace(secret, "***");
            }
            refused(what, Some(cause))
        }
        // The body is in the error and holds whatever it holds: only the place of the fault is told.
        RequestTokenError::Parse(fault, _) => {
            let cause = format!("unexpected value at {:?}", fault.path().to_string());
            refused("the answer of its token endpoint cannot be read", Some(cause))
        }
        RequestTokenError::Other(_) => refused("the answer of its token endpoint cannot be read", None),
    }
}
