//! `vestibule serve`: settings to an open door, and back to a closed one.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::{House, SystemClock, sources::ConfigOption};
use crate::{
    config::{self, Flag},
    crypto::Os,
    telemetry,
};

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigOption,
    /// Where the public door listens, e.g. 0.0.0.0:8080.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The URL that people type; issuer and audiences are built from it.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Which events are logged, e.g. info, or vestibule=debug,info.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

impl Options {
    fn flags(&self) -> Vec<Flag> {
        let flag = |name, path, value: &Option<String>| value.clone().map(|value| Flag { name, path, value });
        [
            flag("--listen", &["listen"][..], &self.listen),
            flag("--public-url", &["public_url"], &self.public_url),
            flag("--log", &["telemetry", "log"], &self.log),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Serves until the first SIGTERM or SIGINT; the second one ends the process without drain.
pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    let settings = config::load(&options.config.sources(options.flags())?)?;
    telemetry::start(&settings.telemetry)?;
    // Before anything slow: who stops us while the store opens is heard too.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let public = bind(settings.listen, "listen").await?;
    let admin = match settings.admin_listen {
        Some(address) => Some(bind(address, "admin.listen").await?),
        None => None,
    };
    let house = House::build(settings, Arc::new(SystemClock), Arc::new(Os)).await?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
            _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
        }
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::warn!("second signal: leaving without drain");
            std::process::exit(1);
        });
    };
    house.serve(public, admin, stop).await
}

async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let why = || format!("{setting}: {address} cannot be listened on; choose a free address and port");
    TcpListener::bind(address).await.with_context(why)
}
