//! What happens next to a human at the door, as a value; `web` turns it into pages and redirects.

use std::time::Duration;

use super::Error;
use crate::domain::{AuthorizationRequest, BrowserId, Place, Reply, Scope, Secret, UserCode};

/// The browser that is asking, known by our cookie or just met.
#[derive(Debug, Clone)]
pub struct Browser {
    /// Its name.
    pub id: BrowserId,
    /// The cookie value to set, if it is new.
    pub new_cookie: Option<Secret<String>>,
}

impl Browser {
    /// Whether it brought a cookie of ours.
    pub(super) const fn is_known(&self) -> bool {
        self.new_cookie.is_none()
    }
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
    /// Ask for the code that a device shows (RFC 8628 §3.3).
    AskUserCode(UserCodePage),
    /// A device has its answer: tell its human.
    EndDevice(DeviceEnd),
    /// The account is not admitted, and the device still waits: tell its human, who may take another.
    SetBackDevice(DeviceSetback),
    /// Nobody can be answered: tell the human.
    Refuse(Refusal),
}

impl Step {
    /// The same, with whose login it was if somebody is refused.
    pub(super) fn of(self, request: &AuthorizationRequest) -> Self {
        match self {
            Self::Refuse(refusal) => Self::Refuse(refusal.of(Asker::of(request))),
            step => step,
        }
    }
}

/// The page on which the code of a device is typed or compared.
#[derive(Debug)]
pub struct UserCodePage {
    /// Proof that the form was made for this browser.
    pub token: Secret<String>,
    /// The code that came with the link. It is compared and confirmed, never taken as it came (RFC 8628 §3.3.1).
    pub given: Option<UserCode>,
    /// What was wrong with the code that was sent.
    pub trouble: Option<UserCodeTrouble>,
    /// This page's address with the code, or without: for going on with a phone.
    pub address: String,
}

/// Why a code leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserCodeTrouble {
    /// Unknown, too old, or entered in another browser.
    Unknown,
    /// It was not sent from our own page, or the cookie is lost.
    NotFromHere,
}

/// How the login for a device ended.
#[derive(Debug)]
pub struct DeviceEnd {
    /// The client's name, unverified.
    pub client: String,
    /// The MCP server's title.
    pub resource_title: String,
    /// Whether the device gets its token.
    pub is_granted: bool,
    /// The login whose state cookie can be dropped now, if any.
    pub done: Option<String>,
}

/// A login for a device with an account that is not admitted. The device hears nothing of it until its human says no.
#[derive(Debug)]
pub struct DeviceSetback {
    /// The client's name, unverified.
    pub client: String,
    /// What happened, and how to go on.
    pub setback: Setback,
    /// The sealed request, to say no with.
    pub form: Secret<String>,
    /// The login whose state cookie can be dropped now.
    pub done: String,
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
    /// What a person should be told before the client is: clients show such errors badly, or not at all.
    pub setback: Option<Setback>,
    /// The login whose state cookie can be dropped now, if any.
    pub done: Option<String>,
}

/// Why a login came to nothing, where the client is told and the person has to know.
#[derive(Debug)]
pub enum Setback {
    /// The account they logged in with is not admitted.
    WrongAccount {
        /// Which one it is, if the provider gave a plain e-mail address.
        account: Option<String>,
        /// The MCP server's title.
        resource_title: String,
        /// The provider's name for people.
        provider: String,
        /// The sealed request of a new try with another account, where the provider can be asked for that.
        another: Option<Secret<String>>,
    },
    /// The provider does not answer.
    ProviderDown {
        /// Its name for people.
        provider: String,
    },
    /// The provider answered, but not so that anybody could be let in.
    ProviderFailed {
        /// Its name for people.
        provider: String,
    },
    /// We cannot go on, and it may pass.
    Unavailable,
}

