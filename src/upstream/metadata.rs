//! What the provider says of itself: OpenID Connect Discovery 1.0 or, for plain OAuth, RFC 8414; and its key set. Checked
//! before anything is believed.
//!
//! Our own few fields instead of `openidconnect`'s metadata type: that one misses RFC 9207 and refuses a provider for
//! a field that nobody here reads.

use openidconnect::core::CoreJsonWebKeySet;
use serde::Deserialize;
use url::Url;

use super::{
    Failed, Upstream,
    http::{Answer, Request},
    provider::{ClientAuth, Protocol},
};
use crate::domain::HttpsUrl;

/// Everything needed to speak to the provider, from preset, operator and discovery together.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) authorize: Url,
    pub(super) token: Url,
    pub(super) userinfo: Option<Url>,
    pub(super) jwks: Option<Url>,
    pub(super) revoke: Option<Url>,
    /// Never [`ClientAuth::Auto`].
    pub(super) client_auth: ClientAuth,
    /// RFC 9207 §3: the provider promises `iss` in every callback.
    pub(super) promises_iss: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    jwks_uri: Option<String>,
    revocation_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    authorization_response_iss_parameter_supported: bool,
}

impl Upstream {
    /// What is known of the provider, discovered at the first need and every hour.
    pub(super) async fn known(&self) -> Result<std::sync::Arc<Known>, Failed> {
        self.known.get(self.learn()).await
    }

    async fn learn(&self) -> Result<Known, Failed> {
        let given = &self.settings.provider.endpoints;
        let known = given.authorize.is_some() && given.token.is_some();
        let metadata = match (self.settings.provider.protocol, &self.settings.provider.issuer) {
            (Protocol::Oidc, Some(issuer)) if !(known && given.jwks.is_some()) => {
                let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
                self.discover(issuer, &url).await?
            }
            (Protocol::Oauth, Some(issuer)) if !known => self.discover(issuer, &well_known(issuer)).await?,
            _ => Metadata::default(),
        };
        let pick = |given: &Option<Url>, found: &Option<String>| match given {
            Some(url) => Ok(Some(url.clone())),
            None => found.as_deref().map(|text| self.endpoint(text)).transpose(),
        };
        let needed = |endpoint: Option<Url>| endpoint.ok_or_else(|| refused("its metadata lacks an endpoint", None));
        Ok(Known {
            authorize: needed(pick(&given.authorize, &metadata.authorization_endpoint)?)?,
            token: needed(pick(&given.token, &metadata.token_endpoint)?)?,
            userinfo: pick(&given.userinfo, &metadata.userinfo_endpoint)?,
            jwks: pick(&given.jwks, &metadata.jwks_uri)?,
            revoke: pick(&given.revoke, &metadata.revocation_endpoint)?,
            client_auth: self.client_auth(metadata.token_endpoint_auth_methods_supported.as_deref()),
            promises_iss: metadata.authorization_response_iss_parameter_supported,
        })
    }

    async fn discover(&self, issuer: &str, url: &str) -> Result<Metadata, Failed> {
        let metadata: Metadata = self.document(url, "its metadata cannot be read").await?;
        // OIDC Discovery §4.3 and RFC 8414 §3.3, byte for byte: a slash more or less is another issuer (rule 13; UP-2).
        if metadata.issuer != issuer {
            let cause = format!("metadata at {url} names issuer {:?}, configured is {issuer:?}", cut(&metadata.issuer));
            return Err(refused("its metadata names another issuer", Some(cause)));
        }
        Ok(metadata)
    }

    /// An endpoint out of metadata: https, or plain http where the issuer itself is (a public provider must not turn us
    /// toward loopback; UP-7).
    fn endpoint(&self, text: &str) -> Result<Url, Failed> {
        let provider = &self.settings.provider;
        let plain = provider.dangerous_allow_http || provider.issuer.as_deref().is_some_and(|i| i.starts_with("http:"));
        match HttpsUrl::parse(text, plain) {
            Ok(url) if url.is_https() || plain => Ok(url.as_url().clone()),
            _ => Err(refused("its metadata names an unsafe endpoint", Some(format!("endpoint {:?}", cut(text))))),
        }
    }

