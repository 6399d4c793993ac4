//! The authorization server: who may have a Grant.
//!
//! **Purpose.** Clients register (`register`, RFC 7591; `admission` says who may, `manage` is RFC 7592), send their human to `/authorize` (`authorize`), the human
//! says yes or no (`consent`), logs in at the provider and comes back (`callback`), and the client redeems its code
//! at `/token` (`grant`), refreshes there, and gives back at `/revoke` (`revoke`). A client without a browser shows a code
//! for its human to type elsewhere, and polls (`device`). Where nobody logs in here, a client of the operator's acts for itself,
//! or somebody whom the operator trusts speaks for a person or a workload (`issuer`; jwt-bearer and token exchange, both in
//! `grant`): such a Grant has no provider's token, ends with its one access token, and opens no server that is handed
//! one. `introspect` tells what a token is
//! worth, `metadata` tells all this to strangers. `oxide-auth` judges the order of the checks; what it gets wrong for
//! MCP clients is mended in `machine`, the only room that names it.
//!
//! **One login, one value.** An `AuthorizationRequest` is checked once and carries all that was decided. Until its human
//! agrees it travels *sealed in the consent form*, so a stranger's `/authorize` writes nothing, and because the browser
//! is named inside the seal, it is the CSRF token as well. From the approval on it is a record, until one callback takes
//! it out. Steps never call one another: each returns a [`Step`], and the stage decides which comes next.
//!
//! **What decides.** Each flow has exactly one deciding step in the Store: the callback *takes* the request, `/token`
//! swaps a Grant from `Issued` to `Active`, a refresh turns its chain of refresh tokens. Of many who try at once one
//! wins; the others are told so, kindly where they are people, and within the grace of a refresh they get what the
//! winner got. Credentials bear a MAC, so a forgery never reaches the Store and kills nothing (S11).
//!
//! A client may prove with a key that tokens shall be bound to (DPoP, RFC 9449): the proof is judged in `token`, whose tokens
//! are bound is decided in `grant::holder`, and to be bound is never undone by coming without a proof.
//!
//! **Neighbours.** Leans on `token` (mint), `store`, `upstream`, `crypto` and `domain`; is called by `web`.
//!
//! **Nevers.** No HTTP types, no `proxy`, no `config`. Nothing is redirected to but a `RedirectUri` that the client
//! registered, looked at again at every stage (AZ-4, S7). The client's `scope`, `resource` and `prompt` never go upstream
//! (D8), and the provider's words never go to the client (S29). No URL is computed from a request header (D9).

mod admission;
mod assertion;
mod authenticate;
mod authorize;
mod callback;
mod client;
mod consent;
mod device;
mod document;
mod elsewhere;
pub mod error;
mod form;
mod grant;
mod introspect;
mod issuer;
mod machine;
mod manage;
mod metadata;
pub mod pace;
mod parameters;
mod policy;
mod register;
mod revoke;
mod setback;
mod step;

use std::{collections::HashMap, sync::Arc, time::Duration};

pub use admission::{Gate, Manage, RedirectRules, Registration};
use bytes::Bytes;
pub use device::{DeviceAuthorization, DeviceSettings};
use document::ClientDocuments;
#[cfg(fuzzing)]
pub use document::read_document;
pub use document::{Accept, Advertise, CimdSettings};
pub use error::{Error, ErrorCode};
use governor::DefaultDirectRateLimiter;
pub use grant::{BasicCredentials, TokenResponse};
pub use introspect::{Confirmation, Introspection, Said};
pub use issuer::{Introduction, SpeaksFor, TrustedIssuer};
pub use pace::Pace;
use pace::Turnstile;
pub use parameters::Parameters;
pub use step::{
    Answer, Asker, Browser, ConsentPage, Destination, DeviceEnd, DeviceSetback, DocumentHost, Navigation, Refusal,
    RefusalPage, Setback, StateCookie, Step, UserCodePage, UserCodeTrouble,
};

use crate::{
    crypto::{Keyring, Random, jwt::published::PublishedKeys},
    domain::{Client, ClientId, Clock, DocumentUrl, HttpsUrl, Resource, Secret, UpstreamName},
    store::Store,
    token::Mint,
    upstream::{Upstreams, http::Http},
};

/// How grants are given.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The public origin (and issuer), without a trailing slash in what we emit (D9).
    pub public_url: HttpsUrl,
    /// Whether and when the consent page is shown (D10).
    pub consent: ConsentMode,
    /// Who may register, and where strangers' answers may go.
    pub registration: Registration,
    /// Clients that are described by documents of their own.
    pub cimd: CimdSettings,
    /// Clients from the file, with the secret of confidential ones.
    pub clients: Vec<StaticClient>,
    /// Whose word stands in for a login.
    pub issuers: Vec<TrustedIssuer>,
    /// Whether clients have to name the resource that they want.
    pub named_resource: NamedResource,
    /// Where clients may put their secret.
    pub secret_by: SecretBy,
    /// How often one client or one person is served.
    pub pace: Pace,
    /// Life of a code (60 s).
    pub code_life: Duration,
    /// Life of a login under way (10 min).
    pub request_life: Duration,
    /// Sliding life of a Grant (30 d): from the last refresh on.
    pub grant_life: Duration,
    /// Absolute life of a Grant (90 d): from the login on, however often it is refreshed (RT-5).
    pub absolute_life: Duration,
    /// How long a rotated refresh token still yields its successor (60 s; 0 is strict: never) (RT-3).
    pub refresh_grace: Duration,
    /// How long a consent is remembered (90 d).
    pub consent_life: Duration,
    /// Logins for devices without a browser, if they are offered.
    pub device: Option<DeviceSettings>,
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

