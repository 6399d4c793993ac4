//! New tokens for old (RFC 6749 §6), and tokens given back (RFC 7009).

use oauth2::RefreshToken;
use url::Url;

use super::{
    Failed, Upstream, exchange,
    http::Request,
    metadata::refused,
    provider::{ClientAuth, ScopeAt},
};
use crate::domain::UpstreamTokens;

/// What providers say when a refresh token is dead for good; everything else may pass.
const DEAD: [&str; 3] = ["invalid_grant", "bad_refresh_token", "access_denied"];

impl Upstream {
    /// Spends the refresh token. What the answer leaves out stays as it was: the refresh token (rule 9) and the scope.
    ///
    /// # Errors
    /// [`Failed::Refused`] only when the refresh token is dead for good, or there is none: the Grant ends.
    /// Everything else, also a client secret that is no longer right and a page in place of an answer, is
    /// [`Failed::Unreachable`]: nothing is lost and it can be tried again (behaviour 24).
    pub async fn renew(&self, old: &UpstreamTokens) -> Result<UpstreamTokens, Failed> {
        let Some(refresh) = &old.refresh else { return Err(refused("there is no refresh token", None)) };
        self.in_time(async {
            let known = self.known().await.map_err(for_now)?;
            let rules = &self.settings.provider.token;
            let client = self.client(&known);
            let token = RefreshToken::new(refresh.expose().clone());
            let mut request = client.exchange_refresh_token(&token);
            if rules.scope_at != ScopeAt::Authorize {
                request = request.add_extra_param("scope", self.scope(&[]));
            }
            for (name, value) in &rules.refresh_params {
                request = request.add_extra_param(name, value);
            }
            let asked = self.clock.now();
            let outcome: exchange::Outcome = request.request_async(&exchange::Wire(self)).await;
            let answer = outcome.map_err(|e| {
                let told = exchange::told(&e, &[refresh.expose(), self.secret()]);
                match (exchange::refusal(&e), told) {
                    (Some(code), Failed::Refused { cause, .. }) if DEAD.contains(&code) => {
                        refused("the login at the provider has ended", cause)
                    }
                    (Some(code), Failed::Denied) => refused("the login at the provider has ended", Some(code.into())),
                    (_, other) => for_now(other),
                }
            })?;
            let mut tokens = self.tokens(&answer, asked);
            tokens.refresh = tokens.refresh.or_else(|| old.refresh.clone());
            tokens.scope = tokens.scope.or_else(|| old.scope.clone());
            Ok(tokens)
        })
        .await
    }

    /// Whether the provider has a revocation endpoint, as far as can be told now.
    pub async fn takes_back(&self) -> bool {
        self.known().await.is_ok_and(|known| known.revoke.is_some())
    }

    /// Gives the tokens back: the refresh token where there is one (that ends the rest, RFC 7009 §2.1), else the access
    /// token. A provider without a revocation endpoint is not asked.
    ///
    /// # Errors
    /// [`Failed`]; best effort, nothing depends on it.
    pub async fn revoke(&self, tokens: &UpstreamTokens) -> Result<(), Failed> {
        self.in_time(async {
            let known = self.known().await?;
            let Some(url) = &known.revoke else { return Ok(()) };
            let (token, hint) = match &tokens.refresh {
                Some(refresh) => (refresh, "refresh_token"),
                None => (&tokens.access, "access_token"),
            };
            let request = self.give_back(url, token.expose(), hint, known.client_auth);
            let answer = self.ask(request.map_err(|_| refused("the request cannot be written", None))?).await?;
            if answer.status().is_success() {
                return Ok(());
            }
            Err(refused("it did not take the token back", Some(format!("{} answered {}", url.path(), answer.status()))))
        })
        .await
    }

    /// The request of RFC 7009 §2.1. By hand: the crate refuses plain http, which a provider on loopback speaks.
    fn give_back(&self, url: &Url, token: &str, hint: &str, auth: ClientAuth) -> ::http::Result<Request> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("token", token).append_pair("token_type_hint", hint);
        let mut request = ::http::Request::post(url.as_str())
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded");
        if auth == ClientAuth::Basic && !self.secret().is_empty() {
            request = request.header("authorization", self.basic());
        } else {
            form.append_pair("client_id", &self.settings.client_id);
            if auth != ClientAuth::None && !self.secret().is_empty() {
                form.append_pair("client_secret", self.secret());
            }
        }
        request.body(form.finish().into_bytes())
    }

    /// RFC 6749 §2.3.1: both halves form-encoded, then Basic.
    fn basic(&self) -> String {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let half = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        format!("Basic {}", STANDARD.encode(format!("{}:{}", half(&self.settings.client_id), half(self.secret()))))
    }
}

/// A refusal that says nothing about the refresh token.
fn for_now(failed: Failed) -> Failed {
    match failed {
        Failed::Refused { what, cause } => {
            Failed::Unreachable { cause: format!("{what}: {}", cause.unwrap_or_default()) }
        }
        other => other,
    }
}
