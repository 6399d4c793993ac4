//! Speaking to the provider as its client: the second PKCE flow.
//!
//! **Purpose.** To the identity provider this house is one ordinary app with a client id, a secret and one callback
//! address. This room knows how to be that app at any provider: where to send the browser (`begin`), how to turn the
//! code that comes back into tokens and a proven person (`finish`), how to renew the tokens and give them back
//! (`renew`). Providers differ in facts, not in code: each is one TOML file in `providers/`, read by [`provider`] and
//! completed by the operator's section through [`Preset::fill`](provider::Preset::fill) (D12). A new quirk is one named
//! value there, and one `match` here.
//!
//! ```text
//! Settings ─► Upstream ── begin ──► authorize URL ──► (the browser) ──► callback: iss, code
//!                │  known(): preset ∪ operator ∪ discovery, cached        │
//!                └─ finish ◄───────────────────────────────────────────────┘
//!                     exchange ─► answer (made standard) ─► id_token | userinfo ─► identity
//! ```
//!
//! **Neighbours.** `oauth` begins, finishes and gives back, `token` renews. The protocol is `openidconnect`'s and its
//! core `oauth2`'s; what providers write instead of the standard is straightened in `answer` before they see it. HTTP
//! is [`http`] alone, which `oauth` also uses for documents that strangers name.
//!
//! **Nevers.** Nothing that the MCP client sent goes up: [`Begin`] has no place for its `resource`, `scope` or
//! `prompt` (D8). Nothing that the provider said goes to a page: errors are our own words, its words are in
//! `cause`, for the log, and hold no code and no token (S29). No metadata is believed that names another issuer, no ID
//! token that is not signed by the provider's published key, no e-mail address as a name for a person. No failure is
//! remembered longer than seconds, and none at start-up matters: everything is fetched at the first need.

mod address;
pub mod answer;
mod begin;
mod cached;
mod exchange;
mod fill;
mod finish;
pub mod http;
mod id_token;
pub mod identity;
mod metadata;
pub mod presets;
pub mod provider;
mod renew;

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

pub use address::is_public;
use openidconnect::core::CoreJsonWebKeySet;
pub use provider::Provider;

use crate::domain::{Clock, HttpsUrl, Secret, UpstreamName};

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
    /// Which account is wanted.
    pub account: Account,
}

/// With which account the person is to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Account {
    /// Whichever the provider gives: mostly the one that the browser is logged in with.
    #[default]
    Any,
    /// Another than that one: the person asked for it, since the last one is not admitted.
    Another,
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
pub struct Upstreams(Arc<BTreeMap<UpstreamName, Arc<Upstream>>>);

impl Upstreams {
    /// One [`Upstream`] for each of the settings, all over one HTTP client. Nothing is fetched yet.
    #[must_use]
    pub fn new(settings: Vec<Settings>, http: http::Http, clock: Arc<dyn Clock>) -> Self {
        let one = |settings: Settings| {
            (settings.name.clone(), Arc::new(Upstream::new(settings, http.clone(), Arc::clone(&clock))))
        };
        Self(Arc::new(settings.into_iter().map(one).collect()))
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

/// How long metadata and keys count as fresh.
const FRESH: Duration = Duration::from_secs(3600);

/// The least time between two fetches of the keys for the sake of unknown key names (rule 14).
const KEY_PAUSE: Duration = Duration::from_secs(30);

/// A [`Provider`] and our credentials there.
pub struct Upstream {
    settings: Settings,
    http: http::Http,
    clock: Arc<dyn Clock>,
    known: cached::Cached<metadata::Known>,
    keys: cached::Cached<CoreJsonWebKeySet>,
}

impl Upstream {
    fn new(settings: Settings, http: http::Http, clock: Arc<dyn Clock>) -> Self {
        let known = cached::Cached::new(FRESH, Arc::clone(&clock));
        let keys = cached::Cached::new(FRESH, Arc::clone(&clock));
        Self { settings, http, clock, known, keys }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &UpstreamName {
        &self.settings.name
    }

    /// What people call it: "GitHub".
    #[must_use]
    pub fn title(&self) -> &str {
        &self.settings.provider.title
    }

    /// Its issuer, where it has one.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.settings.provider.issuer.as_deref()
    }

    /// Whether it can be asked to let people choose another account.
    #[must_use]
    pub fn can_switch_account(&self) -> bool {
        !self.settings.provider.switch_account.is_empty()
    }

    /// Whether the provider's metadata and keys can be had, for `check` and `/readyz`: one line a person can read.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn probe(&self) -> Result<String, Failed> {
        self.in_time(async {
            let known = self.known().await?;
            let place = known.authorize.host_str().unwrap_or_default();
            if self.settings.provider.protocol == provider::Protocol::Oidc {
                let keys = self.key_set(&known).await?.keys().len();
                return Ok(format!(
                    "{}: metadata fits its issuer, {keys} signing keys, login at {place}",
                    self.title()
                ));
            }
            // Plain OAuth publishes nothing; any answer of the token endpoint shows that it is there.
            let request =
                ::http::Request::get(known.token.as_str()).header("accept", "application/json").body(Vec::new());
            let request =
                request.map_err(|e| metadata::refused("its token endpoint is no address", Some(e.to_string())))?;
            let status = self.ask(request).await?.status().as_u16();
            Ok(format!("{}: answers (status {status}), login at {place}", self.title()))
        })
        .await
    }

    /// Our secret there, or nothing.
    fn secret(&self) -> &str {
        self.settings.client_secret.as_ref().map_or("", |secret| secret.expose())
    }

    /// The whole of an operation, bounded, however many requests it needs: `/token` answers within 10 s
    /// (behaviour 21). Boxed, because it holds a good deal on its way and callers hold it in turn.
    async fn in_time<T>(&self, operation: impl Future<Output = Result<T, Failed>> + Send) -> Result<T, Failed> {
        let operation: Pin<Box<dyn Future<Output = Result<T, Failed>> + Send + '_>> = Box::pin(operation);
        let patience = self.http.patience();
        match tokio::time::timeout(patience, operation).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failed::Unreachable { cause: format!("not complete within {patience:?}") }),
        }
    }
}