impl Setback {
    /// Whether the person can do something about it here: then nobody hurries them on.
    #[must_use]
    pub const fn is_about_the_person(&self) -> bool {
        matches!(self, Self::WrongAccount { .. })
    }
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
    /// Who describes it, if a document does (CIMD-12).
    pub document: Option<DocumentHost>,
    /// Where the answer goes.
    pub destination: Destination,
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

impl ConsentPage {
    /// Whether it asks for a device instead of a client behind this browser.
    #[must_use]
    pub const fn is_for_device(&self) -> bool {
        matches!(self.destination, Destination::Device { .. })
    }
}

/// Where the answer goes if the human agrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Through this browser to the client.
    Redirect {
        /// Scheme and host.
        host: String,
        /// The whole redirect URI.
        uri: String,
        /// A program on this machine will receive it: warn.
        is_loopback: bool,
        /// Private-use scheme.
        is_private_scheme: bool,
    },
    /// To a device somewhere (RFC 8628 §5.4).
    Device {
        /// The code that was entered.
        code: UserCode,
        /// From where the device asked.
        place: Place,
        /// Whether this browser is on the same network.
        is_near: bool,
        /// How long ago it asked.
        ago: Duration,
    },
}

/// The host whose document describes a client. That much about it is proven: nobody else can publish there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentHost {
    /// Host, and port if it is an unusual one.
    pub host: String,
    /// Whether the operator vouches for it (CIMD-13).
    pub is_trusted: bool,
}

/// A page for a human who cannot be sent back (error before a redirect URI is proven; broken, foreign or used links).
#[derive(Debug)]
pub struct Refusal {
    /// The OAuth error, for those who read JSON; also gives the status.
    pub error: Error,
    /// Which page.
    pub page: RefusalPage,
    /// Whose login it was, where its record says so: the browser that comes back from a provider does not.
    pub asker: Option<Box<Asker>>,
}

impl Refusal {
    /// Of a login that nothing is known about but what the browser sent.
    #[must_use]
    pub const fn new(error: Error, page: RefusalPage) -> Self {
        Self { error, page, asker: None }
    }

    /// Of a login whose record was found.
    pub(super) fn of(self, asker: Asker) -> Self {
        Self { asker: Some(Box::new(asker)), ..self }
    }
}

/// The client of a login, as far as a page needs it to say what to do in that app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// Its id.
    pub id: String,
    /// Its name, unverified.
    pub name: String,
    /// Where its answer would have gone.
    pub redirect: Option<String>,
}

impl Asker {
    pub(super) fn of(request: &AuthorizationRequest) -> Self {
        let redirect = match &request.reply {
            Reply::Redirect { to, .. } => Some(to.as_str().to_owned()),
            Reply::Device(_) => None,
        };
        Self { id: request.client.id.as_str().to_owned(), name: request.client.title().to_owned(), redirect }
    }
}

/// The pages for people in trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusalPage {
    /// `client_id` unknown or unreadable: reset steps per client (behaviour 14).
    UnknownClient,
    /// The operator has shut the client out (DCR-9).
    BlockedClient,
    /// `redirect_uri` is not the client's; both are named (n8n-2).
    BadRedirect {
        /// What was asked for.
        requested: String,
        /// What would have been answered at; the client's own word, or its operator's.
        registered: Vec<String>,
    },
    /// The client registered `redirect_uri`, but the operator does not let answers go there.
    RedirectNotLet {
        /// What was asked for.
        requested: String,
    },
    /// `client_id` is the address of a document that is not to be had, or not to be used.
    NoDocument {
        /// Where it should be.
        url: String,
    },
    /// The form or link is too old.
    Expired,
    /// This login is finished already (behaviour 18).
    AlreadyDone,
    /// Begun in another browser (S2).
    OtherBrowser,
    /// The login for a device failed; the device still waits (RFC 8628).
    DeviceWaits,
    /// Too many codes were tried from one address (RFC 8628 §5.1).
    TooManyCodes,
    /// The login at the provider failed and there is nobody to answer.
    ProviderFailed,
    /// Ours is the fault and it may pass: the store or a key does not answer (503, or 500).
    Unavailable,
    /// Anything else that is wrong with the request.
    BadRequest,
}
