//! Settings to rooms to listeners: the house, built in order from the ground.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;

use crate::{
    admin::{self, Admin},
    config,
    crypto::{Keyring, Random},
    domain::{Clock, Resource},
    oauth::{AuthorizationServer, Parts},
    proxy::Proxy,
    store::{self, Store},
    token::{self, Mint},
    upstream::{Upstreams, http::Http},
    web::{self, Door, Readiness},
};

/// Rest between two sweeps of expired records.
const SWEEP: Duration = Duration::from_secs(600);

/// A whole deployment, built and not yet open. `serve`, `dev` and tests build the same one.
pub struct House {
    store: Store,
    mint: Mint,
    door: Door,
    web: web::Settings,
    line: StartLine,
}

/// What the start-up line says (operator row 9).
struct StartLine {
    public_url: String,
    key: String,
    store: &'static str,
    survives_restart: bool,
    resources: String,
    warnings: Vec<String>,
}

impl House {
    /// Builds every room: keyring, store, mint, upstreams, granting, spending. Nothing listens yet.
    ///
    /// # Errors
    /// When the store does not open or TLS cannot start; the text is for the operator.
    pub async fn build(
        settings: config::Settings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> anyhow::Result<Self> {
        // rustls asks once per process; an error only says that somebody has chosen before us.
        drop(rustls::crypto::ring::default_provider().install_default());
        let keyring = Arc::new(Keyring::new(settings.secret_key, settings.older_keys));
        let resources: Arc<[Arc<Resource>]> = settings.resources.into_iter().map(Arc::new).collect();
        let line = StartLine {
            public_url: settings.public_url.trimmed().to_owned(),
            key: keyring.id(),
            store: store_kind(&settings.store),
            survives_restart: settings.store != store::Settings::Memory,
            resources: resources.iter().map(|r| r.uri.as_str()).collect::<Vec<_>>().join(" "),
            warnings: settings.warnings,
        };
        let store = store::open(settings.store, Arc::clone(&keyring), Arc::clone(&clock), Arc::clone(&random)).await?;
        for caution in store.cautions() {
            tracing::warn!("{caution}");
        }
        let (mint_store, mint_keys) = (store.clone(), Arc::clone(&keyring));
        let mint = Mint::open(settings.token, mint_store, mint_keys, Arc::clone(&clock), Arc::clone(&random))
            .await
            .context("the signing keys cannot be read from the store")?;
        let http = Http::new(&settings.http).map_err(|e| anyhow!("the HTTP client cannot start: {e}"))?;
        let upstreams = Upstreams::new(settings.upstreams, http.clone(), Arc::clone(&clock));
        let proxy = Proxy::new(settings.proxy, Arc::clone(&resources), mint.clone(), Arc::clone(&clock))
            .map_err(|e| anyhow!("the proxy cannot start: {e}"))?;
        let desk = admin::Parts {
            store: store.clone(),
            mint: mint.clone(),
            upstreams: upstreams.clone(),
            keyring: Arc::clone(&keyring),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
        };
        let admin = Arc::new(Admin::new(settings.admin, desk));
        let parts = Parts {
            store: store.clone(),
            mint: mint.clone(),
            upstreams,
            http,
            keyring,
            clock,
            random,
            resources: Arc::clone(&resources),
        };
        let oauth = AuthorizationServer::new(settings.oauth, parts);
        let door = Door { oauth: Arc::new(oauth), proxy: Arc::new(proxy), admin, resources };
        Ok(Self { store, mint, door, web: settings.web, line })
    }

    /// Its memory, for who lays something into it before the doors open (`benches/load/filled.rs`).
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The public door without its sockets. A door for `fuzz/` alone.
    ///
    /// # Errors
    /// When `trusted_proxies` cannot be read.
    #[cfg(fuzzing)]
    pub fn entry(self) -> Result<web::Entry, web::BadNetwork> {
        web::Entry::new(&self.web, self.door)
    }

    /// Opens the doors until `stop` resolves, then drains and flushes the store.
    ///
    /// # Errors
    /// When a listener fails or the store cannot be flushed.
    pub async fn serve(
        self,
        public: TcpListener,
        admin: Option<TcpListener>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let Self { store, mint, door, web, line } = self;
        line.log(&public, admin.as_ref());
        let sweeper = tokio::spawn(store::sweep::run(store.clone(), SWEEP));
        let reader = tokio::spawn(store::replicas::run(store.clone()));
        let keeper = tokio::spawn(token::keep_keys(mint));
        let oauth = Arc::clone(&door.oauth);
        let librarian = tokio::spawn(async move { oauth.tend_documents().await });
        let served = web::serve(web, door, public, admin, readiness(store.clone()), stop).await;
        sweeper.abort();
        reader.abort();
        keeper.abort();
        librarian.abort();
        // Also after a failed listener: what was acknowledged must survive.
        let flushed = store.flush().await;
        served.context("a listener failed")?;
        flushed.context("the store could not be flushed")?;
        tracing::info!("drained and flushed; goodbye");
        Ok(())
    }
}

impl StartLine {
    fn log(&self, public: &TcpListener, admin: Option<&TcpListener>) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        let address = |listener: &TcpListener| listener.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string());
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            public_url = self.public_url,
            listen = address(public),
            admin = admin.map_or_else(|| "off".to_owned(), address),
            key = self.key,
            store = self.store,
            survives_restart = if self.survives_restart { "yes" } else { "no" },
            resources = self.resources,
            "vestibule is open"
        );
    }
}

fn store_kind(settings: &store::Settings) -> &'static str {
    match settings {
        store::Settings::Memory => "memory",
        store::Settings::Sled(_) => "sled",
        store::Settings::Redis(_) => "redis",
        store::Settings::Postgres(_) => "postgres",
    }
}

/// Ready when the store answers. A provider's outage does not count: those who are logged in need no provider.
fn readiness(store: Store) -> Readiness {
    Arc::new(move || {
        let store = store.clone();
        Box::pin(async move { vec![("store".to_owned(), store.probe().await.map_err(|e| e.to_string()))] })
    })
}
