//! What happens next to a human at the door, as a value; `web` turns it into pages and redirects.

use std::time::Duration;

use super::Error;
use crate::domain::{BrowserId, Scope, Secret};

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
    /// Our scopes that are asked for now.
    pub scopes: Scope,
    /// Our scopes that this browser allowed this client before, and that stay (SC-2).
    pub held_scopes: Scope,
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
