//! The authorization server: who may have a Grant. (essay to be written by the room's builder)

pub mod error;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
pub use error::{Error, ErrorCode};

use crate::{
    crypto::{Keyring, Random},
    domain::{BrowserId, Client, Clock, HttpsUrl, Resource, Scope, Secret, uri::LoopbackHosts},
    store::Store,
    token::Mint,
    upstream::Upstreams,
};

/// How grants are given.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The public origin (and issuer), without a trailing slash in what we emit (D9).
    pub public_url: HttpsUrl,
    /// Whether and when the consent page is shown (D10).
    pub consent: ConsentMode,
    /// Whether clients may register themselves.
    pub registration: bool,
    /// Clients from the file, with the secret of confidential ones.
    pub clients: Vec<StaticClient>,
    /// Whether the loopback names stand for one another (behaviour 10).
    pub loopback_hosts: LoopbackHosts,
    /// Life of a code (60 s).
    pub code_life: Duration,
    /// Life of a login under way (10 min).
    pub request_life: Duration,
    /// Sliding life of a Grant (30 d).
    pub grant_life: Duration,
    /// How long a consent is remembered (90 d).
    pub consent_life: Duration,
}

/// `[consent] mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConsentMode {
    /// Ask, and remember for this browser, client, redirect host, resource and scope (CON-8).
    #[default]
    Remember,
    /// Ask every time.
    Always,
    /// Never ask. Spelt `dangerous_off` in the file (confused deputy, S1).
    Off,
}

/// A client that the operator wrote into the file (DCR-13).
#[derive(Debug, Clone)]
pub struct StaticClient {
    /// The client.
    pub client: Client,
    /// Its secret, if it authenticates.
    pub secret: Option<Secret<String>>,
}

/// The rooms it leans on.
pub struct Parts {
    /// Records.
    pub store: Store,
    /// Access tokens.
    pub mint: Mint,
    /// Providers.
    pub upstreams: Upstreams,
    /// Keys.
    pub keyring: Arc<Keyring>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// The protected MCP servers.
    pub resources: Arc<[Arc<Resource>]>,
}

/// One query string or form, in order, decoded; duplicates are still in it (AZ-9 is judged here, not in `web`).
pub type Parameters = Vec<(String, String)>;

/// The browser that is asking, known by our cookie or just met.
#[derive(Debug, Clone)]
pub struct Browser {
    /// Its name.
    pub id: BrowserId,
    /// The cookie value to set, if it is new.
    pub new_cookie: Option<Secret<String>>,
}

/// How the browser came here (`Sec-Fetch-Site`); an absent header counts as cross-site (S3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Navigation {
    /// `none`, `same-origin` or `same-site`.
    Local,
    /// Anything else.
    CrossSite,
}

/// What happens next to a human at the door. Steps never call one another: the stage decides (the dispatcher law).
#[derive(Debug)]
pub enum Step {
    /// Show the consent page.
    AskConsent(Box<ConsentPage>),
    /// Send the browser to the provider and leave it the cookie that its callback must bring back (CON-6).
    GoUpstream {
        /// The provider's authorize URL.
        url: String,
        /// Cookie of this one login.
        state_cookie: StateCookie,
    },
    /// Answer the client: `redirect_uri` with code or error, `state`, `iss`.
    Answer(Answer),
    /// Nobody can be answered: tell the human.
    Refuse(Refusal),
}

/// An answer to the client through the browser.
#[derive(Debug)]
pub struct Answer {
    /// The whole URL, parameters appended.
    pub url: String,
    /// How it gets there: private schemes end on a page with a button (CON-10, issue of Chrome and `cursor://`).
    pub is_private_scheme: bool,
    /// The client's name, for that page.
    pub client: String,
    /// The login whose state cookie can be dropped now, if any.
    pub done: Option<String>,
}

/// The cookie that binds one login to one browser: `name` has a per-login suffix, so parallel logins do not collide.
#[derive(Debug, Clone)]
pub struct StateCookie {
    /// Suffix of the cookie's name (the request id's beginning).
    pub suffix: String,
    /// Its value.
    pub value: Secret<String>,
    /// Its life.
    pub life: Duration,
}

