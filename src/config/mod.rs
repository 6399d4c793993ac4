//! What the operator wrote, turned into what the rooms need. (essay follows with the reader)

use std::net::SocketAddr;

use crate::{
    crypto::MasterKey,
    domain::{HttpsUrl, Resource},
    oauth, proxy, telemetry, token, upstream, web,
};

/// Everything that the house is built from, checked: whoever holds one needs no further look at it.
#[derive(Clone)]
pub struct Settings {
    /// The public origin (D9).
    pub public_url: HttpsUrl,
    /// Where the public door listens.
    pub listen: SocketAddr,
    /// Where health answers, if anywhere.
    pub admin_listen: Option<SocketAddr>,
    /// The key that seals (D11).
    pub secret_key: MasterKey,
    /// Older keys that still open.
    pub older_keys: Vec<MasterKey>,
    /// How the house goes out to providers.
    pub http: upstream::http::HttpSettings,
    /// `[upstream.X]`.
    pub upstreams: Vec<upstream::Settings>,
    /// `[[resource]]`.
    pub resources: Vec<Resource>,
    /// Granting.
    pub oauth: oauth::Settings,
    /// Minting.
    pub token: token::Settings,
    /// Spending.
    pub proxy: proxy::Settings,
    /// The door.
    pub web: web::Settings,
    /// Logs.
    pub telemetry: telemetry::Settings,
    /// What is allowed but unwise, for the start-up log and `check`.
    pub warnings: Vec<String>,
}

/// What the operator wrote cannot be built from: every mistake at once.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has mistakes")]
pub struct Mistakes {}

/// Reads one TOML text, for `dev` and tests: no environment, no flags; relative paths start in the working directory.
///
/// # Errors
/// [`Mistakes`].
pub fn from_toml(_text: &str) -> Result<Settings, Mistakes> {
    todo!()
}