    /// UP-6: the preset's word, else what metadata lists, else Basic (RFC 8414 §2).
    fn client_auth(&self, listed: Option<&[String]>) -> ClientAuth {
        let lists = |method: &str| listed.is_some_and(|listed| listed.iter().any(|m| m == method));
        match self.settings.provider.token.client_auth {
            ClientAuth::Auto if self.settings.client_secret.is_none() => ClientAuth::None,
            ClientAuth::Auto if !lists("client_secret_basic") && lists("client_secret_post") => ClientAuth::Post,
            ClientAuth::Auto => ClientAuth::Basic,
            chosen => chosen,
        }
    }

    /// The keys that sign ID tokens, refreshed every hour.
    pub(super) async fn key_set(&self, known: &Known) -> Result<std::sync::Arc<CoreJsonWebKeySet>, Failed> {
        self.keys.get(self.fetch_keys(known)).await
    }

    /// The keys anew, because a token names one that we do not know; at most every 30 s, so that forged key names
    /// cannot make us hammer the provider (rule 14).
    pub(super) async fn key_set_again(
        &self,
        known: &Known,
    ) -> Result<Option<std::sync::Arc<CoreJsonWebKeySet>>, Failed> {
        self.keys.again(super::KEY_PAUSE, self.fetch_keys(known)).await
    }

    async fn fetch_keys(&self, known: &Known) -> Result<CoreJsonWebKeySet, Failed> {
        let url = known.jwks.as_ref().ok_or_else(|| refused("its metadata names no keys", None))?;
        // Keys of unknown kinds are skipped by the type (rule 14).
        self.document(url.as_str(), "its keys cannot be read").await
    }

    /// A public JSON document of the provider's.
    async fn document<T: serde::de::DeserializeOwned>(&self, url: &str, what: &'static str) -> Result<T, Failed> {
        let request = ::http::Request::get(url).header("accept", "application/json").body(Vec::new());
        let request = request.map_err(|e| refused(what, Some(e.to_string())))?;
        let answer = self.ask(request).await?;
        if answer.status() != 200 {
            return Err(refused(what, Some(format!("{url} answered {}", answer.status()))));
        }
        serde_json::from_slice(answer.body()).map_err(|e| refused(what, Some(format!("{url}: {e}"))))
    }

    /// One request; an outage of any kind (no answer, 5xx, 429) is [`Failed::Unreachable`].
    pub(super) async fn ask(&self, request: Request) -> Result<Answer, Failed> {
        let place = place(&request);
        let answer = self.http.operator(request).await;
        let answer = answer.map_err(|e| Failed::Unreachable { cause: format!("{place}: {e}") })?;
        if answer.status().is_server_error() || answer.status() == 429 {
            return Err(Failed::Unreachable { cause: format!("{place} answered {}", answer.status()) });
        }
        Ok(answer)
    }
}

/// RFC 8414 §3.1: between the host and the path.
fn well_known(issuer: &str) -> String {
    let host = issuer.find("://").map_or(0, |at| at + 3);
    let path = issuer[host..].find('/').map_or(issuer.len(), |at| host + at);
    let (origin, path) = issuer.split_at(path);
    format!("{origin}/.well-known/oauth-authorization-server{}", path.trim_end_matches('/'))
}

/// Method, host and path: what a log may say of a request.
pub(super) fn place(request: &Request) -> String {
    let uri = request.uri();
    format!("{} {}{}", request.method(), uri.authority().map_or("", |a| a.as_str()), uri.path())
}

pub(super) fn refused(what: &'static str, cause: Option<String>) -> Failed {
    Failed::Refused { what, cause }
}

/// At most 200 characters of a stranger's text, on one line.
pub(super) fn cut(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::well_known;

    #[test]
    fn rfc8414_3_1_the_document_lies_between_host_and_path() {
        for (issuer, document) in [
            ("https://as.example", "https://as.example/.well-known/oauth-authorization-server"),
            ("https://as.example/", "https://as.example/.well-known/oauth-authorization-server"),
            ("https://as.example:8443/a/b", "https://as.example:8443/.well-known/oauth-authorization-server/a/b"),
            ("http://[::1]:9/a/", "http://[::1]:9/.well-known/oauth-authorization-server/a"),
        ] {
            assert_eq!(well_known(issuer), document);
        }
    }
}
