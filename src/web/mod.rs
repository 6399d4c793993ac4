//! HTTP: translate in, translate out. No decisions. (essay to be written by the room's builder)

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{HttpsUrl, Resource},
    oauth::AuthorizationServer,
    proxy::Proxy,
};

/// How the door is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The public origin: decides cookie names and what snippets show.
    pub public_url: HttpsUrl,
    /// Requests per minute and address on `/register`, `/authorize`, `/token` (600); bursts as many.
    pub requests_per_minute: u32,
    /// Proxies whose `X-Forwarded-For` is believed for the client's address, as CIDR; empty for none.
    pub trusted_proxies: Vec<String>,
    /// How long open requests may take to end after SIGTERM (30 s).
    pub drain: Duration,
}

/// What the handlers carry.
pub struct Door {
    /// Granting.
    pub oauth: Arc<AuthorizationServer>,
    /// Spending.
    pub proxy: Arc<Proxy<axum::body::Body>>,
    /// The protected MCP servers, for pages.
    pub resources: Arc<[Arc<Resource>]>,
}

/// Whether a part is ready, for `/readyz`: name and outcome.
pub type Readiness =
    Arc<dyn Fn() -> futures_util::future::BoxFuture<'static, Vec<(String, Result<(), String>)>> + Send + Sync>;

/// Serves the public door on `public` and health on `admin` until `stop` resolves, then drains.
///
/// # Errors
/// When a listener fails.
pub async fn serve(
    _settings: Settings,
    _door: Door,
    _public: tokio::net::TcpListener,
    _admin: Option<tokio::net::TcpListener>,
    _ready: Readiness,
    _stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    todo!()
}
