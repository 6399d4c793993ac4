//! A login that is kept: renewing it, printing its token, ending it.
//!
//! **One spender.** A refresh token that rotates is worth one request. Whoever spends it holds the record's lock from
//! before it is read until its successor is written, so a second process waits and then finds the successor. What came
//! is written before it is used or printed: a crash in between costs nothing.

use url::Url;

use super::{
    Desk, Done, Ended, Outcome,
    authorize::secret_of,
    keep::{Held, Login, Tokens},
    report::Report,
    rules as rule, say, token,
};
use crate::{cli::print, domain::Secret};

/// A token with less life than this, in seconds, is renewed before it is given away.
const MARGIN: u64 = 60;

impl Desk {
    /// Spends the refresh token now, unless another process did so meanwhile.
    pub(super) async fn refresh(&self, report: &mut Report) -> Outcome<Done> {
        let began = self.now();
        let held = self.keep.hold()?;
        let login = self.kept(held.read()?)?;
        let by_another = login.tokens.as_ref().is_some_and(|tokens| tokens.obtained_at > began);
        let login = if by_another { login } else { self.renewed(report, &held, login).await? };
        let tokens = self.tokens(&login)?;
        let words = match tokens.expires_at {
            Some(at) => format!("Renewed. The access token lives for {} s.", at.saturating_sub(self.now())),
            None => "Renewed. The server does not say how long the access token lives.".to_owned(),
        };
        let (scope, expires_at) = (tokens.scope.clone(), tokens.expires_at);
        let (issuer, kept_in) = (Some(login.issuer), Some(self.keep.to_string()));
        Ok(Done { server: None, issuer, scope, expires_at, kept_in, words })
    }

    /// An access token that lives, on stdout.
    pub(super) async fn print_token(&self, report: &mut Report) -> Outcome<Done> {
        // Without the lock first: a token that lives is printed while somebody else renews.
        let login = self.kept(self.keep.read()?)?;
        let login = if self.is_fresh(&login) { login } else { self.fresh(report).await? };
        let tokens = self.tokens(&login)?;
        print(tokens.access.expose())?;
        Ok(Done::default())
    }

    async fn fresh(&self, report: &mut Report) -> Outcome<Login> {
        let held = self.keep.hold()?;
        let login = self.kept(held.read()?)?;
        if self.is_fresh(&login) {
            return Ok(login);
        }
        let lives_yet = login.tokens.as_ref().and_then(|t| t.expires_at).is_some_and(|at| at > self.now());
        match self.renewed(report, &held, login.clone()).await {
            // An outage, while the old one is still good for some seconds.
            Err(Ended::Step(stopped)) if lives_yet && held.read()?.is_some_and(|kept| kept.tokens.is_some()) => {
                say(&format!("warning: not renewed: {stopped}"));
                Ok(login)
            }
            outcome => outcome,
        }
    }

    /// A token whose end is not known is taken to live; --refresh renews it.
    fn is_fresh(&self, login: &Login) -> bool {
        let ends = login.tokens.as_ref().map(|tokens| tokens.expires_at);
        ends.is_some_and(|ends| ends.is_none_or(|at| at > self.now() + MARGIN))
    }

    /// Renews, writes, gives.
    async fn renewed(&self, report: &mut Report, held: &Held<'_>, mut login: Login) -> Outcome<Login> {
        let refresh = match &self.tokens(&login)?.refresh {
            Some(refresh) => refresh.clone(),
            None => return Err(self.again("there is no refresh token").into()),
        };
        report.step("refresh");
        let endpoint = self.admitted(&login.token_endpoint)?;
        report.asked(format!("POST {endpoint} (grant_type refresh_token, resource {})", login.resource));
        let answer = match token::renew(&self.wire, &login, &endpoint, &refresh).await {
            Ok(answer) => answer,
            Err(error) => {
                if token::is_final(&error) {
                    // Nothing that is kept works any more. The client may, unless that is what was refused.
                    login.tokens = None;
                    held.write(&login)?;
                }
                let told = token::told(&error, &[refresh.expose(), secret_of(&login.client)]);
                return Err(report.fails(&rule::REFRESHED, told).into());
            }
        };
        report.meets(&rule::REFRESHED, "one came");
        let asked = token::Asked {
            resource: &login.resource,
            scope: None,
            spent: Some(&refresh),
            is_public: login.client.secret.is_none(),
        };
        let scope = login.tokens.as_ref().and_then(|tokens| tokens.scope.clone());
        // The predecessor is spent: what came is written down whatever there is to say about it.
        let judged = token::judged(&self.wire, report, &answer, asked, self.now());
        let mut tokens = match judged {
            Ok(tokens) => tokens,
            Err(stopped) => {
                login.tokens = Some(rescued(&answer, &refresh, self.now()));
                held.write(&login)?;
                return Err(stopped.into());
            }
        };
        tokens.scope = tokens.scope.or(scope);
        login.tokens = Some(tokens);
        held.write(&login)?;
        Ok(login)
    }

    /// Gives the tokens back (RFC 7009) and forgets them, which happens in any case.
    pub(super) async fn log_out(&self, report: &mut Report) -> Outcome<Done> {
        let held = self.keep.hold()?;
        let login = held.read();
        held.forget()?;
        let Some(login) = login? else {
            let words = format!("There was no login at {}.", self.url);
            return Ok(Done { words, ..Done::default() });
        };
        report.step("revoke");
        let endpoint = match &login.revocation_endpoint {
            Some(named) => self.admitted(named)?,
            None => {
                report.notes(&rule::REVOCABLE, "none");
                let words = "Forgotten. The server has no way to be told (RFC 7009).".to_owned();
                return Ok(Done { words, ..Done::default() });
            }
        };
        let outcome = token::revoke(&self.wire, &login, &endpoint).await;
        let came = match &outcome {
            Ok(status) => status.to_string(),
            Err(why) => why.to_string(),
        };
        report.asked(format!("POST {endpoint} → {came}"));
        if outcome.is_ok_and(|status| status.is_success()) {
            report.meets(&rule::REVOKED, came);
            return Ok(Done { words: "Revoked and forgotten.".to_owned(), ..Done::default() });
        }
        Err(report.fails(&rule::REVOKED, format!("{came}; forgotten here all the same")).into())
    }

    fn kept(&self, login: Option<Login>) -> anyhow::Result<Login> {
        login.ok_or_else(|| self.again("there is no login"))
    }

    fn tokens<'a>(&self, login: &'a Login) -> anyhow::Result<&'a Tokens> {
        login.tokens.as_ref().ok_or_else(|| self.again("the login has ended"))
    }

    fn again(&self, why: &str) -> anyhow::Error {
        anyhow::anyhow!("{why} at {url}: run `vestibule login {url}`", url = self.url)
    }

    fn admitted(&self, endpoint: &str) -> anyhow::Result<Url> {
        self.wire.admits(endpoint).map_err(|why| anyhow::anyhow!("{why}"))
    }
}

/// The tokens of an answer that was not liked.
fn rescued(answer: &oauth2::basic::BasicTokenResponse, spent: &Secret<String>, now: u64) -> Tokens {
    use oauth2::TokenResponse as _;
    let refresh = answer.refresh_token().map(|token| Secret::new(token.secret().clone()));
    Tokens {
        access: Secret::new(answer.access_token().secret().clone()),
        refresh: Some(refresh.unwrap_or_else(|| spent.clone())),
        scope: None,
        obtained_at: now,
        expires_at: answer.expires_in().map(|life| now.saturating_add(life.as_secs())),
    }
}
