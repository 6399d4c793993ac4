//! Settings to rooms to listeners: the house, built in order from the ground.

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::{config, crypto::Random, domain::Clock};

/// A whole deployment, built and not yet open. `serve`, `dev` and tests build the same one.
pub struct House {}

impl House {
    /// Builds every room: keyring, store, mint, upstreams, granting, spending. Nothing listens yet.
    ///
    /// # Errors
    /// When the store does not open or TLS cannot start; the text is for the operator.
    pub async fn build(
        _settings: config::Settings,
        _clock: Arc<dyn Clock>,
        _random: Arc<dyn Random>,
    ) -> anyhow::Result<Self> {
        todo!()
    }

    /// Opens the doors until `stop` resolves, then drains and flushes the store.
    ///
    /// # Errors
    /// When a listener fails or the store cannot be flushed.
    pub async fn serve(
        self,
        _public: TcpListener,
        _admin: Option<TcpListener>,
        _stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        todo!()
    }
}
