//! The operator's desk: who is connected, who shall not be, which keys are in use.
//!
//! **Purpose.** A running server is managed through its admin listener, never by opening its files (D7): sled belongs to
//! one process, and only that process can trip the flags by which a revocation counts at the very next call (D14).
//! This room decides: who may ask (`operator`), what a list shows (`clients`, `grants`, `keys`), what ends, and when an older
//! master key has served its time (`masters`).
//!
//! **Small steps.** A store may hold a million Grants. A list is read page by page, and a bulk revocation looks at a
//! bounded number of Grants per request and says where the next one goes on. So nothing is ever held in memory as a
//! whole, no request takes long, and a bulk that was broken off is simply begun again. Every removal is a swap on one
//! record, like any other; Grants that come into being after a bulk began are not its business.
//!
//! **Who may ask.** Whoever has the configuration has the key ring, and signs each request with it (a MAC over method,
//! target, time and body; good for two minutes and for nothing else). For use from elsewhere the operator may set
//! `[admin] token`. Without either, nothing is told and nothing is done.
//!
//! **A block** is the client's record with a mark on it, kept until it is taken back. It is looked at wherever the client
//! comes to the door; the Grants that the client had are removed when it is set.
//!
//! **Neighbours.** Leans on `token`, `upstream`, `store`, `crypto` and `domain`. `web` translates for it.
//!
//! **Nevers.** No secret is shown: no token, no key, no hash. No Grant is made or changed here, only removed. Every
//! action leaves one line in the log: who, what, how many.

mod clients;
mod grants;
mod keys;
mod masters;
mod operator;

use std::{borrow::Cow, sync::Arc};

pub use clients::{Blocked, ClientView};
pub use grants::{GrantView, Page, Revoked, Which};
pub use keys::{KeyView, Rotated};
pub use masters::MasterView;
pub use operator::{Asked, Operator, sign};

use crate::{
    crypto::{Keyring, Random},
    domain::{ClientId, Clock, Secret},
    store::{Store, Unavailable},
    token::Mint,
    upstream::Upstreams,
};

/// How the desk is kept.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// A password for programs that do not have the key ring.
    pub token: Option<Secret<String>>,
    /// The clients of the configuration, which can be blocked before they were ever used.
    pub clients: Vec<ClientId>,
}

/// The rooms it leans on.
pub struct Parts {
    /// Records.
    pub store: Store,
    /// Signing keys.
    pub mint: Mint,
    /// Providers, to give tokens back to.
    pub upstreams: Upstreams,
    /// Keys.
    pub keyring: Arc<Keyring>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
}

/// The desk. One impl block per file.
pub struct Admin {
    settings: Settings,
    parts: Parts,
}

impl Admin {
    /// Opens the desk.
    #[must_use]
    pub fn new(settings: Settings, parts: Parts) -> Self {
        Self { settings, parts }
    }
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The request is not an operator's.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// It cannot be understood.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(&'static str),
    /// Not now, or not here.
    #[error("{0}")]
    Conflict(Cow<'static, str>),
    /// The store did not answer.
    #[error("the store does not answer, try again")]
    Store(#[from] Unavailable),
    /// Ours is the fault.
    #[error("{0}")]
    Broken(String),
}
