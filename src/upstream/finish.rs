//! Code to tokens and person (RFC 6749 §4.1.3, OIDC Core §3.1.3).

use oauth2::{AuthorizationCode, PkceCodeVerifier, TokenResponse as _};
use serde_json::Value;

use super::{
    Failed, Finish, Upstream, exchange,
    exchange::Tokens,
    identity,
    metadata::{Known, refused},
    provider::{Pkce, Protocol, Refresh, ScopeAt, Source},
};
use crate::domain::{Identity, Instant, UpstreamTokens};

impl Upstream {
    /// Code to tokens and identity: exchange, ID token verified (UP-4) or userinfo read (UP-5). Checks `iss` first.
    ///
    /// # Errors
    /// [`Failed`]; the code is then spent and the person has to begin again.
    pub async fn finish(&self, finish: &Finish<'_>) -> Result<(UpstreamTokens, Identity), Failed> {
        self.in_time(async {
            self.check_iss(finish.iss).await?;
            let known = self.known().await?;
            let asked = self.clock.now();
            let answer = self.redeem(&known, finish).await?;
            let identity = self.person(&known, &answer, finish.nonce).await?;
            let tokens = self.tokens(&answer, asked);
            if tokens.refresh.is_none() && self.settings.provider.token.refresh != Refresh::Absent {
                // Rule 17: without one the login ends with this access token, and nobody would know why.
                tracing::warn!(upstream = %self.name(), "the provider gave no refresh token");
            }
            Ok((tokens, identity))
        })
        .await
    }

    /// The person of an ID token that somebody else got for our app there, and when it ends (RFC 8693; TX-1).
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn person_of_id_token(&self, token: &str) -> Result<(Identity, Instant), Failed> {
        self.in_time(async {
            if self.settings.provider.protocol != Protocol::Oidc {
                return Err(refused("it knows no ID tokens", None));
            }
            let known = self.known().await?;
            let claims = self.claims_brought(&known, token).await?;
            let ends =
                claims.get("exp").and_then(Value::as_f64).ok_or_else(|| refused("its ID token has no end", None))?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate")]
            let ends = Instant::from_secs((ends as u64).min(1 << 40));
            Ok((identity::read(&self.settings.provider.identity, self.name(), &[&claims])?, ends))
        })
        .await
    }

    /// The person of an access token that somebody else got there, as the provider's userinfo tells. For which app it was
    /// made nobody tells: only for those who are trusted with that (TX-1).
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn person_of_access_token(&self, token: &str) -> Result<Identity, Failed> {
        self.in_time(async {
            let known = self.known().await?;
            let info = self.userinfo(&known, token).await?;
            let mut person = identity::read(&self.settings.provider.identity, self.name(), &[&info])?;
            if let Some(email) = self.listed_email(token).await? {
                (person.email, person.email_verified) = (Some(email), true);
            }
            Ok(person)
        })
        .await
    }

    async fn redeem(&self, known: &Known, finish: &Finish<'_>) -> Result<Tokens, Failed> {
        let rules = &self.settings.provider.token;
        let client = self.client(known);
        let mut request = client.exchange_code(AuthorizationCode::new(finish.code.to_owned()));
        if self.settings.provider.pkce == Pkce::S256 {
            request = request.set_pkce_verifier(PkceCodeVerifier::new(finish.verifier.expose().clone()));
        }
        if rules.scope_at == ScopeAt::Always {
            request = request.add_extra_param("scope", self.scope(&[]));
        }
        for (name, value) in &rules.params {
            request = request.add_extra_param(name, value);
        }
        let outcome: exchange::Outcome = request.request_async(&exchange::Wire(self)).await;
        outcome.map_err(|e| exchange::told(&e, &[finish.code, finish.verifier.expose(), self.secret()]))
    }

    async fn person(&self, known: &Known, answer: &Tokens, nonce: &str) -> Result<Identity, Failed> {
        let (name, rules) = (self.name(), &self.settings.provider.identity);
        let token = answer.access_token().secret();
        if self.settings.provider.protocol == Protocol::Oauth {
            let mut person = identity::read(rules, name, &[&self.userinfo(known, token).await?])?;
            if let Some(email) = self.listed_email(token).await? {
                (person.email, person.email_verified) = (Some(email), true);
            }
            return Ok(person);
        }
        let claims = self.verified_claims(known, answer, nonce).await?;
        if rules.source == Source::IdToken && (known.userinfo.is_none() || !identity::has_gaps(rules, &claims)) {
            return identity::read(rules, name, &[&claims]);
        }
        let info = match self.userinfo(known, token).await {
            // The ID token says who it is; userinfo only fills gaps (rule 12), and may be closed to our scopes.
            Err(Failed::Refused { cause, .. }) if rules.source == Source::IdToken => {
                tracing::warn!(upstream = %name, cause, "userinfo gives nothing");
                return identity::read(rules, name, &[&claims]);
            }
            other => other?,
        };
        // OIDC Core §5.3.2: stops an answer about someone else from lending its address to this person.
        if info.pointer("/sub") != claims.pointer("/sub") {
            return Err(refused("its userinfo speaks of another person", None));
        }
        match rules.source {
            Source::IdToken => identity::read(rules, name, &[&claims, &info]),
            Source::Userinfo => identity::read(rules, name, &[&info, &claims]),
        }
    }

    async fn userinfo(&self, known: &Known, token: &str) -> Result<Value, Failed> {
        let url = known.userinfo.as_ref().ok_or_else(|| refused("it has no userinfo endpoint", None))?;
        self.read_with(url, token).await
    }

    /// Where the preset names an e-mail list: the primary, verified address of it, which profiles often hide.
    async fn listed_email(&self, token: &str) -> Result<Option<String>, Failed> {
        let Some(url) = &self.settings.provider.endpoints.emails else { return Ok(None) };
        match self.read_with(url, token).await {
            Ok(emails) => Ok(identity::primary_email(&emails)),
            // A GitHub App without the permission: the login goes on, with what the profile says, unverified.
            Err(Failed::Refused { cause, .. }) => {
                tracing::warn!(upstream = %self.name(), cause, "the e-mail list gives nothing");
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// A JSON document readable with the person's fresh access token.
    async fn read_with(&self, url: &url::Url, token: &str) -> Result<Value, Failed> {
        const WHAT: &str = "it does not tell who the person is";
        let request = ::http::Request::get(url.as_str())
            .header("accept", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .body(Vec::new());
        // The error of a header that cannot be would quote it.
        let answer = self.ask(request.map_err(|_| refused(WHAT, None))?).await?;
        if !answer.status().is_success() {
            return Err(refused(WHAT, Some(format!("{} answered {}", url.path(), answer.status()))));
        }
        serde_json::from_slice(answer.body()).map_err(|_| refused(WHAT, Some(format!("{} is not JSON", url.path()))))
    }
}