/// `[tokens] resource`. MCP clients must name it (RI-1), and some do not; RFC 8707 leaves it to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NamedResource {
    /// Without it the default Resource is meant, if there is one.
    #[default]
    Optional,
    /// Without it, `invalid_target`: wherever something new is granted.
    Required,
}

/// `[tokens] client_secret`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecretBy {
    /// In the header or in the form, as the client registered (behaviour 8).
    #[default]
    Registered,
    /// In either, whatever the client registered: for clients whose documentation says one thing and whose code another.
    Either,
}

/// A client that the operator wrote into the file (DCR-13).
#[derive(Debug, Clone)]
pub struct StaticClient {
    /// The client.
    pub client: Client,
    /// Its secret, if it authenticates with one.
    pub secret: Option<Secret<String>>,
    /// Its keys, if it authenticates with `private_key_jwt`.
    pub keys: Option<ClientKeys>,
    /// Whose tokens it may exchange.
    pub exchange: Exchange,
}

/// Whose tokens a client may exchange for ours (RFC 8693; TX-1). Nobody's, unless the operator names them.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    /// Upstreams, whose ID tokens count, and issuers, whose JWTs do.
    pub from: Vec<UpstreamName>,
    /// Whether access tokens count that only the upstream's userinfo understands.
    pub access_tokens: bool,
}

/// What a client's assertions are judged by (RFC 7523 §3).
#[derive(Debug, Clone)]
pub struct ClientKeys {
    /// Where its keys are.
    pub source: KeySource,
    /// Whether its assertions may name the token endpoint as their audience instead of the issuer (CC-2).
    pub endpoint_audience: bool,
}

/// Where a client's public keys are.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// In the configuration, or in the client's document.
    Inline(Arc<PublishedKeys>),
    /// At an address that the client's document names: fetched as a stranger's.
    Published(DocumentUrl),
    /// At an address that the operator wrote down: it may be in a private network.
    Configured(HttpsUrl),
}

/// The rooms it leans on.
pub struct Parts {
    /// Records.
    pub store: Store,
    /// Access tokens.
    pub mint: Mint,
    /// Providers.
    pub upstreams: Upstreams,
    /// The way to clients' documents.
    pub http: Http,
    /// Keys.
    pub keyring: Arc<Keyring>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// The protected MCP servers.
    pub resources: Arc<[Arc<Resource>]>,
}

/// The authorization server. One impl block per file.
pub struct AuthorizationServer {
    settings: Settings,
    parts: Parts,
    /// Our issuer, byte for byte as every document, `iss` and audience has it (behaviour 3).
    issuer: String,
    documents: metadata::Documents,
    statics: HashMap<ClientId, StaticClient>,
    client_documents: ClientDocuments,
    removals: DefaultDirectRateLimiter,
    by_client: Turnstile<String>,
    by_subject: Turnstile<String>,
}

impl AuthorizationServer {
    /// Builds it; the metadata documents are made once, here.
    #[must_use]
    pub fn new(settings: Settings, parts: Parts) -> Self {
        let issuer = settings.public_url.trimmed().to_owned();
        let documents = metadata::Documents::of(&settings, &parts);
        let statics = settings.clients.iter().map(|known| (known.client.id.clone(), known.clone())).collect();
        let (http, store, clock) = (parts.http.clone(), parts.store.clone(), Arc::clone(&parts.clock));
        let client_documents = ClientDocuments::new(settings.cimd.clone(), http, store, clock);
        let by_client = Turnstile::new(settings.pace.client_per_minute);
        let by_subject = Turnstile::new(settings.pace.subject_per_minute);
        let removals = manage::removals();
        Self { settings, parts, issuer, documents, statics, client_documents, removals, by_client, by_subject }
    }

    /// Forgets who has not come for a while; to be called now and then.
    pub fn forget_idle(&self) {
        self.by_client.forget_idle();
        self.by_subject.forget_idle();
    }

    /// Keeps clients' documents at hand and looks whether they can be fetched from here. Runs until it is dropped.
    pub async fn tend_documents(&self) {
        self.client_documents.tend().await;
    }

    /// RFC 8414 and OIDC discovery: the same bytes everywhere (behaviour 3).
    #[must_use]
    pub fn metadata(&self) -> Bytes {
        match self.client_documents.is_announced() {
            true => self.documents.announcing.clone(),
            false => self.documents.server.clone(),
        }
    }

    /// RFC 9728 for the Resource at `path` (empty or `/notes`); for the root also where PRM-11 lets it.
    #[must_use]
    pub fn protected_resource(&self, path: &str) -> Option<Bytes> {
        self.documents.resources.get(path.trim_end_matches('/')).cloned()
    }

    /// The nonce for the next proof, where proofs need one (RFC 9449 §8.2).
    #[must_use]
    pub fn dpop_nonce(&self) -> Option<String> {
        self.parts.mint.dpop_nonce()
    }

    /// The published keys.
    #[must_use]
    pub fn jwks(&self) -> Bytes {
        self.parts.mint.jwks()
    }
}