/// What the consent page shows (CON-3, CIMD-12). All texts unescaped; `web` escapes them.
#[derive(Debug)]
pub struct ConsentPage {
    /// The sealed request, for the hidden field. It is bound to the browser, so it is the CSRF token too (CON-4).
    pub sealed_request: Secret<String>,
    /// The client's name, unverified.
    pub client: String,
    /// Whether an operator vouches for it (static client).
    pub is_static: bool,
    /// Where the answer goes: scheme and host.
    pub redirect_host: String,
    /// The whole redirect URI.
    pub redirect_uri: String,
    /// A program on this machine will receive it: warn.
    pub is_loopback: bool,
    /// Private-use scheme.
    pub is_private_scheme: bool,
    /// The MCP server's title.
    pub resource_title: String,
    /// Its identifier.
    pub resource: String,
    /// Our scopes.
    pub scopes: Scope,
    /// The provider's name for people.
    pub provider: String,
    /// What is asked of the provider, beyond identity.
    pub upstream_scopes: Vec<String>,
}

/// A page for a human who cannot be sent back (error before a redirect URI is proven; broken, foreign or used links).
#[derive(Debug)]
pub struct Refusal {
    /// The OAuth error, for those who read JSON; also gives the status.
    pub error: Error,
    /// Which page.
    pub page: RefusalPage,
}

/// The pages for people in trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusalPage {
    /// `client_id` unknown or unreadable: reset steps per client (behaviour 14).
    UnknownClient,
    /// `redirect_uri` is not the client's; both are named (n8n-2).
    BadRedirect {
        /// What was asked for.
        requested: String,
    },
    /// The form or link is too old.
    Expired,
    /// This login is finished already (behaviour 18).
    AlreadyDone,
    /// Begun in another browser (S2).
    OtherBrowser,
    /// The login at the provider failed and there is nobody to answer.
    ProviderFailed,
    /// Ours is the fault and it may pass: the store or a key does not answer (503, or 500).
    Unavailable,
    /// Anything else that is wrong with the request.
    BadRequest,
}

/// `Authorization: Basic`, both halves form-decoded (RFC 6749 §2.3.1).
#[derive(Debug)]
pub struct BasicCredentials {
    /// `client_id`.
    pub id: String,
    /// `client_secret`.
    pub secret: Secret<String>,
}

/// RFC 6749 §5.1.
#[derive(Debug, serde::Serialize)]
pub struct TokenResponse {
    /// The access token.
    #[serde(with = "crate::domain::secret::in_record")]
    pub access_token: Secret<String>,
    /// `Bearer`.
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: u64,
    /// Always said (TOK-1).
    pub scope: Scope,
    /// Where the client may refresh.
    #[serde(with = "crate::domain::secret::in_record_option", skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Secret<String>>,
}

/// The authorization server. One impl block per file.
pub struct AuthorizationServer {}

impl AuthorizationServer {
    /// Builds it; the metadata documents are made once, here.
    #[must_use]
    pub fn new(_settings: Settings, _parts: Parts) -> Self {
        todo!()
    }

    /// RFC 8414 and OIDC discovery: the same bytes everywhere (behaviour 3).
    #[must_use]
    pub fn metadata(&self) -> Bytes {
        todo!()
    }

    /// RFC 9728 for the Resource at `path` (empty or `/notes`); for the root also where PRM-11 lets it.
    #[must_use]
    pub fn protected_resource(&self, _path: &str) -> Option<Bytes> {
        todo!()
    }

    /// The published keys.
    #[must_use]
    pub fn jwks(&self) -> Bytes {
        todo!()
    }

    /// The browser behind a cookie of ours, or a new one.
    #[must_use]
    pub fn meet(&self, _cookie: Option<&str>) -> Browser {
        todo!()
    }

    /// RFC 7591 §3.1: the 201 document. Writes nothing (D2).
    ///
    /// # Errors
    /// `invalid_redirect_uri`, `invalid_client_metadata`, or registration is off.
    pub fn register(&self, _body: &[u8]) -> Result<Bytes, Error> {
        todo!()
    }

    /// `/authorize` (RFC 6749 §4.1.1).
    pub async fn authorize(&self, _parameters: &Parameters, _browser: &Browser, _navigation: Navigation) -> Step {
        todo!()
    }

    /// The human's answer: form fields `request` (sealed) and `decision` = `approve` | `deny`.
    pub async fn decide(&self, _form: &Parameters, _browser: &Browser) -> Step {
        todo!()
    }

    /// `/callback/{upstream}`. `state_cookie` looks up the cookie with that suffix.
    pub async fn callback(
        &self,
        _upstream: &str,
        _parameters: &Parameters,
        _browser: Option<&Browser>,
        _state_cookie: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Step {
        todo!()
    }

    /// `/token`: form or JSON, already flattened to parameters.
    ///
    /// # Errors
    /// RFC 6749 §5.2.
    pub async fn token(
        &self,
        _parameters: &Parameters,
        _basic: Option<BasicCredentials>,
    ) -> Result<TokenResponse, Error> {
        todo!()
    }
}
