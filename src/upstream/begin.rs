//! The authorize URL of our leg (RFC 6749 §4.1.1, RFC 7636 §4.3, OIDC Core §3.1.2.1), and the check of `iss` when the
//! browser comes back (RFC 9207).

use oauth2::{CsrfToken, PkceCodeChallenge, PkceCodeVerifier, Scope};
use url::Url;

use super::{
    Account, Begin, Failed, Upstream,
    metadata::{cut, refused},
    provider::{Pkce, Protocol},
};
use crate::domain::CodeVerifier;

impl Upstream {
    /// The URL to which the browser goes. It holds what [`Begin`] and the preset say, and nothing else: there is no way
    /// for the client's `resource`, `scope` or `prompt` to come in here (D8, behaviour 20).
    ///
    /// # Errors
    /// [`Failed::Unreachable`] when discovery is needed and does not answer; [`Failed::Refused`] when it is wrong.
    pub async fn begin(&self, begin: &Begin<'_>) -> Result<Url, Failed> {
        let known = self.known().await?;
        let provider = &self.settings.provider;
        let client = self.client(&known);
        let mut request = client.authorize_url(|| CsrfToken::new(begin.state.to_owned()));
        let scope = self.scope(begin.scopes);
        if !scope.is_empty() {
            // Already joined: the crate would always put spaces.
            request = request.add_scope(Scope::new(scope));
        }
        if provider.pkce == Pkce::S256 {
            request = request.set_pkce_challenge(challenge(begin)?);
        }
        if provider.protocol == Protocol::Oidc {
            request = request.add_extra_param("nonce", begin.nonce);
        }
        let switching = Some(&provider.switch_account).filter(|_| begin.account == Account::Another);
        let replaced = |name: &String| switching.is_some_and(|switching| switching.contains_key(name));
        let params = provider.params.iter().filter(|(name, _)| !replaced(name));
        for (name, value) in params.chain(switching.into_iter().flatten()) {
            request = request.add_extra_param(name, value);
        }
        let (mut url, _) = request.url();
        // `+` for a space is a habit of forms. Cognito joins scopes by %20 only, everyone else takes it too.
        let query = url.query().unwrap_or_default().replace('+', "%20");
        url.set_query(Some(&query));
        Ok(url)
    }

    /// Identity scopes, offline scopes, then the Resource's own, each once, as the preset separates them.
    pub(super) fn scope(&self, own: &[String]) -> String {
        let rules = &self.settings.provider.scope;
        let mut scopes: Vec<&str> = Vec::new();
        for scope in rules.identity.iter().chain(&rules.offline).chain(own) {
            if !scopes.contains(&scope.as_str()) {
                scopes.push(scope);
            }
        }
        scopes.join(rules.separator.as_str())
    }

    /// RFC 9207 §2.4 / UP-2, also for error answers: whether the `iss` of a callback is this provider's. To be asked
    /// before anything else in the answer is believed. Four rows: promised or not, present or not; plain string
    /// comparison, no normalisation.
    ///
    /// # Errors
    /// [`Failed::Refused`] for another issuer, or none where one was promised; [`Failed::Unreachable`] when it cannot
    /// be known whether one was promised.
    pub async fn check_iss(&self, iss: Option<&str>) -> Result<(), Failed> {
        match (iss, &self.settings.provider.issuer) {
            (Some(iss), Some(issuer)) if iss == issuer => Ok(()),
            (Some(iss), Some(_)) => {
                Err(refused("the answer came from another issuer", Some(format!("iss is {:?}", cut(iss)))))
            }
            // Nothing to compare with: a plain OAuth preset without an issuer. Its own callback path keeps it apart (UP-3).
            (Some(_), None) => Ok(()),
            (None, _) if self.known().await?.promises_iss => {
                Err(refused("the answer does not say from which issuer it comes", None))
            }
            (None, _) => Ok(()),
        }
    }
}

/// The S256 of our verifier, whose shape is looked at first: the crate panics on a wrong one.
fn challenge(begin: &Begin<'_>) -> Result<PkceCodeChallenge, Failed> {
    let verifier = CodeVerifier::parse(begin.verifier.expose());
    let verifier = verifier.map_err(|e| refused("our own PKCE verifier is malformed", Some(e.to_string())))?;
    Ok(PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.expose().to_owned())))
}
