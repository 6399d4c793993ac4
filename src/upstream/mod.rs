//! Speaking to the provider as its client: the second PKCE flow. (essay to be written by the room's builder)

mod fill;
pub mod http;
pub mod presets;
pub mod provider;

use std::{collections::BTreeMap, sync::Arc};

pub use provider::Provider;
use url::Url;

use crate::domain::{Clock, HttpsUrl, Identity, Secret, UpstreamName, UpstreamTokens};

/// One `[upstream.X]`, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `X`.
    pub name: UpstreamName,
    /// What is publicly known of the provider: a preset with its variables filled and its overrides applied.
    pub provider: Provider,
    /// Our client id there.
    pub client_id: String,
    /// Our secret there; absent for public apps.
    pub client_secret: Option<Secret<String>>,
    /// Our redirect URI there: `{public_url}/callback/{name}`.
    pub callback: HttpsUrl,
}

/// What goes into the authorize URL, beside the preset's own parameters. Nothing of the client's (UP-1, D8).
#[derive(Debug)]
pub struct Begin<'a> {
    /// Our `state`.
    pub state: &'a str,
    /// Our `nonce`, sent where the provider speaks OIDC.
    pub nonce: &'a str,
    /// Our PKCE verifier; the URL carries its S256.
    pub verifier: &'a Secret<String>,
    /// The Resource's own scopes at the provider.
    pub scopes: &'a [String],
}

/// What came back to our callback with a code.
#[derive(Debug)]
pub struct Finish<'a> {
    /// The provider's code.
    pub code: &'a str,
    /// RFC 9207 `iss`, if it came.
    pub iss: Option<&'a str>,
    /// The verifier of [`Begin`].
    pub verifier: &'a Secret<String>,
    /// The nonce of [`Begin`].
    pub nonce: &'a str,
}

/// Why the provider did not give us a person. Texts are ours and fit for a page; the provider's own words are in
/// `cause`, for the log only (S29).
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The person or the provider said no (`access_denied` and its kin).
    #[error("the provider denied the login")]
    Denied,
    /// The provider answered, but not as it must: bad code, wrong issuer, invalid ID token, error body.
    #[error("the provider refused: {what}")]
    Refused {
        /// What was wrong, in our words.
        what: &'static str,
        /// For the log.
        cause: Option<String>,
    },
    /// No answer, or a 5xx.
    #[error("the provider could not be reached")]
    Unreachable {
        /// For the log.
        cause: String,
    },
}

/// All configured upstreams by name. Cheap to clone.
#[derive(Clone)]
pub struct Upstreams(#[allow(dead_code)] Arc<BTreeMap<UpstreamName, Arc<Upstream>>>);

impl Upstreams {
    /// One [`Upstream`] for each of the settings, all over one HTTP client.
    #[must_use]
    pub fn new(_settings: Vec<Settings>, _http: http::Http, _clock: Arc<dyn Clock>) -> Self {
        todo!()
    }

    /// The upstream of that name.
    #[must_use]
    pub fn get(&self, name: &UpstreamName) -> Option<&Arc<Upstream>> {
        self.0.get(name)
    }

    /// All, in name order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.0.values()
    }
}

/// A [`Provider`] and our credentials there.
pub struct Upstream {}

impl Upstream {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &UpstreamName {
        todo!()
    }

    /// What people call it: "GitHub".
    #[must_use]
    pub fn title(&self) -> &str {
        todo!()
    }

    /// The URL to which the browser goes.
    ///
    /// # Errors
    /// [`Failed::Unreachable`] when discovery is needed and does not answer; [`Failed::Refused`] when it is wrong.
    pub async fn begin(&self, _begin: &Begin<'_>) -> Result<Url, Failed> {
        todo!()
    }

    /// RFC 9207 / UP-2, also for error answers: whether the `iss` of a callback is this provider's. To be asked before
    /// anything else in the answer is believed.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn check_iss(&self, _iss: Option<&str>) -> Result<(), Failed> {
        todo!()
    }

    /// Code to tokens and identity: exchange, ID token verified (UP-4) or userinfo read (UP-5). Checks `iss` first.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn finish(&self, _finish: &Finish<'_>) -> Result<(UpstreamTokens, Identity), Failed> {
        todo!()
    }

    /// Whether the provider's metadata and keys can be had, for `check` and `/readyz`: one line a person can read.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn probe(&self) -> Result<String, Failed> {
        todo!()
    }
}
